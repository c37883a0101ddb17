"""The controller, the host's program and the host die at any moment: nothing half-made stays, and the same command goes on.

The list of moments comes from the code (the tasks of the playbooks, the steps of the journal), so a new one is tested without anyone
remembering. A few of them, chosen by SEED, are tried here; TORTURE=all (make torture-release) tries every one.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal
from conftest import LAB, ROOT, SEED, TORTURE, Fleet, environment, long, podman, sample, tortured, whole

ROLE = ROOT / "roles" / "release" / "tasks"
FORWARD = ("deploy.yml", "-e", """{"version": "1.1.0", "force": "another test took it back", "rollout_hold_seconds": 1}""")
BACK = ("playbooks/rollback.yml", "-e", "version=1.0.0")
#: The gate stops it on the first host: one page in twenty fails there.
STOPPED = (
    "deploy.yml",
    "-e",
    """{"version": "5.0.0", "force": "for this test", "rollout_bake_seconds": 40, "rollout_look_seconds": 1, "rollout_hold_seconds": 1}""",
)
#: Waves of four hosts: one, a quarter, the rest; and two halves on the way back.
WAVES = {"deploy.yml": 3, "playbooks/rollback.yml": 2}
#: Seconds within which every host serves again by itself, whatever died.
BY_ITSELF = 60.0
JOURNAL = "/var/lib/tossable/storefront/journal.jsonl"


class Moment(NamedTuple):
    """When something dies: at the `nth` beginning of a task, or at a step of a transaction."""

    task: str
    nth: int

    def __str__(self) -> str:
        """Its name in the list of tests."""
        return f"{self.task.removeprefix(PREFIX)} ({self.nth})"


PREFIX = "tossable.fleet.release : "


def read(path: Path) -> list[dict[str, Any]]:
    """The tasks, or plays, of a file."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    return found


def names(tasks: list[dict[str, Any]], held: bool, prefix: str = "", bad: bool = False) -> Iterator[str]:
    """Every task that a run begins, as Ansible names it in its output: a good one, or one that goes back because of a ``bad`` release; those of the
    hold where a wave is ``held``."""
    for task in tasks:
        if (task.get("ansible.builtin.meta") == "end_play" and not bad) or (task.get("ansible.builtin.meta") == "end_role" and not held):
            return  # a good run goes no further here
        if "block" in task:
            block = until_it_fails(task["block"]) if bad else task["block"]
            yield from names([*block, *task.get("always", [])], held, prefix, bad)
        elif role := task.get("ansible.builtin.import_role"):
            yield from names(read(ROLE / f"{role['tasks_from']}.yml"), held, PREFIX, bad)
        elif file := task.get("ansible.builtin.import_tasks"):
            yield from names(read(ROLE / file), held, prefix, bad)
        elif "ansible.builtin.meta" not in task:
            yield prefix + task["name"]
            if (held and task["name"] == "Hold") or (bad and task["name"].startswith("Return the others")):
                yield from names(read(ROLE / task["ansible.builtin.include_tasks"]), held, prefix)


