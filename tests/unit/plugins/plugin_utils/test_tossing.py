"""A machine goes only where the others can do without it, and comes back to what the fleet runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.tossable.fleet.plugins.filter import fleet
from ansible_collections.tossable.fleet.plugins.plugin_utils import tossing
from hypothesis import given
from hypothesis import strategies as st

DEAD = {"reachable": False, "trouble": "The host cannot be reached: no route\nat all"}


def report(**more: Any) -> dict[str, Any]:
    return {"reachable": True, "trouble": None, "live": "1-aa", "previous": None, "balancer_word": "ready", **more}


def balancer(**status: str) -> dict[str, Any]:
    return {"trouble": None, "backends": {"shop": {host: {"status": word} for host, word in status.items()}}}


def asked(balancers: dict[str, Any], min_healthy: int | str = "50%", **others: Any) -> str:
    reports = {"app1": report(), "app2": report(), "app3": report(), "app4": report(), **others}
    return tossing.obstacle(reports, "app2", balancers, "shop", min_healthy)


def test_a_host_goes_while_enough_others_serve() -> None:
    assert asked({"lb1": balancer(app1="UP", app2="UP", app3="UP", app4="UP")}) == ""
    assert asked({"lb1": balancer(app1="UP", app2="UP", app3="UP", app4="DOWN")}) == ""
    assert asked({}) == ""


def test_a_host_stays_that_the_others_cannot_do_without() -> None:
    said = asked({"lb1": balancer(app1="UP", app2="UP", app3="MAINT", app4="UP")}, app4=DEAD)
    assert said.startswith("app2 was not touched: without it 1 of 4 hosts would be in service, and rollout_min_healthy '50%' keeps 2 there.")
    assert "Not in service: app3 (lb1 says MAINT); app4 (down, The host cannot be reached: no route)." in said
    assert "playbooks/status.yml" in said
    assert "-e \"force='why'\"" in said


def test_the_load_balancer_that_has_the_fewest_decides() -> None:
    whole, half = balancer(app1="UP", app2="UP", app3="UP", app4="UP"), balancer(app1="DOWN", app2="UP", app3="DOWN", app4="UP")
    assert "app1 (lb2 says DOWN); app3 (lb2 says DOWN)" in asked({"lb1": whole, "lb2": half})


def test_a_load_balancer_that_serves_nobody_does_not_speak_for_the_others() -> None:
    """One that has just booted says that all are down, or does not know the application yet: the others need the host all the same."""
    last, booted = balancer(app1="DOWN", app2="UP", app3="DOWN", app4="DOWN"), balancer(app1="DOWN", app2="DOWN", app3="DOWN", app4="DOWN")
    others: list[dict[str, Any]] = [booted, {"backends": {}}]
    for other in others:
        assert "without it 0 of 4 hosts would be in service" in asked({"lb1": last, "lb2": other})


def test_a_load_balancer_that_cannot_be_asked_has_no_say() -> None:
    assert asked({"lb1": {"trouble": "down"}, "lb2": balancer(app1="UP", app2="UP", app3="UP", app4="UP")}) == ""
    assert asked({"lb1": {"trouble": "down"}}, app1=report(balancer_word="maint"), app3=DEAD) != ""


def test_without_load_balancers_hosts_speak_for_themselves() -> None:
    assert "app1 (it says maint); app3 (it says None)" in asked({}, app1=report(balancer_word="maint"), app3=report(balancer_word=None))


def test_a_host_that_is_out_of_service_can_always_go() -> None:
    assert asked({"lb1": balancer(app1="UP", app2="DOWN", app3="DOWN", app4="DOWN")}, "100%") == ""
    assert asked({"lb1": balancer(app1="UP", app2="UP", app3="DOWN", app4="DOWN")}, "100%", app2=DEAD) == ""
    assert asked({"lb1": balancer(app1="DOWN", app2="DOWN", app3="DOWN", app4="DOWN")}, "100%") == ""


def test_a_number_that_cannot_be_read_is_an_error_in_words() -> None:
    with pytest.raises(AnsibleFilterError, match="rollout_min_healthy is 'half'"):
        fleet.toss_obstacle({"app2": report()}, "app2", {}, "shop", "half")


@given(st.lists(st.sampled_from(["UP", "DOWN", "MAINT"]), min_size=1, max_size=8), st.integers(0, 8))
def test_what_goes_leaves_as_many_in_service_as_are_to_stay_or_takes_nothing_away(states: list[str], kept: int) -> None:
    hosts = {f"app{number}": state for number, state in enumerate(states)}
    said = tossing.obstacle({host: report() for host in hosts}, "app0", {"lb1": balancer(**hosts)}, "shop", kept)
    left = states[1:].count("UP")
    assert (said == "") == (left >= kept or states[0] != "UP")


def test_a_new_machine_gets_what_most_can_go_back_to_from_the_release_of_the_fleet() -> None:
    reports = {
        "app1": report(live="3-cc", previous="1-aa"),
        "app2": report(live="2-bb", previous="1-aa"),
        "app3": report(live="2-bb", previous="1-aa"),
        "app4": report(live="2-bb", previous=None),
    }
    assert tossing.before(reports, "2-bb") == "1-aa"
    assert tossing.before(reports, "4-dd") is None
    assert tossing.alike(reports, "2-bb") == ["app2", "app3", "app4"]
    assert tossing.alike({**reports, "app5": DEAD, "app6": report(live=None)}, None) == ["app6"]
