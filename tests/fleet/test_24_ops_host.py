"""The host that keeps lock, artifacts, ledger and flags is gone: the fleet serves on, can go back, and gets another (docs/guides/at-night.md)."""

from __future__ import annotations

import functools
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conftest import LAB, ROOT, VERSIONS, Fleet, environment, lab, long, podman, under_load
from scene_unreachable import cut_off
from test_12_budget import killed, plug

#: What is in the backup of an ops host, and what is not: artifacts lie where they were built as well.
BACK_UP = "cd /var/lib/tossable && tar -cP $(ls -d $PWD/ledger $PWD/migrations $PWD/flags 2>/dev/null)"
ARTIFACTS = ROOT / "build" / "labs" / LAB / "artifacts"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server of this machine alone that serves the folder, as `python3 -m http.server` does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def lost(fleet: Fleet) -> None:
    """The machine is destroyed, with all that it kept, and a bare one is in its place."""
    subprocess.run(podman("rm", "--force", f"{LAB}-ops1"), env=environment(), check=True, capture_output=True)
    made = lab(fleet, "present")
    assert made.code == 0, made.output
    assert fleet.on("ops1", "ls /var/lib/tossable /srv/artifacts 2>/dev/null || true") == ""


def uploaded(fleet: Fleet) -> None:
    """Every version is in the store again, with the bytes from which hosts unpacked it: none is built anew."""
    for version in VERSIONS:
        fleet.must("playbooks/build.yml", "-e", f"version={version}", "-e", f"storefront_fault={VERSIONS[version]}")


@long
def test_the_fleet_goes_back_without_its_ops_host(fleet: Fleet) -> None:
    """No lock and no store, and the release has to go: by the artifacts that lie where they were built."""
    fleet.deploy("1.1.0")
    before = len(fleet.ledger())
    with under_load("no-ops-host") as running, cut_off(fleet, "ops1"), served(ARTIFACTS) as address:
        alone = ("-e", "release_lock_host=", "-e", f"release_store_url={address}")
        shown = fleet.must("playbooks/rollback.yml", *alone).message()
        assert set(fleet.releases().values()) == {"1.0.0"}, shown
        assert "It is kept in " in shown
        assert "Not signed for hosts that come back later" in shown
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")
    # Once it is back: what waited is recorded, and the state that hosts read as they boot is signed.
    fleet.deploy("1.0.0")
    assert [run["kind"] for run in fleet.ledger()[before:] if run["event"] == "ended"] == ["rollback", "deploy"]
    killed(fleet, "app1")
    plug("app1", "start")
    fleet.served()
    fleet.settled("1.0.0")


@long
def test_the_ops_host_is_made_anew_from_its_backup(fleet: Fleet) -> None:
    """Nothing that was acknowledged is gone: runs, migrations, switches of flags."""
    fleet.must("playbooks/flag.yml", "-e", "flag=checkout", "-e", "state=on", "-e", "reason='before the loss'")
    fleet.deploy("1.1.0")
    records, flags = fleet.ledger(), fleet.on("app1", "cat /var/lib/tossable/flags/flags.json")
    backup = ROOT / "build" / "labs" / LAB / "backup.tar"
    try:
        with under_load("ops-host-lost", rate=20) as running:
            with backup.open("wb") as file:
                subprocess.run(podman("exec", f"{LAB}-ops1", "sh", "-c", BACK_UP), env=environment(), check=True, stdout=file)
            lost(fleet)
            with backup.open("rb") as file:
                subprocess.run(podman("exec", "-i", f"{LAB}-ops1", "tar", "-xP"), env=environment(), check=True, stdin=file)
            fleet.must("playbooks/site.yml")
            uploaded(fleet)
            shown = fleet.deploy("1.1.0").message()
        assert running.summary["failed"] == 0, running.summary
        assert "Not signed" not in shown
        fleet.settled("1.1.0")
        assert fleet.ledger()[: len(records)] == records
        assert fleet.on("app1", "cat /var/lib/tossable/flags/flags.json") == flags
        fleet.must("playbooks/rollback.yml")
        fleet.settled("1.0.0")
    finally:
        backup.unlink(missing_ok=True)
        fleet.must("playbooks/flag.yml", "-e", "flag=checkout", "-e", "state=reset")


@long
def test_the_ops_host_is_made_anew_without_a_backup(fleet: Fleet) -> None:
    """Switches of flags and the ledger are gone; hosts hold later flags than a new ops host begins with, and take none that are older."""
    fleet.must("playbooks/flag.yml", "-e", "flag=checkout", "-e", "state=on", "-e", "reason='before the loss'")
    held = json.loads(fleet.on("app1", "cat /var/lib/tossable/flags/flags.json"))["metadata"]["generation"]
    lost(fleet)
    refused = fleet.play("playbooks/site.yml")
    assert refused.code == 2, refused.output
    assert f"site.yml -e above={held}" in refused.message(), refused.output
    fleet.must("playbooks/site.yml", "-e", f"above={held}")
    uploaded(fleet)
    fleet.deploy("1.1.0")
    fleet.settled("1.1.0")
    fleet.must("playbooks/rollback.yml")
    fleet.settled("1.0.0")
    live = {host: json.loads(fleet.on(host, "cat /var/lib/tossable/flags/flags.json")) for host in [*fleet.hosts(), "ops1"]}
    assert len({json.dumps(found) for found in live.values()}) == 1
    assert live["ops1"]["flags"]["checkout"]["defaultVariant"] == "off", "as declared: who has switched it is not known any more"
