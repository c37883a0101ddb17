"""Migrations: once a deployment whatever the waves, nothing switched where one fails, no way back past what cannot be taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import Fleet, long, sample, tortured, under_load
from test_07_killed import PREFIX, ROLE, Moment, kill_at, names, read, serving

RECORD = "/var/lib/tossable/migrations/lab/storefront.jsonl"
#: What the migrations of these tests leave on the host they ran on; while STOP is there, the second one fails.
TRACE, STOP = "/srv/storefront/shared/migrated", "/srv/storefront/shared/stop"
SAID = "the table is locked"
WRITE = f'echo "$MIGRATION_ID $VERSION $(id -un) $PWD" >> {TRACE}'


def migration(name: str, phase: str, class_: str, script: str = WRITE) -> dict[str, object]:
    """One that is a line of shell."""
    return {"id": name, "phase": phase, "class": class_, "command": ["/bin/sh", "-c", script]}


ADD = migration("0001-add", "expand", "reversible")
SPLIT = migration("0002-split", "expand", "forward-only", f"if [ -e {STOP} ]; then echo '{SAID}' >&2; exit 3; fi; {WRITE}")
DROP = migration("0003-drop", "contract", "forward-only")
#: Tells when it begins and when it ends, so that it can be killed in between.
SLOW = migration("0001-slow", "expand", "reversible", f"echo begins >> {TRACE}; sleep 2; echo ends >> {TRACE}")
SLOWLY = ("deploy.yml", "-e", """{"version": "4.2.0", "force": "another test took it back"}""")
#: Each version knows all migrations of the one before.
VERSIONS = {"4.0.0": [ADD], "4.1.0": [ADD, SPLIT, DROP]}


@pytest.fixture(scope="module")
def built(provisioned: Fleet) -> Fleet:
    """The fleet with two versions that have migrations in the store."""
    for version, migrations in VERSIONS.items():
        provisioned.must("playbooks/build.yml", "-e", json.dumps({"version": version, "build_migrations": migrations}))
    return provisioned


@pytest.fixture
def migrated(built: Fleet) -> Iterator[Fleet]:
    """The fleet on 1.0.0, no migration ever run; and so again for the tests that follow."""
    forget(built)
    if set(built.releases().values()) != {"1.0.0"}:
        built.deploy("1.0.0")
    yield built
    forget(built)
    if set(built.releases().values()) != {"1.0.0"}:
        built.deploy("1.0.0")


def forget(fleet: Fleet) -> None:
    """Nothing was ever migrated, and nobody can go back to what these tests deployed."""
    fleet.on("ops1", f"rm -f {RECORD}")
    for host in fleet.hosts():
        fleet.on(host, f"rm -f {TRACE} {STOP}")


def ran(fleet: Fleet) -> list[tuple[str, str]]:
    """Host and id of every migration that ran, as it said itself."""
    return [(host, line.split()[0]) for host in fleet.hosts() for line in fleet.on(host, f"cat {TRACE} 2>/dev/null || true").splitlines()]


def recorded(fleet: Fleet) -> list[tuple[str, str]]:
    """Event and id of every record."""
    lines = fleet.on("ops1", f"cat {RECORD} 2>/dev/null || true").splitlines()
    return [(record["event"], record["id"]) for record in map(json.loads, lines)]


@long
def test_a_migration_runs_once_for_a_deployment_in_three_waves_and_never_again(migrated: Fleet) -> None:
    before = migrated.fingerprint()
    shown = migrated.must("deploy.yml", "-e", "version=4.0.0", "--check").message()
    assert "migrate 0001-add (expand, reversible) on app1, before the first wave" in shown
    assert (migrated.fingerprint(), ran(migrated), recorded(migrated)) == (before, [], [])
    with under_load("migrations") as running:
        shown = migrated.deploy("4.0.0").message()
    assert "in 3 waves" in shown
    assert running.summary["failed"] == 0, running.summary
    assert ran(migrated) == [("app1", "0001-add")]
    release = migrated.on("app1", "readlink -f /srv/storefront/current")
    assert migrated.on("app1", f"cat {TRACE}") == f"0001-add 4.0.0 storefront {release}"
    assert recorded(migrated) == [("begun", "0001-add"), ("done", "0001-add")]
    assert "migrate 0001-add" not in migrated.deploy("4.0.0").message()
    migrated.deploy("4.0.0", "--limit", "app2")
    assert ran(migrated) == [("app1", "0001-add")]
    migrated.must("playbooks/rollback.yml", "-e", "version=1.0.0")
    migrated.settled("1.0.0")


def test_a_migration_that_fails_stops_everything_before_the_first_switch(migrated: Fleet) -> None:
    migrated.on("app1", f"touch {STOP}")
    with under_load("migration-fails") as running:
        done = migrated.play("deploy.yml", "-e", "version=4.1.0", "-e", "force='another test took it back'")
    assert done.code == 2, done.output
    for words in ("failed on app1", "The migration 0002-split of 4.1.0-", "ended with exit code 3", SAID, "No host was switched"):
        assert words in done.message(), f"not told: {words}\n{done.output[-4000:]}"
    assert (running.summary["failed"], set(running.summary["by_release"])) == (0, {"1.0.0"}), running.summary
    migrated.settled("1.0.0")
    assert recorded(migrated)[-1] == ("failed", "0002-split")
    assert "0002-split expand forward-only failed" in migrated.must("playbooks/migrations.yml").message()


@long
def test_a_deployment_whose_migration_failed_goes_on_from_there(migrated: Fleet) -> None:
    migrated.on("app1", f"touch {STOP}")
    assert migrated.play("deploy.yml", "-e", "version=4.1.0", "-e", "force='another test took it back'").code == 2
    migrated.on("app1", f"rm {STOP}")
    migrated.must("deploy.yml", "-e", "version=4.1.0")  # the release is not bad
    assert ran(migrated) == [("app1", "0001-add"), ("app1", "0002-split")]
    migrated.settled("4.1.0")


@long
def test_nobody_goes_back_past_a_forward_only_migration_and_contract_waits_until_nobody_can(migrated: Fleet) -> None:
    migrated.deploy("4.0.0")
    migrated.deploy("4.1.0", "-e", "by=ada")
    before = migrated.fingerprint()
    for command in (("playbooks/rollback.yml",), ("deploy.yml", "-e", "version=4.0.0", "-e", "force='it has to be'")):
        refused = migrated.play(*command)
        assert refused.code == 2, refused.output
        for words in ("does not know the forward-only migration 0002-split (expand)", "by ada", "Mend forward", "-e undone=0002-split"):
            assert words in refused.message(), refused.output[-4000:]
    refused = migrated.play("playbooks/contract.yml")
    assert refused.code == 2, refused.output
    assert "do not know 0003-drop" in refused.message()
    assert "4.0.0-" in refused.message()
    assert migrated.fingerprint() == before
    old = ",".join(sorted({name.rpartition("-")[0] for host in migrated.hosts() for name in releases(migrated, host)} - {"4.1.0"}))
    assert "needs a reason" in migrated.play("playbooks/contract.yml", "-e", f"give_up={old}").message()
    assert migrated.fingerprint() == before
    migrated.must("playbooks/contract.yml", "-e", f"give_up={old}", "-e", "reason='it has been live for a week'")
    started, ended = migrated.ledger()[-2:]
    assert (started["kind"], started["event"], started["reason"]) == ("contract", "started", "it has been live for a week")
    assert (ended["run"], ended["event"], ended["outcome"]) == (started["run"], "ended", "deployed")
    assert [(event, name) for event, name in recorded(migrated) if name == "0003-drop"] == [("begun", "0003-drop"), ("done", "0003-drop")]
    assert [name for _host, name in ran(migrated)] == ["0001-add", "0002-split", "0003-drop"]
    for host in migrated.hosts():
        assert [name.rpartition("-")[0] for name in releases(migrated, host)] == ["4.1.0"]
        assert "it has been live for a week" in migrated.on(host, "tail -n 20 /var/lib/tossable/storefront/journal.jsonl")
    assert "nothing is pending" in migrated.must("playbooks/contract.yml").message()
    migrated.settled("4.1.0")
    migrated.must("playbooks/migrations.yml", "-e", "undone=0003-drop", "-e", "reason='restored a backup'")
    assert recorded(migrated)[-1] == ("undone", "0003-drop")


def releases(fleet: Fleet, host: str) -> list[str]:
    """What a host can run or go back to."""
    return fleet.on(host, "ls /srv/storefront/releases").split()


def migrating() -> list[Moment]:
    """Every task that a deployment begins for a migration, counted from the first of them."""
    return [Moment(name, 1) for name in names(read(ROLE / "migration.yml"), held=False, prefix=PREFIX)]


@long
@pytest.mark.torture
@pytest.mark.parametrize("moment", sample(migrating(), 1), ids=str)
def test_a_deployment_whose_controller_died_while_it_migrated_is_continued_by_the_same_command(migrated: Fleet, moment: Moment) -> None:
    """The migration runs to its end by itself; the same command waits for that, and runs it again where nobody can know how it ended."""
    if migrated.on("ops1", "ls -d /srv/artifacts/storefront/4.2.0 2>/dev/null || true") == "":
        migrated.must("playbooks/build.yml", "-e", json.dumps({"version": "4.2.0", "build_migrations": [SLOW]}))
    with tortured("controller killed while it migrates", str(moment)) as case:
        kill_at(migrated, moment, *SLOWLY, within=2.0, after=migrating()[0].task)
        serving(migrated)
        migrated.must(*SLOWLY)
    case.passed()
    told = migrated.everywhere(f"cat {TRACE} 2>/dev/null || true")
    assert told.pop("app1").split() in (["begins", "ends"], ["begins", "ends"] * 2)
    assert set(told.values()) == {""}
    assert recorded(migrated)[-1] == ("done", "0001-slow")
    migrated.settled("4.2.0")
