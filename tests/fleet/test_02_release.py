"""Releases under load: new connections, no retries anywhere, and not one failed request."""

from __future__ import annotations

import json
import os
from pathlib import Path

from conftest import LOGS, ROOT, Fleet, long, under_load


def test_a_deployment_loses_no_request(fleet: Fleet) -> None:
    with under_load("deploy") as running:
        fleet.deploy("1.1.0")
    assert running.summary["failed"] == 0, running.summary
    assert set(running.summary["by_release"]) == {"1.0.0", "1.1.0"}
    assert fleet.tried_again() == 0
    fleet.settled("1.1.0")


@long
def test_deployments_in_a_row_lose_no_request(fleet: Fleet) -> None:
    """There and back as often as DEPLOYMENTS says: 20 times in `make fleet`."""
    deployments = int(os.environ.get("DEPLOYMENTS", "2"))
    with under_load("in-a-row") as running:
        for number in range(deployments):
            fleet.deploy(("1.1.0", "1.0.0")[number % 2])
    (ROOT / "build" / "in-a-row.json").write_text(json.dumps({"deployments": deployments, **running.summary}, indent=1) + "\n")
    assert running.summary["failed"] == 0, running.summary
    assert running.summary["requests"] > 100 * deployments
    assert fleet.tried_again() == 0
    fleet.settled("1.0.0")


def test_a_release_that_never_becomes_healthy_is_taken_back(fleet: Fleet) -> None:
    with under_load("never-ready") as running:
        done = fleet.play("deploy.yml", "-e", "version=6.6.6", "-e", "force='for this test'")
    assert done.code == 2
    assert "6.6.6" in done.message()
    assert "did not become healthy" in done.message()
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")
    started, ended = fleet.ledger()[-2:]
    assert (ended["run"], ended["outcome"], started["forced"]) == (started["run"], "rolled_back", "for this test")
    assert ended["cause"].startswith("app1: ")
    assert "failed on " + ended["cause"] in done.message(), "the last line of the run and the ledger say the same"
    assert [wave["outcome"] for wave in ended["waves"]] == ["failed", *["not_reached"] * (len(ended["waves"]) - 1)]
    before = fleet.fingerprint()
    again = fleet.play("deploy.yml", "-e", "version=6.6.6")
    assert again.code == 2
    assert "is known to be bad: taken back on app1" in again.message()
    assert "force='why'" in again.message()
    assert fleet.fingerprint() == before


def test_a_failure_in_a_later_wave_brings_every_touched_host_back(fleet: Fleet) -> None:
    """On one host of the last wave the new release cannot start: the waves before it have switched, and all go back."""
    folder, mark = "/etc/systemd/system/storefront-web.service.d", "fit-to-start"
    fleet.on("app3", f"touch $(readlink -f /srv/storefront/current)/{mark} && mkdir -p {folder}")
    fleet.on("app3", f"printf '[Service]\nExecStartPre=/usr/bin/test -e {mark}\n' > {folder}/test.conf && systemctl daemon-reload")
    try:
        with under_load("later-wave") as running:
            done = fleet.play("deploy.yml", "-e", "version=1.1.0")
    finally:
        fleet.on("app3", f"rm -rf {folder} /srv/storefront/releases/1.0.0-*/{mark} && systemctl daemon-reload")
    assert done.code == 2
    assert "failed on app3" in done.message()
    assert running.summary["failed"] == 0, running.summary
    assert "1.1.0" in running.summary["by_release"], "the first waves had switched"
    fleet.settled("1.0.0")


def test_a_rollback_needs_no_version_and_two_go_two_back(fleet: Fleet) -> None:
    fleet.deploy("1.1.0")
    fleet.deploy("1.2.0")
    with under_load("rollback") as running:
        fleet.must("playbooks/rollback.yml")
        assert set(fleet.releases().values()) == {"1.1.0"}
        fleet.must("playbooks/rollback.yml")
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")


@long
def test_a_rollback_to_a_named_version(fleet: Fleet) -> None:
    fleet.deploy("1.1.0")
    fleet.deploy("1.2.0")
    fleet.must("playbooks/rollback.yml", "-e", "version=1.0.0")
    fleet.settled("1.0.0")


def test_a_reboot_brings_the_release_back(fleet: Fleet) -> None:
    fleet.reboot("app1")
    fleet.on("app1", 'for i in $(seq 300); do [ "$(cat /run/tossable/storefront/state 2>/dev/null)" = ready ] && exit 0; sleep 0.1; done; exit 1')
    fleet.settled("1.0.0")


def test_every_request_is_on_record(fleet: Fleet) -> None:
    lines = Path(LOGS / "deploy-requests.jsonl").read_text().splitlines()
    assert len(lines) >= 100
    assert {"at", "seconds", "status"} <= set(json.loads(lines[0]))
    assert fleet.hosts()
