"""A run names the hosts that it left out, and with what they are brought right."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils import reporting

GONE = {"reachable": False, "failed": False, "msg": "The host cannot be reached: timed out\nand more"}


def plan(**moves: tuple[str | None, bool]) -> dict[str, Any]:
    hosts = {host: {"from": come_from, "to": "2-bb", "changes": changes} for host, (come_from, changes) in moves.items()}
    return {"app": "shop", "version": "2", "release": "2-bb", "hosts": hosts}


def test_only_a_host_that_could_not_be_reached_has_died() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "app1": {"release_staged": {"reachable": True}, "release_switch": {"reachable": True, "failed": True, "msg": "not healthy"}},
        "app2": {"release_staged": GONE, "release_switch": {"skipped": True}},
        "app3": {"release_staged": {"reachable": True}, "release_switch": GONE},
        "app4": {},
    }
    assert reporting.died(list(hostvars), hostvars) == {
        "app2": "while it was staged: The host cannot be reached: timed out",
        "app3": "in its wave: The host cannot be reached: timed out",
    }


def test_the_hosts_that_were_left_out_come_last_with_the_command() -> None:
    lines = reporting.ended_well("deploy", plan(app1=("1-aa", True), app2=("1-aa", True)), {"app2": "in its wave: gone"}, "Signed.", {})
    assert lines[:2] == ["deploy shop 2: 2-bb on 1 hosts", "Signed."]
    assert lines[2] == "app2 was left out, it was dead in its wave: gone"
    assert lines[-1].endswith("ansible-playbook playbooks/reconcile.yml -e app=shop")


def test_the_last_lines_say_who_ordered_it_and_why() -> None:
    (line,) = reporting.ended_well("deploy", {**plan(app1=("1-aa", True)), "ordered": "ada, because: the new cart"}, {}, "", {})
    assert line == "deploy shop 2: 2-bb on 1 hosts, by ada, because: the new cart"


def test_a_reconciliation_says_what_it_did() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "app1": {"release_switch": {"changed": False}},
        "app2": {"release_switch": {"changed": True}},
        "app3": {"release_switch": {"changed": True}, "release_report": {"drift": [], "balancer_word": "maint"}},
        "app4": {"release_switch": {"changed": True}, "release_report": {"drift": ["current is gone"], "balancer_word": "ready"}},
        "app5": {"release_switch": {"changed": True}, "release_report": {"drift": [], "balancer_word": "ready"}},
    }
    right = ("2-bb", False)
    lines = reporting.ended_well("reconcile", plan(app1=right, app2=(None, True), app3=right, app4=right, app5=right), {}, "", hostvars)
    assert lines == [
        "reconcile shop 2: 2-bb on 5 hosts",
        "app2: nothing -> 2-bb",
        "app3: 2-bb, which it had, was put right: it told the load balancers maint",
        "app4: 2-bb, which it had, was put right: current is gone",
        "app5: 2-bb, which it had, was put right: it was not healthy",
    ]
    assert "right already" in reporting.ended_well("reconcile", plan(app1=right), {}, "", hostvars)[-1]


def test_a_host_that_the_way_back_did_not_reach_is_named_as_one_that_could_not_go_it() -> None:
    switched = {"release_switch": {"changed": True}}
    hostvars: dict[str, dict[str, Any]] = {
        "app1": {**switched, "release_recovered": {"changed": True}},
        "app2": {**switched, "release_recovered": {"failed": True}, "release_stranded": "not healthy there either"},
        "app3": switched,
        "app4": {"release_switch": {"skipped": True}},
        "app5": {},
    }
    assert reporting.not_back(list(hostvars), hostvars) == {
        "app2": "not healthy there either",
        "app3": "the run ended before it came to this host",
    }
