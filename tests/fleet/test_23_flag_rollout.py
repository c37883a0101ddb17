"""A flag is rolled out in steps under load: a good one comes to everybody, a bad one is taken back by itself, whoever switches it meanwhile wins."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Fleet, Run, long, under_load

PLAYBOOK = "playbooks/roll_out_flag.yml"
FOLDER = "/var/lib/tossable/flags"
FLAG = "checkout"
WATCH = json.dumps({"flag": FLAG, "steps": [10, 50, 100], "bake_seconds": 6, "rollout_look_seconds": 2, "rollout_min_requests": 20})
STOP = '{"rollout_on_inconclusive": "stop"}'


def override(fleet: Fleet) -> dict[str, Any] | None:
    """The switch of the flag, None where it is as declared."""
    found: dict[str, Any] | None = json.loads(fleet.on("ops1", f"cat {FOLDER}/state.json"))["overrides"].get(FLAG)
    return found


def generations(fleet: Fleet) -> set[int]:
    """What all hosts and the ops host hold."""
    return {json.loads(fleet.on(host, f"cat {FOLDER}/flags.json"))["metadata"]["generation"] for host in [*fleet.hosts(), "ops1"]}


def roll_out(fleet: Fleet, *words: str) -> Run:
    return fleet.play(PLAYBOOK, "-e", WATCH, *(option for word in words for option in ("-e", word)))


@pytest.fixture(autouse=True)
def as_declared(fleet: Fleet) -> Iterator[None]:
    """Every test leaves the flag as it is declared, off."""
    yield
    if override(fleet):
        fleet.must("playbooks/flag.yml", "-e", f"flag={FLAG}", "-e", "state=reset")


def test_a_bad_flag_is_taken_back_at_its_first_step_by_itself(fleet: Fleet) -> None:
    """Every other page with the new checkout fails: one user in ten sees that, for some seconds."""
    fleet.built("5.6.0", "checkout-errors:0.5")
    fleet.deploy("5.6.0", "-e", '{"rollout_waves": ["100%"], "rollout_min_healthy": 0}')
    assert "NEVER EVALUATED since " in fleet.must("playbooks/flags.yml").message()
    with under_load("flag-rollout-bad") as running:
        done = roll_out(fleet, "reason='the new checkout'", "bake_seconds=60", STOP)
        ended = running.sent()
        running.wait_for(ended + 100, 30)
    assert done.code == 2, done.output[-6000:]
    said = re.search(
        r"checkout was taken back to what was live before \(off, as declared\)\. checkout, step 1 of 3, 10 %: "
        r"fail: errors \d+(\.\d+)? % of \d+ against 0 % of \d+ \(variant off\), tolerated",
        done.message(),
    )
    assert said, done.output[-6000:]
    assert override(fleet) is None
    assert len(generations(fleet)) == 1
    summary = running.summary
    answers = [json.loads(line) for line in running.requests.read_text().splitlines()]
    bad = [answer for answer in answers if answer["status"] != 200]
    assert {answer["status"] for answer in bad} == {500}, running.failures(5)
    assert 0 < len(bad) < 0.08 * summary["requests"], summary
    assert [answer["at"] for answer in answers[ended:] if answer["status"] != 200] == [], "errors after it was taken back"
    step, back = [record for record in fleet.ledger() if record["kind"] == "flag"][-2:]
    assert (step["text"].partition(",")[0], step["reason"]) == ("checkout: 10 % (was off)", "step 1 of 3: the new checkout")
    assert back["text"].startswith("checkout: off (was 10 %)")
    assert back["reason"].startswith("taken back: checkout, step 1 of 3, 10 %: fail: errors ")
    shown = fleet.must("playbooks/flags.yml").message()
    assert "NEVER EVALUATED" not in shown
    assert "taken back: checkout, step 1 of 3" in shown


@long
def test_what_cannot_be_rolled_out_is_refused_and_a_check_changes_nothing(fleet: Fleet) -> None:
    before = generations(fleet)
    elsewhere = json.dumps({"flag_metrics": ["http://127.0.0.1:8000/none"]})
    for words, said in (("steps=50,10", "is no way up"), (elsewhere, "nothing could be judged")):
        refused = roll_out(fleet, words)
        assert refused.code == 2
        assert "Nothing was changed." in refused.message()
        assert said in refused.message()
    shown = fleet.must(PLAYBOOK, "-e", WATCH, "--check").message()
    for step in ("step 1 of 3, 10 %", "step 2 of 3, 50 %", "step 3 of 3, on", "by the errors that applications count on 4 of 4 hosts"):
        assert step in shown
    assert (generations(fleet), override(fleet)) == (before, None)


@long
def test_a_good_flag_comes_to_everybody_step_by_step(fleet: Fleet) -> None:
    with under_load("flag-rollout-good") as running:
        done = roll_out(fleet, "reason='the new checkout'", STOP)
    assert done.code == 0, done.output[-6000:]
    for step in ("step 1 of 3, 10 %: pass: ", "step 2 of 3, 50 %: pass: ", "step 3 of 3, on: pass: "):
        assert step in done.message(), done.output[-6000:]
    assert "checkout is rolled out. checkout: on, generation " in done.message()
    assert running.summary["failed"] == 0, running.failures(5)
    live = override(fleet)
    assert live
    assert (live["state"], live["reason"], "rollout" in live) == ({"to": "on"}, "rolled out in 3 steps: the new checkout", False)
    noted = [record["reason"] for record in fleet.ledger() if record["kind"] == "flag"][-4:]
    assert noted == [*(f"step {number} of 3: the new checkout" for number in (1, 2, 3)), live["reason"]]
    held = generations(fleet)
    again = roll_out(fleet)
    assert again.code == 0
    assert "nothing is left to be rolled out" in again.message()
    assert "changed=0" in again.output
    assert generations(fleet) == held


def begun(fleet: Fleet) -> subprocess.Popen[str]:
    """A rollout that has taken its first step and watches it for long."""
    running = fleet.begin(PLAYBOOK, "-e", WATCH, "-e", "bake_seconds=600")
    until = time.monotonic() + 60
    while not (override(fleet) or {}).get("rollout"):
        assert time.monotonic() < until, "no step was taken within 60 s"
        assert running.poll() is None, running.communicate()[0][-6000:]
        time.sleep(0.2)
    return running


@long
def test_a_panic_meanwhile_ends_the_rollout_and_is_left_alone(fleet: Fleet) -> None:
    rolling = begun(fleet)
    fleet.must("playbooks/panic.yml", "-e", "confirm=panic", "-e", "reason='nobody can pay'", "-e", "by=ada")
    panic, held = override(fleet), generations(fleet)
    shown, _none = rolling.communicate(timeout=120)
    assert rolling.returncode == 2, shown[-6000:]
    said = " ".join(shown.split())
    assert "checkout was switched by somebody else meanwhile, it is off, by ada at " in said, shown[-6000:]
    assert "(nobody can pay): the rollout ends and leaves it so" in said
    assert (override(fleet), generations(fleet)) == (panic, held)


@long
def test_one_that_was_killed_stays_at_its_step_and_goes_on_from_there(fleet: Fleet) -> None:
    fleet.must("playbooks/flag.yml", "-e", f"flag={FLAG}", "-e", "percent=3", "-e", "reason='for friends'")
    rolling = begun(fleet)
    os.killpg(rolling.pid, signal.SIGKILL)
    rolling.communicate(timeout=60)
    assert "in a rollout, step 1 of 3" in fleet.must("playbooks/flags.yml").message()
    with under_load("flag-rollout-again") as running:
        again = fleet.must(PLAYBOOK, "-e", WATCH, "-e", "steps=5,10,20", "-e", STOP).message()
    assert "A rollout is under way, step 1 of 3" in again
    assert "it goes back by itself to what was live before: 3 %, by " in again
    assert "step 1 of 3, 5 %" not in again
    assert "checkout is rolled out. checkout: 20 %, generation " in again
    assert running.summary["failed"] == 0, running.failures(5)
