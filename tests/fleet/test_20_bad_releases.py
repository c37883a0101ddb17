"""Releases that are bad in every way we could think of: caught in the first wave, and every host is back.

Measured are the seconds from the first bad answer to the moment when the last host was back, and the share of all requests that saw it.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest
from conftest import TORTURE, Case, Fleet, sample, tortured

GATE: dict[str, Any] = {"rollout_bake_seconds": 60, "rollout_look_seconds": 2}
HOLD: dict[str, Any] = {"rollout_hold_seconds": 5}


class Bad(NamedTuple):
    """A release: its fault (examples/storefront/storefront/faults.py), what the inventory says, and the words that stop it.

    ``slow`` is from how many seconds on an answer is a bad one; a ``short`` one may be in a sample.
    """

    name: str
    version: str
    fault: str
    options: dict[str, Any]
    told: str
    slow: float = 5.0
    short: bool = False


BAD = [
    Bad("errors on 5 % of requests", "5.0.0", "error-rate:0.05", GATE, "The gate stops the rollout. fail: errors"),
    Bad("half a second slower", "5.1.0", "slow:500ms", GATE, "The gate stops the rollout. fail: p95 latency", slow=0.5),
    Bad("crashes after 20 s", "5.2.0", "exit-after:20s", {**GATE, "rollout_hold_seconds": 25}, "did not stay healthy"),
    Bad("never healthy", "6.6.6", "never-ready", {}, "did not become healthy"),
    Bad("healthy, then deaf", "5.3.0", "deaf-after:3s", HOLD, "did not stay healthy"),
    Bad("healthy for 3 s only", "5.4.0", "ready-for:3s", HOLD, "did not stay healthy", short=True),
    Bad("healthy and not by turns", "5.5.0", "flapping:1s", HOLD, "did not stay healthy"),
]


def harm(case: Case, bad: Bad) -> dict[str, Any]:
    """What users saw of it: how many requests, which share, and for how many seconds until the last host was back."""
    answers = case.answers()
    seen = [one for one in answers if one["error"] or one["status"] != 200 or (one["release"] == bad.version and one["seconds"] >= bad.slow)]
    share = round(len(seen) / len(answers), 4)
    if not seen:
        return {"seen": 0, "share": share, "seconds": 0.0}
    first = min(one["at"] + one["seconds"] for one in seen)
    last = max(one["at"] + one["seconds"] for one in answers if one["release"] == bad.version or one in seen)
    return {"seen": len(seen), "share": share, "seconds": round(max(last, case.capacity.whole_again() - case.load_began) - first, 1)}


@pytest.mark.torture
@pytest.mark.parametrize("bad", sample([bad for bad in BAD if TORTURE or bad.short], 1), ids=lambda bad: bad.name)
def test_a_bad_release_is_caught_in_the_first_wave(fleet: Fleet, bad: Bad) -> None:
    fleet.built(bad.version, bad.fault)
    options = json.dumps({"version": bad.version, "force": "for this test", **bad.options})
    with tortured("bad release", bad.name) as case:
        done = fleet.play("deploy.yml", "-e", options)
    assert done.code == 2, done.output
    assert bad.told in done.message(), done.output[-4000:]
    fleet.settled("1.0.0")
    switched = [host for host, text in fleet.journal("storefront").items() if f"-activate-{bad.version}-" in text]
    assert switched == fleet.hosts()[:1], "only the first wave met it"
    figures = harm(case, bad)
    assert figures["share"] < 0.25, figures
    case.passed(lost=None, lowest=3, **figures)
    again = fleet.play("deploy.yml", "-e", f"version={bad.version}")
    assert again.code == 2
    assert "is known to be bad" in again.message()


#: What watching a good release costs, in seconds (a deployment that is not watched beside it).
HELD: dict[str, dict[str, Any]] = {
    "not watched": {"rollout_hold_seconds": 0},
    "watched for 5 s in the first and the last wave": {"rollout_hold_seconds": 5},
    "baked for 6 s in each wave": {"rollout_hold_seconds": 0, "rollout_bake_seconds": 6, "rollout_look_seconds": 2},
}


@pytest.mark.skipif(not TORTURE, reason="a measurement: make torture-release")
@pytest.mark.torture
@pytest.mark.parametrize("name", HELD)
def test_what_watching_a_good_release_costs(fleet: Fleet, name: str) -> None:
    with tortured("good release", name) as case:
        began = time.monotonic()
        fleet.deploy("1.1.0", "-e", json.dumps(HELD[name]))
        seconds = time.monotonic() - began
    case.passed(seconds=round(seconds, 1))
    fleet.settled("1.1.0")