def until_it_fails(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The tasks of a block up to the one that says that the run has failed."""
    for task in tasks:
        yield task
        if "ansible.builtin.fail" in task:
            return


def moments(playbook: str) -> list[Moment]:
    """Every task that a good run of the playbook begins, once for each wave where it belongs to one."""
    waves, count, found = WAVES[playbook], Counter[str](), []
    for play in read(ROOT / "playbooks" / Path(playbook).name):
        for wave in range(1, waves + 1) if "serial" in play else [1]:
            for name in names(play["tasks"], held="serial" in play and playbook == FORWARD[0] and wave in (1, waves)):
                count[name] += 1
                found.append(Moment(name, count[name]))
    return found


def going_back() -> list[Moment]:
    """Every task that a deployment begins once a wave has failed, counted from there."""
    plays = {play["name"].partition(" - ")[0]: play["tasks"] for play in read(ROOT / "playbooks" / "deploy.yml")}
    (rescue,) = [task["rescue"] for task in plays["Roll"] if "rescue" in task]
    count, found = Counter[str](), []
    for name in names([*rescue, *plays["Recover"], *plays["Report"]], held=False, bad=True):
        count[name] += 1
        found.append(Moment(name, count[name]))
    return found


def kill_at(fleet: Fleet, moment: Moment, *command: str, within: float = 0.8, after: str = "") -> None:
    """Begin a run, and kill it with all its children, some time into the task (seconds): as if the controller had lost its power.

    Tasks count from the one whose name is ``after``, where one is given, itself among them.
    """
    beginning, seen, waits = re.compile(rf"^TASK \[{re.escape(moment.task)}\] \*"), 0, bool(after)
    process = fleet.begin(*command)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            waits = waits and not line.startswith(f"TASK [{after}] *")
            seen += bool(beginning.match(line)) and not waits
            if seen == moment.nth:
                time.sleep(random.Random(f"{SEED} {moment}").uniform(0.0, within))
                os.killpg(process.pid, 9)
                break
    process.wait()
    assert seen == moment.nth, f"the run ended before {moment}"


def serving(fleet: Fleet) -> None:
    """Every host comes to serve a whole release by itself, whichever it is: its files are the manifest's, nothing is unfinished."""
    until = time.monotonic() + BY_ITSELF
    for host in fleet.hosts():
        while not serves(fleet, host):
            assert time.monotonic() < until, f"{host} serves no whole release after {BY_ITSELF:g} s: {fleet.info(host)}"
            time.sleep(0.2)


def serves(fleet: Fleet, host: str) -> bool:
    """Whether a host is in service with a whole release; its files are only read once it says that it is ready."""
    return fleet.on(host, "cat /run/tossable/storefront/state 2>/dev/null || true") == "ready" and whole(fleet.info(host))


@pytest.mark.torture
@pytest.mark.parametrize("moment", sample(moments(FORWARD[0]), 1), ids=str)
def test_a_deployment_whose_controller_died_is_continued_by_the_same_command(fleet: Fleet, moment: Moment) -> None:
    with tortured("controller killed in a deployment", str(moment)) as case:
        kill_at(fleet, moment, *FORWARD)
        serving(fleet)
        fleet.must(*FORWARD)
    case.passed()
    fleet.settled("1.1.0")


@pytest.mark.torture
@pytest.mark.parametrize("moment", sample(moments(BACK[0]), 1), ids=str)
def test_a_rollback_whose_controller_died_is_continued_by_the_same_command(fleet: Fleet, moment: Moment) -> None:
    fleet.deploy("1.1.0")
    with tortured("controller killed in a rollback", str(moment)) as case:
        kill_at(fleet, moment, *BACK)
        serving(fleet)
        fleet.must(*BACK)
    case.passed()
    fleet.settled("1.0.0")


@long
@pytest.mark.torture
@pytest.mark.parametrize("moment", sample(going_back(), 1), ids=str)
def test_a_controller_that_died_while_hosts_went_back_is_continued_by_the_same_command(fleet: Fleet, moment: Moment) -> None:
    """The gate has stopped a release whose first host serves; clients see its errors for as long, and nothing else."""
    with tortured("controller killed while hosts go back", str(moment), rate=100.0) as case:
        kill_at(fleet, moment, *STOPPED, after=going_back()[0].task)
        serving(fleet)
        done = fleet.play(*STOPPED)
        assert done.code == 2, done.output
    answers = case.answers()
    strange = [answer for answer in answers if answer["status"] != 200 and answer["release"] != "5.0.0"]
    assert strange == [], strange[:5]
    case.passed(lost=None)
    fleet.settled("1.0.0")


@long
def test_a_deployment_whose_controller_died_half_way_is_taken_back_without_a_version(fleet: Fleet) -> None:
    (switch,) = {moment.task for moment in moments(FORWARD[0]) if "switch, be healthy" in moment.task}
    with tortured("controller killed in a deployment", "taken back without a version") as case:
        kill_at(fleet, Moment(switch, 2), *FORWARD)
        serving(fleet)
        fleet.must("playbooks/rollback.yml")
    case.passed()
    fleet.settled("1.0.0")


@long
def test_a_rollback_without_a_version_that_died_after_its_last_switch_is_not_begun_again(fleet: Fleet) -> None:
    """The same command ends where the first one was going, not one release further back."""
    fleet.deploy("1.1.0")
    fleet.deploy("1.2.0")
    (report,) = {moment.task for moment in moments(BACK[0]) if "Sign which release" in moment.task}
    with tortured("controller killed in a rollback", "without a version, after its last switch") as case:
        kill_at(fleet, Moment(report, 1), BACK[0], within=0.0)
        fleet.must(BACK[0])
    case.passed()
    fleet.settled("1.1.0")


# Runs on the host: waits for a step of a transaction in what the journal gets from now on, then ends the program.
WATCH = """
import os, subprocess, sys, time
path, step, kill = sys.argv[1], sys.argv[2], sys.argv[3] == "kill"
start, until = os.path.getsize(path), time.monotonic() + 90
print("watching", flush=True)
while time.monotonic() < until:
    with open(path) as journal:
        journal.seek(start)
        if f'"step": "{step}"' in journal.read():
            sys.exit(subprocess.call(["pkill", "-KILL", "-f", "^/usr/bin/python3 -I .*tossable/[0-9a-f]+ transact "]) if kill else 0)
sys.exit(9)
"""


def when(host: str, step: str, kill: bool) -> Callable[[], int]:
    """Have a host watch its journal; the answer waits for the end of the watch."""
    argv = podman("exec", f"{LAB}-{host}", "python3", "-c", WATCH, JOURNAL, step, "kill" if kill else "look")
    watch = subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    with watch.stdout:
        assert watch.stdout.readline() == "watching\n"
    return watch.wait


STEPS = sample([Moment(step, 1) for step in journal.STEPS], 1)


@pytest.mark.torture
@pytest.mark.parametrize("moment", STEPS, ids=str)
def test_a_host_whose_program_was_killed_takes_it_back_or_finishes_it(fleet: Fleet, moment: Moment) -> None:
    with tortured("program killed on a host", moment.task) as case:
        watched = when("app1", moment.task, kill=True)
        done = fleet.play(*FORWARD)
        assert watched() == 0, f"no program was found to kill at {moment}"
        serving(fleet)
        assert done.code == 2, done.output
        fleet.must(*FORWARD)
    case.passed()
    fleet.settled("1.1.0")


@long
@pytest.mark.torture
@pytest.mark.parametrize("moment", sample([Moment(step, 1) for step in journal.BACK_STEPS], 1), ids=str)
def test_a_host_whose_program_was_killed_on_the_way_back_ends_on_the_release_before(fleet: Fleet, moment: Moment) -> None:
    """The release that did not become healthy stays bad, whoever took it back."""
    with tortured("program killed on a host", f"going back: {moment.task}") as case:
        watched = when("app1", moment.task, kill=True)
        done = fleet.play("deploy.yml", "-e", "version=6.6.6", "-e", "force='for this test'")
        assert watched() == 0, f"no program was found to kill at {moment}"
        assert done.code == 2, done.output
        serving(fleet)
    case.passed()
    fleet.settled("1.0.0")
    again = fleet.play("deploy.yml", "-e", "version=6.6.6")
    assert again.code == 2
    assert "is known to be bad" in again.message(), again.output


@pytest.mark.skipif(not TORTURE, reason="a minute for each step: make torture-release")
@pytest.mark.torture
@pytest.mark.parametrize("moment", [Moment(step, 1) for step in journal.STEPS], ids=str)
def test_a_host_that_lost_its_power_comes_back_whole(fleet: Fleet, moment: Moment) -> None:
    """Requests that the application was answering at that moment are lost with it: counted, and nothing else."""
    with tortured("power cut on a host", moment.task) as case:
        watched = when("app1", moment.task, kill=False)
        run = fleet.begin(*FORWARD)
        assert watched() == 0, f"{moment} was not seen"
        for action in (("kill",), ("start",)):
            assert fleet.run(*podman(*action, f"{LAB}-app1")).code == 0
        run.communicate()
        serving(fleet)
        fleet.must(*FORWARD)
    case.passed(lost=100)
    fleet.settled("1.1.0")
