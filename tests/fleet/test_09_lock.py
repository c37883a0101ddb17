"""Two runs at a time: one has the lock, the other is told who has it; a run that slept too long touches nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess

from conftest import Fleet, long

LOCKS = "/var/lib/tossable/locks"


def wait_for(run: subprocess.Popen[str], words: str) -> str:
    """Read what a run prints up to a line with these words."""
    assert run.stdout is not None
    read = ""
    for line in run.stdout:
        read += line
        if words in line:
            return read
    raise AssertionError(f"the run ended without {words!r}:\n{read}")


def finish(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a run; its exit code, and what else it printed, folded."""
    shown, _ = run.communicate()
    return run.returncode, re.sub(r"\s+", " ", shown)


def test_a_second_run_is_told_who_has_the_lock_and_can_wait_for_it(fleet: Fleet) -> None:
    first = fleet.begin("deploy.yml", "-e", '{"version": "1.1.0", "by": "ada", "reason": "to be first", "force": "another test took it back"}')
    wait_for(first, "Fetch, verify and unpack")
    second = fleet.play("deploy.yml", "-e", "version=1.2.0")
    assert second.code == 2
    assert "Nothing was changed: another run has the lock of storefront in lab: ada" in second.message()
    assert "because: to be first" in second.message()
    fleet.deploy("1.2.0", "-e", "lock_wait=120")
    assert finish(first)[0] == 0
    fleet.settled("1.2.0")
    assert "lock of storefront in lab: free" in fleet.must("playbooks/status.yml").message()


def test_a_controller_that_slept_past_its_lease_switches_nothing(fleet: Fleet) -> None:
    # A lease longer than a run needs from one renewal to the next, also beside other work: this one must lose it by its sleep alone.
    sleeper = fleet.begin("deploy.yml", "-e", '{"version": "1.1.0", "rollout_lock_seconds": 15, "force": "another test took it back"}')
    wait_for(sleeper, "Fetch, verify and unpack")
    os.killpg(sleeper.pid, signal.SIGSTOP)
    try:
        fleet.deploy("1.2.0", "-e", "lock_wait=60")  # until its lease has run out
        before = fleet.fingerprint()
    finally:
        os.killpg(sleeper.pid, signal.SIGCONT)
    code, shown = finish(sleeper)
    assert code == 2, shown
    assert "has lost the lock" in shown or "ran out" in shown or "has lost the deployment lock" in shown, shown
    assert fleet.fingerprint() == before
    fleet.settled("1.2.0")


@long
def test_a_lock_is_broken_with_a_reason_only(fleet: Fleet) -> None:
    run = fleet.begin("deploy.yml", "-e", '{"version": "1.1.0", "by": "bob", "force": "another test took it back"}')
    wait_for(run, "Fetch, verify and unpack")
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    refused = fleet.play("playbooks/unlock.yml")
    assert refused.code != 0
    assert "reason" in refused.message()
    shown = fleet.must("playbooks/unlock.yml", "-e", "reason='bob went home'").message()
    assert "broken, it was held by bob" in shown
    assert "bob went home" in fleet.on("ops1", f"cat {LOCKS}/*/storefront.history.jsonl")
    fleet.deploy("1.0.0")
    fleet.settled("1.0.0")
