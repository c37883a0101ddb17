"""The controller, the host's program and the host die at any moment: nothing half-made stays, and the same command goes on.

The list of moments comes from the code (the tasks of the playbooks, the steps of the journal), so a new one is tested without anyone
remembering. Three of them, chosen by SEED, are tried here; TORTURE=all (make torture-release) tries every one.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal
from conftest import LAB, LOGS, ROOT, Fleet, environment, under_load

SEED = int(os.environ.get("SEED", "1"))
WAVES = 3  # of four hosts: one, a quarter, the rest
FORWARD = ("deploy.yml", "-e", "version=1.1.0", "-e", "force='another test took it back'")
BACK = ("playbooks/rollback.yml", "-e", "version=1.0.0")
#: Seconds within which every host serves again by itself, whatever died.
BY_ITSELF = 60.0
JOURNAL = "/var/lib/tossable/storefront/journal.jsonl"


class Moment(NamedTuple):
    """When the controller dies: `nth` beginning of a task."""

    task: str
    nth: int

    def __str__(self) -> str:
        """Its name in the list of tests."""
        return f"{self.task} ({self.nth})"


def moments(playbook: str) -> list[Moment]:
    """Every task that a good run of the playbook begins, once for each wave where it belongs to one."""
    command = ["ansible-playbook", "-i", "inventories/production", playbook, "--list-tasks"]
    listed = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True).stdout
    found: list[Moment] = []
    for play in listed.split("  play #")[1:]:
        title = play.splitlines()[0]
        if "Recover" in title:
            continue
        tasks = re.findall(r"^      (.*?)\tTAGS:", play, re.MULTILINE)
        repeats = WAVES if "): Roll" in title else 1
        found += [Moment(task, number) for number in range(1, repeats + 1) for task in tasks]
    return found


def sample(cases: list[Moment], count: int) -> list[Moment]:
    """All of them, or as many as a change is to pay for."""
    return cases if os.environ.get("TORTURE") == "all" else random.Random(SEED).sample(cases, count)


def kill_at(fleet: Fleet, moment: Moment, *command: str) -> None:
    """Begin a run, and kill it with all its children, some time into the task: as if the controller had lost its power."""
    beginning, seen = re.compile(rf"^TASK \[{re.escape(moment.task)}\] \*"), 0
    process = fleet.begin(*command)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            seen += bool(beginning.match(line))
            if seen == moment.nth:
                time.sleep(random.Random(f"{SEED} {moment}").uniform(0.0, 0.8))
                os.killpg(process.pid, 9)
                break
    process.wait()
    assert seen == moment.nth, f"the run ended before {moment}"


def serving(fleet: Fleet) -> None:
    """Every host comes to serve a whole release by itself, whichever it is."""
    until = time.monotonic() + BY_ITSELF
    for host in fleet.hosts():
        while fleet.on(host, "cat /run/tossable/storefront/state 2>/dev/null || true") != "ready":
            assert time.monotonic() < until, f"{host} is out of service for more than {BY_ITSELF:g} s"
            time.sleep(0.2)


def note(kind: str, moment: str, summary: object) -> None:
    """Keep the figures of one case, for docs/reliability.md."""
    with (LOGS / "torture.jsonl").open("a") as file:
        file.write(json.dumps({"killed": kind, "at": moment, "load": summary}) + "\n")


@pytest.mark.parametrize("moment", sample(moments(FORWARD[0]), 2), ids=str)
def test_a_deployment_whose_controller_died_is_continued_by_the_same_command(fleet: Fleet, moment: Moment) -> None:
    with under_load("killed") as running:
        kill_at(fleet, moment, *FORWARD)
        serving(fleet)
        fleet.must(*FORWARD)
    note("controller", f"deploy: {moment}", running.summary)
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.1.0")


@pytest.mark.parametrize("moment", sample(moments(BACK[0]), 1), ids=str)
def test_a_rollback_whose_controller_died_is_continued_by_the_same_command(fleet: Fleet, moment: Moment) -> None:
    fleet.deploy("1.1.0")
    with under_load("killed") as running:
        kill_at(fleet, moment, *BACK)
        serving(fleet)
        fleet.must(*BACK)
    note("controller", f"rollback: {moment}", running.summary)
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")


def test_a_deployment_whose_controller_died_half_way_is_taken_back_without_a_version(fleet: Fleet) -> None:
    (switch,) = {moment.task for moment in moments(FORWARD[0]) if "switch, be healthy" in moment.task}
    with under_load("killed") as running:
        kill_at(fleet, Moment(switch, 2), *FORWARD)
        serving(fleet)
        fleet.must("playbooks/rollback.yml")
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")


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
    argv = ["podman", "exec", f"{LAB}-{host}", "python3", "-c", WATCH, JOURNAL, step, "kill" if kill else "look"]
    watch = subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    with watch.stdout:
        assert watch.stdout.readline() == "watching\n"
    return watch.wait


STEPS = sample([Moment(step, 1) for step in journal.STEPS], 1)


@pytest.mark.parametrize("moment", STEPS, ids=str)
def test_a_host_whose_program_was_killed_takes_it_back_or_finishes_it(fleet: Fleet, moment: Moment) -> None:
    with under_load("killed-program") as running:
        watched = when("app1", moment.task, kill=True)
        done = fleet.play(*FORWARD)
        assert watched() == 0, f"no program was found to kill at {moment}"
        serving(fleet)
        assert done.code == 2, done.output
        again = ("deploy.yml", "-e", "version=1.1.0")
        fleet.must(*again, *FORWARD[3:])
    note("program", str(moment), running.summary)
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.1.0")


@pytest.mark.skipif(os.environ.get("TORTURE") != "all", reason="a minute for each step: make torture-release")
@pytest.mark.parametrize("moment", [Moment(step, 1) for step in journal.STEPS], ids=str)
def test_a_host_that_lost_its_power_comes_back_whole(fleet: Fleet, moment: Moment) -> None:
    with under_load("power") as running:
        watched = when("app1", moment.task, kill=False)
        run = fleet.begin(*FORWARD)
        assert watched() == 0, f"{moment} was not seen"
        for action in (("kill",), ("start",)):
            assert fleet.run("podman", *action, f"{LAB}-app1").code == 0
        run.communicate()
        serving(fleet)
        fleet.must(*FORWARD)
    note("host", str(moment), running.summary)
    fleet.settled("1.1.0")
