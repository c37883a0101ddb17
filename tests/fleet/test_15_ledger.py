"""What was done is in the ledger, also what was killed; and a ledger that cannot be written changes no run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import LOGS, ROOT, Fleet, Run, long

LEDGER = "/var/lib/tossable/ledger"
#: No more ssh.
AWAY = "nft 'add table inet away; add chain inet away in { type filter hook input priority -10; }; add rule inet away in tcp dport 22 drop'"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where records of this test's runs wait; elsewhere than those of whoever runs the tests."""
    return tmp_path / "spool"


def records(fleet: Fleet) -> list[dict[str, Any]]:
    """The whole ledger, each record held against the schema."""
    schema = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "ledger.schema.json").read_text()))
    found = fleet.ledger()
    for record in found:
        schema.validate(record)
    return found


def table(fleet: Fleet, *options: str) -> Run:
    return fleet.must("playbooks/ledger.yml", *options)


def last(fleet: Fleet, since: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two records of the one run that was written since there were so many."""
    started, ended = records(fleet)[since:]
    assert (started["event"], ended["event"]) == ("started", "ended")
    assert started["run"] == ended["run"]
    return started, ended


def test_a_deployment_a_rollback_and_a_killed_run_are_in_the_ledger(fleet: Fleet) -> None:
    before = len(records(fleet))
    fleet.deploy("1.1.0", "-e", "by=ada", "-e", "on_behalf_of=bo", "-e", "reason='the new cart'")
    started, ended = last(fleet, before)
    live = fleet.info("app1")["live"]
    assert (started["kind"], started["by"], started["on_behalf_of"], started["reason"]) == ("deploy", "ada", "bo", "the new cart")
    assert (started["to"], [release[:6] for release in started["from"]], started["hosts"]) == (live, ["1.0.0-"], fleet.hosts())
    assert [host for wave in started["waves"] for host in wave] == fleet.hosts()
    assert (ended["outcome"], ended["cause"], ended["seconds"] > 1) == ("deployed", "", True)
    assert {host: one["outcome"] for host, one in ended["hosts"].items()} == dict.fromkeys(fleet.hosts(), "deployed")
    assert all({"drain", "switch", "restart", "healthy"} <= set(one["steps"]) and one["seconds"] > 0 for one in ended["hosts"].values())
    assert [wave["outcome"] for wave in ended["waves"]] == ["deployed"] * len(started["waves"])
    assert {"plan", "stage", "roll"} <= set(ended["phases"])
    assert started["run"] in fleet.journal("storefront")["app1"], "the hosts' journals name the same run"

    before = len(records(fleet))
    fleet.must("playbooks/rollback.yml", "-e", "by=cy", "-e", "reason='too slow'")
    started, ended = last(fleet, before)
    assert (started["kind"], ended["outcome"], started["reason"], ended["version"]) == ("rollback", "rolled_back", "too slow", "1.0.0")

    killed = _kill_in_the_middle(fleet)
    shown = table(fleet, "-e", f"run={killed}").message()
    assert f"{killed}: deploy storefront in lab" in shown
    assert "outcome running" in shown, "its lease has not run out"
    before = len(records(fleet))
    fleet.deploy("1.1.0")
    started, ended = last(fleet, before)
    assert (started["continues"], ended["outcome"]) == (killed, "deployed")
    shown = table(fleet, "-e", "since=1h", "-e", "by=ada").message()
    assert "the new cart" in shown
    assert " cy " not in shown, "others may have had the same reason, for ada"
    assert f"interrupted (run {started['run']} went on)" in table(fleet).message()
    assert "outcome interrupted" in table(fleet, "-e", f"run={killed}").message()
    assert f"run {started['run']}" in fleet.must("playbooks/status.yml").message()


def _kill_in_the_middle(fleet: Fleet) -> str:
    """Kill a deployment of 1.1.0 once its first host has switched; returns its run."""
    process = fleet.begin("deploy.yml", "-e", "version=1.1.0", "-e", "force='another test took it back'")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("TASK [tossable.fleet.release : Leave the load balancers, switch"):
            break
    lease = fleet.lock()
    assert lease is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run: str = lease["owner"]["run"]
    return run


@long
def test_what_an_operator_gets_wrong_is_answered_with_what_is_possible(fleet: Fleet) -> None:
    fleet.deploy("1.1.0", "-e", "by=ada")
    for words, said in (
        ("since=yesterday", "say it as 30m, 12h, 7d or 2w"),
        ("outcome=green", "deployed, rolled_back, failed, interrupted, running, noted"),
        ("by=nobody-at-all", "The ledger has no person 'nobody-at-all' (there are: "),
        ("run=none", "The ledger has no run 'none' (the newest are: "),
    ):
        done = fleet.play("playbooks/ledger.yml", "-e", words)
        assert (done.code, said in done.message()) == (2, True), done.output
    # A relative path counts from where the command was typed.
    ledger = ("-i", str(fleet.inventory), "playbooks/ledger.yml", "-e", "since=1h", "-e", "csv=ledger.csv")
    assert fleet.run("env", f"PWD={LOGS}", "ansible-playbook", *ledger).code == 0
    assert ",ada," in (LOGS / "ledger.csv").read_text()


@long
def test_check_mode_writes_nothing_and_what_is_no_run_is_noted(fleet: Fleet) -> None:
    before = len(records(fleet))
    fleet.must("deploy.yml", "-e", "version=1.1.0", "-e", "force='for this test'", "--check")
    fleet.must("playbooks/unlock.yml", "-e", "reason='nothing to break'")
    assert len(records(fleet)) == before
    killed = _kill_in_the_middle(fleet)
    fleet.must("playbooks/unlock.yml", "-e", "reason='it is dead'", "-e", "by=ada")
    *_others, noted = records(fleet)
    assert (noted["event"], noted["kind"], noted["run"], noted["by"], noted["reason"]) == ("noted", "unlock", killed, "ada", "it is dead")
    fleet.deploy("1.1.0")
    started = records(fleet)[-2]
    assert started["lock_broken"] == {"by": "ada", "reason": "it is dead", "run": killed}
    for state in ("on", "off"):
        fleet.must("playbooks/maintenance.yml", "-e", f"state={state}", "-e", "by=ada", "-e", "reason='the database moves'")
        noted = records(fleet)[-1]
        assert (noted["kind"], noted["reason"], noted["text"]) == ("maintenance", "the database moves", f"maintenance {state} at lb1")
    count = len(records(fleet))
    fleet.must("playbooks/maintenance.yml", "-e", "state=off")
    assert len(records(fleet)) == count, "nothing was switched"


#: Bytes that a file system gives a file at a time, and a record that fills up what is left of them.
PAGE = 4096
FILLER = {
    "schema": 1,
    "event": "noted",
    "run": "20260101T000000Z-000000",
    "kind": "refused",
    "environment": "lab",
    "application": "storefront",
    "by": "nobody",
    "on_behalf_of": None,
    "at": "2026-01-01T00:00:00.000Z",
}


@pytest.fixture
def full_disk(fleet: Fleet) -> Iterator[None]:
    """The ledger lies on a file system of its own, on which there is no room, nor any in the ledger's last page."""
    size = int(fleet.on("ops1", f"mkdir -p {LEDGER} && cp -a {LEDGER} {LEDGER}.before && cat {LEDGER}/ledger.jsonl 2>/dev/null | wc -c"))
    gap = PAGE - size % PAGE
    filler = json.dumps({**FILLER, "reason": ""})
    filler = json.dumps({**FILLER, "reason": "x" * ((gap if gap > len(filler) else gap + PAGE) - len(filler) - 1)})
    fleet.on("ops1", f"mount -t tmpfs -o size={size + 3 * PAGE} tmpfs {LEDGER} && cp -a {LEDGER}.before/ledger.jsonl {LEDGER}/ 2>/dev/null || true")
    fleet.on("ops1", f"echo '{filler}' >> {LEDGER}/ledger.jsonl; : > {LEDGER}/ledger.lock; cat /dev/zero > {LEDGER}/full 2>/dev/null || true")
    yield
    fleet.on("ops1", f"umount {LEDGER} 2>/dev/null; rm -rf {LEDGER}.before")


@long
def test_a_full_disk_on_ops_changes_no_deployment_and_the_next_run_catches_up(fleet: Fleet, spool: Path, full_disk: None) -> None:
    where = ("-e", f"release_ledger_spool={spool}")
    written = fleet.on("ops1", f"sha256sum < {LEDGER}/ledger.jsonl")
    done = fleet.deploy("1.1.0", *where)
    assert set(fleet.releases().values()) == {"1.1.0"}
    kept = sorted((spool / "lab").iterdir())
    assert [json.loads(path.read_text())["event"] for path in kept] == ["started", "ended"]
    message = done.message()
    for path in kept:
        assert f"No space left on device. It is kept in {path}." in message, done.output
    assert fleet.on("ops1", f"sha256sum < {LEDGER}/ledger.jsonl") == written, "nothing half-written"
    fleet.on("ops1", f"umount {LEDGER}")

    waited = [json.loads(path.read_text()) for path in kept]
    before = len(records(fleet))
    done = fleet.must("playbooks/rollback.yml", *where)
    assert "brought up to date with 2 records that had waited" in done.message()
    assert [record["run"] for record in records(fleet)[before : before + 2]] == [waited[0]["run"]] * 2
    assert [record["event"] for record in records(fleet)[before:]] == ["started", "ended", "started", "ended"]
    assert list((spool / "lab").iterdir()) == []


@pytest.fixture
def no_room(fleet: Fleet) -> Iterator[None]:
    """All that the ops host keeps lies on file systems without a byte of room: locks, ledger, flags, migrations and artifacts."""
    folders = ("/var/lib/tossable", "/srv/artifacts")
    for folder in folders:
        size = int(fleet.on("ops1", f"cp -a --sparse=never {folder} {folder}.before && du -sm {folder}.before").split()[0]) + 1
        fleet.on("ops1", f"mount -t tmpfs -o size={size}m,mode=$(stat -c 0%a {folder}) tmpfs {folder}")
        fleet.on("ops1", f"cp -a --sparse=never {folder}.before/. {folder}/ && cat /dev/zero > {folder}/full 2>/dev/null || true")
    yield
    for folder in folders:
        fleet.on("ops1", f"umount {folder} 2>/dev/null; rm -rf {folder}.before")


@long
def test_a_deployment_ends_well_where_ops_has_no_room_for_anything_and_says_what_is_not_recorded(fleet: Fleet, spool: Path, no_room: None) -> None:
    where = ("-e", f"release_ledger_spool={spool}")
    before = len(records(fleet))
    done = fleet.deploy("1.1.0", *where)
    assert set(fleet.releases().values()) == {"1.1.0"}
    # The lock gives up the room that is held back for it, in which a record may find its place.
    kept = sorted((spool / "lab").iterdir()) if (spool / "lab").exists() else []
    written = [*records(fleet)[before:], *(json.loads(path.read_text()) for path in kept)]
    assert [(record["event"], record["version"]) for record in written] == [("started", "1.1.0"), ("ended", "1.1.0")]
    assert all(f"No space left on device. It is kept in {path}." in done.message() for path in kept), done.output
    assert "Not signed for hosts that come back later" in done.message(), done.output
    for folder in ("/var/lib/tossable", "/srv/artifacts"):
        fleet.on("ops1", f"rm {folder}/full")
    done = fleet.must("playbooks/rollback.yml", *where)
    assert (f"brought up to date with {len(kept)} record" in done.message()) == bool(kept), done.output
    assert [record["event"] for record in records(fleet)[before:]] == ["started", "ended"] * 2
    fleet.settled("1.0.0")


@pytest.fixture
def read_only(fleet: Fleet) -> Iterator[None]:
    """The ledger lies on a file system that nobody can write to, as one that has found an error in itself."""
    fleet.on("ops1", f"mkdir -p {LEDGER} && mount --bind {LEDGER} {LEDGER} && mount -o remount,bind,ro {LEDGER}")
    yield
    fleet.on("ops1", f"umount {LEDGER} 2>/dev/null || true")


@long
def test_a_ledger_that_cannot_be_written_changes_no_rollback_and_is_mended_by_asking_for_it(fleet: Fleet, spool: Path, read_only: None) -> None:
    where = ("-e", f"release_ledger_spool={spool}")
    fleet.deploy("1.1.0", *where)
    done = fleet.must("playbooks/rollback.yml", *where)
    assert set(fleet.releases().values()) == {"1.0.0"}
    kept = sorted((spool / "lab").iterdir())
    assert [json.loads(path.read_text())["kind"] for path in kept] == ["deploy", "deploy", "rollback", "rollback"]
    assert f"Read-only file system. It is kept in {kept[3]}. 3 records from before lie there, too." in done.message(), done.output
    fleet.on("ops1", f"umount {LEDGER}")

    before = len(records(fleet))
    assert "brought up to date with 4 records that had waited" in table(fleet, *where).message()
    assert [record["kind"] for record in records(fleet)[before:]] == ["deploy", "deploy", "rollback", "rollback"]
    assert list((spool / "lab").iterdir()) == []


@long
def test_an_ops_host_that_goes_away_in_the_middle(fleet: Fleet, spool: Path) -> None:
    """Its ssh is gone once the waves roll: the deployment ends as it would, and says what is not recorded."""
    where = ("-e", f"release_ledger_spool={spool}")
    process = fleet.begin("deploy.yml", "-e", "version=1.1.0", "-e", "force='another test took it back'", *where)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Leave the load balancers, switch" in line:
            break
    try:
        fleet.on(
            "ops1",
            AWAY,
        )
        rest, _none = process.communicate()
    finally:
        fleet.on("ops1", "nft delete table inet away")
    output = "".join(lines) + rest
    (LOGS / "ledger-away.log").write_text(output)
    assert process.returncode == 0, output
    assert set(fleet.releases().values()) == {"1.1.0"}
    (kept,) = (spool / "lab").iterdir()
    assert json.loads(kept.read_text())["event"] == "ended"
    assert "could not be recorded" in output
    assert "What is in use is not noted in" in output
    shown = fleet.must("playbooks/ledger.yml", "-e", "since=1h", *where).message()
    assert "brought up to date with 1 record that" in shown
    assert list((spool / "lab").iterdir()) == []
