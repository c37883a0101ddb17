"""A release that becomes healthy and is bad all the same: the first wave shows it, and the fleet goes back by itself."""

from __future__ import annotations

import json

from conftest import Fleet, long, under_load
from test_04_refusals import refused

BAKE = ("-e", '{"rollout_bake_seconds": 60, "rollout_look_seconds": 2, "rollout_on_inconclusive": "stop"}')
SHORT_BAKE = ("-e", '{"rollout_bake_seconds": 4, "rollout_look_seconds": 2, "rollout_min_requests": 20}')


def test_a_release_that_fails_some_requests_is_stopped_by_the_gate(fleet: Fleet) -> None:
    """One page in twenty is an error, on one host of four: what users see of it ends with the first wave."""
    with under_load("gate") as running:
        done = fleet.play("deploy.yml", "-e", "version=5.0.0", *BAKE, "-e", "force='for this test'")
    assert done.code == 2, done.output
    assert "The gate stops the rollout. fail: errors" in done.message()
    summary = running.summary
    assert summary["by_error"] == {}, summary
    assert set(summary["by_status"]) == {"200", "500"}, summary
    assert summary["failed"] < 0.03 * summary["requests"], summary
    fleet.settled("1.0.0")
    ended = fleet.ledger()[-1]
    gate = ended["waves"][0]["gate"]
    assert (ended["outcome"], gate["verdict"], ended["waves"][1]["gate"]) == ("rolled_back", "fail", None)
    assert gate["line"] in done.message()
    assert gate["line"] in ended["cause"]
    assert sum(look["new"]["errors"] for look in gate["readings"]) > 0 == sum(look["old"]["errors"] for look in gate["readings"])
    again = fleet.play("deploy.yml", "-e", "version=5.0.0")
    assert again.code == 2
    assert "is known to be bad" in again.message()


@long
def test_every_host_of_a_wave_goes_back_also_where_the_gate_itself_breaks(fleet: Fleet) -> None:
    """A setting that cannot be read any more once the second wave has switched; the task that reads it runs on one host for all."""
    fleet.built("1.8.0", "")
    broken = "{{ [] if (__release_gate.readings | last | default({})).new | default([]) | length > 1 else 50 }}"
    options = {"version": "1.8.0", "force": "for this test", "rollout_waves": [1, 3], "rollout_min_healthy": 1, "rollout_latency_harm": broken}
    done = fleet.play("deploy.yml", "-e", json.dumps(options), *SHORT_BAKE)
    assert done.code == 2, done.output
    assert "Every host that had been switched is back" in done.message(), done.output
    touched = [host for host, text in fleet.journal("storefront").items() if "-activate-1.8.0-" in text]
    assert touched == fleet.hosts()
    fleet.settled("1.0.0")


@long
def test_a_gate_that_cannot_be_asked_before_the_first_switch(fleet: Fleet) -> None:
    """A setting that the plan can read and the first reading cannot: nothing is changed, and nobody has the lock afterwards."""
    unreadable = json.dumps({"version": "1.1.0", "force": "for this test", "rollout_latency_harm": "{{ [] if release_plan is defined else 50 }}"})
    refused(fleet, "latency_harm", "cannot be converted to a float", options=("-e", unreadable, *SHORT_BAKE))
    assert fleet.lock() is None
    fleet.settled("1.0.0")


@long
def test_a_good_release_passes_the_gate(fleet: Fleet) -> None:
    with under_load("gate-good") as running:
        shown = fleet.deploy("1.1.0", *SHORT_BAKE).message()
    assert running.summary["failed"] == 0, running.summary
    assert shown.count("pass: ") == 3, shown
    gates = [wave["gate"] for wave in fleet.ledger()[-1]["waves"]]
    assert [gate["verdict"] for gate in gates] == ["pass"] * 3
    assert all(gate["readings"] and sum(look["new"]["requests"] for look in gate["readings"]) > 0 for gate in gates), gates
    fleet.settled("1.1.0")
