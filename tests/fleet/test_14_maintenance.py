"""Maintenance under load: clients get the announced page or a whole answer, and nothing else."""

from __future__ import annotations

import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from conftest import BALANCER, Fleet, long, under_load
from load import Load

PLAYBOOK = "playbooks/maintenance.yml"
ON = ("-e", "state=on", "-e", "message='Back at <six>.'", "-e", "reason='the database moves'", "-e", "by=ada")
OFF = ("-e", "state=off")


def ask(path: str = "/") -> tuple[int, str, str | None]:
    """Status, text and release of one answer."""
    try:
        with urllib.request.urlopen(BALANCER + path, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers["X-Release"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers["X-Release"]


def only_answers_or_the_page(running: Load) -> None:
    """Every request was answered: 200 by a release, or 503 by the page, which no release has made."""
    summary = running.summary
    assert summary["by_error"] == {}, summary
    assert set(summary["by_status"]) == {"200", "503"}, summary
    assert sum(summary["by_release"].values()) == summary["by_status"]["200"], summary


def test_maintenance_on_reload_off_under_load(fleet: Fleet) -> None:
    with under_load("maintenance") as running, ThreadPoolExecutor() as pool:
        slow = pool.submit(ask, "/slow?seconds=8")
        running.wait_for(running.sent() + 50, 30)
        try:
            shown = fleet.must(PLAYBOOK, *ON).message()
            assert "is in maintenance at lb1 and drained: no request is in flight" in shown
            assert slow.done(), "drained, and yet a request is in flight"
            assert slow.result()[0] == 200, "what was in flight is answered"
            status, text, _ = ask()
            assert (status, "<p>Back at &lt;six&gt;.</p>" in text) == (503, True), text
            fleet.on("lb1", "systemctl reload haproxy")
            assert ask()[0] == 503
            told = fleet.must("playbooks/status.yml").message()
            assert "storefront is in maintenance at lb1 since 20" in told
            assert 'by ada, because: the database moves; clients read: "Back at <six>."' in told
            again = fleet.must(PLAYBOOK, *ON).output
            assert "changed=0" in again, again
        finally:
            fleet.must(PLAYBOOK, *OFF)
        assert ask()[0] == 200
        running.wait_for(running.sent() + 50, 30)
    only_answers_or_the_page(running)
    assert "maintenance" not in fleet.must("playbooks/status.yml").message()
    fleet.settled("1.0.0")


@long
def test_it_outlives_a_reboot_and_a_provisioning(fleet: Fleet) -> None:
    fleet.must(PLAYBOOK, *ON)
    try:
        fleet.reboot("lb1")
        fleet.on("lb1", "for i in $(seq 300); do [ -S /run/haproxy/admin.sock ] && exit 0; sleep 0.1; done; exit 1")
        assert ask()[0] == 503
        fleet.must("playbooks/site.yml", "--limit", "lb1")
        assert "Back at" in ask()[1]
    finally:
        fleet.must(PLAYBOOK, *OFF)
    fleet.settled("1.0.0")


@long
def test_a_deployment_in_maintenance_is_told_and_not_judged_by_nobodys_requests(fleet: Fleet) -> None:
    fleet.must(PLAYBOOK, *ON)
    try:
        with under_load("maintenance-deploy") as running:
            shown = fleet.deploy("1.1.0", "-e", '{"rollout_bake_seconds": 60, "rollout_on_inconclusive": "stop"}').message()
    finally:
        fleet.must(PLAYBOOK, *OFF)
    assert "storefront is in maintenance at lb1 since" in shown
    assert "no wave is judged by the gate" in shown
    assert set(running.summary["by_status"]) == {"503"}, running.summary
    assert ask()[2] is not None
    fleet.settled("1.1.0")


def test_check_mode_tells_and_changes_nothing(fleet: Fleet) -> None:
    told = fleet.must(PLAYBOOK, *ON, "--check", "--diff").output
    assert "+storefront: maintenance since" in told
    assert ask()[0] == 200
    assert "changed=0" in fleet.must(PLAYBOOK, *OFF).output
