"""A plan is shown whole and changes nothing; what was confirmed is applied, or refused because something has changed since."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time

from conftest import LOGS, Fleet, long

VERSION = ("-e", "version=1.1.0")
#: Other tests may have taken that release back; the reason why it is tried again is part of the command that is confirmed.
FORCED = (*VERSION, "-e", "force='for this test'")


def shown(fleet: Fleet, *options: str, playbook: str = "deploy.yml") -> tuple[str, str]:
    """What a run in check mode prints, and the plan's name; it has to change nothing."""
    before = fleet.fingerprint()
    done = fleet.play(playbook, "--check", "--diff", *options)
    assert done.code == 0, done.output
    assert fleet.fingerprint() == before
    names = set(re.findall(r"plan-[0-9a-f]{8}", done.output))
    assert len(names) == 1, done.output
    return done.output, names.pop()


def applied(fleet: Fleet, output: str) -> str:
    """Type the command that the plan ended with, as it stands there."""
    (command,) = set(re.findall(r"^ +(ansible-playbook .*confirm=plan-\w+)$", output, re.MULTILINE))
    done = fleet.run(*shlex.split(command))
    assert done.code == 0, done.output
    return done.message()


def refused(fleet: Fleet, name: str, *options: str, playbook: str = "deploy.yml") -> str:
    """The plan of that name is not applied, and no host is other than before."""
    before = fleet.fingerprint()
    done = fleet.play(playbook, *options, "-e", f"confirm={name}")
    assert done.code == 2, done.output
    assert fleet.fingerprint() == before
    return done.message()


def test_a_plan_shows_what_will_happen_and_is_applied_as_it_was_shown(fleet: Fleet) -> None:
    output, name = shown(fleet, *FORCED)
    table = output[output.index("TASK [tossable.fleet.release : Show the plan]") :].split("\nTASK ")[0]
    assert re.search(r"deploy storefront 1\.1\.0 \(1\.1\.0-[0-9a-f]{8}\) on 4 hosts in 3 waves", table), table
    for host, wave in zip(fleet.hosts(), (1, 2, 3, 3), strict=True):
        assert re.search(rf"  wave {wave}  {host}  1\.0\.0-\w+ -> 1\.1\.0-\w+\n", table), table
    assert re.search(r"\n +commits +\S.* against 1\.0\.0-", table), table
    assert re.search(r"\n +files +0 added, \d+ changed, 0 removed against 1\.0\.0-\w+\n +~ .*VERSION", table), table
    assert re.search(r"\n +takes +(about|no history)", table), table
    assert re.search(r"\n +in the way +nothing\n", table), table
    assert len(table.splitlines()) <= 42, table

    seconds = time.monotonic()
    message = applied(fleet, output)
    seconds = time.monotonic() - seconds
    assert f"plan confirmed ({name})" in message
    fleet.settled("1.1.0")
    assert all(f"{name} confirmed" in journal for journal in fleet.journal("storefront").values())

    # The way back has a history now: of the same order of magnitude as what the run takes.
    later, _name = shown(fleet, playbook="playbooks/rollback.yml")
    estimate = re.search(r"takes +about (\d+) s \(from the last .*switch.* of each host\)", later)
    assert estimate, later
    (LOGS / "estimate.json").write_text(json.dumps({"estimated": int(estimate[1]), "deployment": round(seconds, 1)}) + "\n")
    assert seconds / 10 < int(estimate[1]) < seconds * 10


@long
def test_a_rollback_is_planned_and_confirmed_like_a_deployment(fleet: Fleet) -> None:
    fleet.deploy("1.1.0")
    output, name = shown(fleet, playbook="playbooks/rollback.yml")
    assert "rollback storefront 1.0.0" in output
    assert re.search(r"to fetch +nothing, every host has it", output), output
    assert f"playbooks/rollback.yml -e confirm={name}" in output
    assert f"plan confirmed ({name})" in applied(fleet, output)
    fleet.settled("1.0.0")
    assert "names no plan" in refused(fleet, "yes", playbook="playbooks/rollback.yml")


@long
def test_a_plan_is_refused_once_the_fleet_has_changed(fleet: Fleet) -> None:
    _output, name = shown(fleet, *FORCED)
    fleet.deploy("1.1.0", "--limit", fleet.hosts()[0])
    message = refused(fleet, name, *FORCED)
    assert f", not {name}: the fleet, the artifact or the variables have changed since {name} was shown" in message
    assert f"{fleet.hosts()[0]} 1.1.0" in message, "the plan as it is now is shown"
    fleet.deploy("1.0.0")
    fleet.settled("1.0.0")


@long
def test_a_plan_is_refused_with_other_waves_another_limit_or_another_version(fleet: Fleet) -> None:
    _output, name = shown(fleet, *FORCED)
    for others in (
        (*FORCED, "-e", '{"rollout_waves": ["100%"]}'),
        (*FORCED, "--limit", "app1"),
        ("-e", "version=1.2.0", "-e", "force='for this test'"),
    ):
        assert f", not {name}: the fleet" in refused(fleet, name, *others)


@long
def test_a_plan_is_refused_once_the_artifact_was_replaced(fleet: Fleet) -> None:
    """The same version built anew, with other bytes: only somebody who removes it from everywhere can do that."""
    version = ("-e", "version=1.4.0")

    def forget() -> None:
        shutil.rmtree(fleet.inventory.parents[1] / "artifacts" / "storefront" / "1.4.0", ignore_errors=True)
        fleet.on("ops1", "rm -rf /srv/artifacts/storefront/1.4.0")

    forget()
    fleet.must("playbooks/build.yml", *version)
    try:
        _output, name = shown(fleet, *version)
        forget()
        fleet.must("playbooks/build.yml", *version, "-e", "storefront_fault=slow:1ms")
        assert f", not {name}: the fleet, the artifact" in refused(fleet, name, *version)
    finally:
        forget()


def test_what_stands_in_the_way_is_told_last_and_the_plan_is_shown_all_the_same(fleet: Fleet) -> None:
    freeze = '{"rollout_freeze": [{"from": "2020-01-01", "to": "2099-12-31", "reason": "the shop is closed"}], "rollout_waves": [1]}'
    before = fleet.fingerprint()
    for mode in ((), ("--check", "--diff")):
        done = fleet.play("deploy.yml", *FORCED, "-e", freeze, *mode)
        assert done.code == 2, done.output
        assert re.search(r"wave \? +app1 +1\.0\.0-\w+ -> 1\.1\.0-\w+", done.output), done.output
        assert re.search(r"files +0 added, \d+ changed", done.output), done.output
        told = done.output[done.output.index("Nothing was changed. In the way:") :]
        assert "TASK [" not in told
        assert "the shop is closed" in told
        assert "leaves 3 of 4 hosts on the old release" in told
    assert fleet.fingerprint() == before
    assert "lock of storefront in lab: free" in fleet.must("playbooks/status.yml").message()
