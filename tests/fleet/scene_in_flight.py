"""Requests that take their time, and a load balancer that is told to begin anew, in the middle of a rollout."""

from __future__ import annotations

import re

from conftest import BALANCER, LOGS, Fleet, Scene, tortured
from load import Load
from test_09_lock import finish, wait_for

SWITCH = "Leave the load balancers, switch, be healthy, return"
FORWARD = ("deploy.yml", "-e", "version=1.1.0", "-e", "force='another test took it back'")


def slow_requests(fleet: Fleet) -> None:
    """Each takes 10 s, one begins every half second: every host has some in flight whenever it is asked to leave."""
    slow = Load(
        f"{BALANCER}/slow?seconds=10",
        rate=2.0,
        requests=LOGS / "slow-requests.jsonl",
        summary=LOGS / "slow-load.json",
        options=["--timeout=40"],
    )
    with tortured("in flight", "requests of 10 s") as case, slow:
        slow.wait_for(8, 30.0)
        fleet.deploy("1.1.0")
    assert slow.summary["failed"] == 0, slow.failures()
    assert slow.summary["requests"] > 20
    assert set(slow.summary["by_release"]) == {"1.0.0", "1.1.0"}
    case.passed(slow_requests=slow.summary["requests"], slow_failed=slow.summary["failed"])


def balancer_reloads(fleet: Fleet) -> None:
    """A reload loses nothing, at any moment of a wave."""
    with tortured("in flight", "load balancer reloaded in mid-wave") as case:
        run = fleet.begin(*FORWARD)
        wait_for(run, SWITCH)
        fleet.on("lb1", "systemctl reload haproxy")
        wait_for(run, SWITCH)
        fleet.on("lb1", "systemctl reload haproxy")
        code, shown = finish(run)
    assert code == 0, shown
    case.passed()


def balancer_restarts(fleet: Fleet) -> None:
    """A restart breaks what is open at that moment and refuses what comes within it: counted apart. Nothing else is lost."""
    with tortured("in flight", "load balancer restarted in mid-wave") as case:
        run = fleet.begin(*FORWARD)
        wait_for(run, SWITCH)
        fleet.on("lb1", "systemctl restart haproxy")
        restarted = case.running.sent()
        code, shown = finish(run)
        again = fleet.must(*FORWARD) if code else None
    broken = [number for number, one in enumerate(case.answers()) if one["error"] or one["status"] != 200]
    assert all(abs(number - restarted) < 400 for number in broken), (restarted, broken)
    case.passed(lost=400, lowest=1, broken_by_the_restart=len(broken), run_again=again is not None, told=first_words(shown) if code else "")


def first_words(shown: str) -> str:
    """The sentence with which a run says why it failed."""
    found = re.search(r"failed on \w+: ([^.]*)\.", shown)
    return found[1] if found else shown[-200:]


SCENES = [
    Scene("requests of 10 s finish", slow_requests, ends="1.1.0"),
    Scene("the load balancer reloads", balancer_reloads, ends="1.1.0", short=True),
    Scene("the load balancer restarts", balancer_restarts, ends="1.1.0"),
]
