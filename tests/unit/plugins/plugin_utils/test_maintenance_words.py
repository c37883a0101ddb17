"""What operators are told of maintenance."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import haproxy, maintenance

ENTRY = {"since": "2026-11-25T18:00:00Z", "by": "ada", "reason": "the database moves", "message": "Back at six.", "retry_after": 300}
STAT = "# pxname,svname,status,weight,check_status,check_code,chkfail,agent_status,chkdown,lastchg,qcur,ctime,rtime\n\n"


def balancer(entry: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"trouble": None, "maintenance": {"shop": entry} if entry else {}, **more}


def test_nothing_is_said_where_nothing_is_in_maintenance() -> None:
    assert maintenance.lines({"lb1": balancer(), "lb2": {"trouble": "gone", "maintenance": {}}}, "shop") == []
    assert maintenance.lines({"lb1": {"trouble": "an answer from before"}}, "shop") == []
    assert maintenance.lines({"lb1": balancer(ENTRY)}, "blog") == []


def test_load_balancers_that_agree_are_one_line_with_the_first_time() -> None:
    later = {**ENTRY, "since": "2026-11-25T18:00:01Z"}
    (line,) = maintenance.lines({"lb1": balancer(later), "lb2": balancer(ENTRY)}, "shop")
    assert line == 'shop is in maintenance at lb1, lb2 since 2026-11-25T18:00:00Z by ada, because: the database moves; clients read: "Back at six."'
    assert "no reason given" in maintenance.lines({"lb1": balancer({**ENTRY, "reason": ""})}, "shop")[0]


def test_a_load_balancer_that_goes_on_serving_is_named() -> None:
    found = maintenance.lines({"lb1": balancer(ENTRY), "lb2": balancer(), "lb3": {"trouble": "gone", "maintenance": {}}}, "shop")
    assert found[1].startswith("but NOT at lb2: run")


@pytest.mark.parametrize(
    ("balancers", "whole"),
    [
        ({}, False),
        ({"lb1": balancer(ENTRY)}, True),
        ({"lb1": balancer(ENTRY), "lb2": balancer()}, False),
        ({"lb1": balancer(ENTRY), "lb2": {"trouble": "gone"}}, True),
        ({"lb2": {"trouble": "gone"}}, False),
    ],
)
def test_the_gate_is_asked_unless_nobody_is_served(balancers: dict[str, Any], whole: bool) -> None:
    assert maintenance.everywhere(balancers, "shop") is whole
    assert any("gate" in line for line in maintenance.plan_lines(balancers, "shop")) is whole


def test_nothing_is_switched_where_one_cannot_be_asked() -> None:
    said = maintenance.refusal({"lb1": {"changed": False, "entry": None}, "lb2": {"changed": False, "failed": False, "msg": "cannot be reached"}})
    assert said.startswith("Nothing was changed at any load balancer.")
    assert "- lb2: cannot be reached" in said
    assert "--limit '!lb2'" in said
    assert maintenance.refusal({"lb1": {"changed": False, "entry": None}}) == ""


def test_what_is_left_is_told_by_load_balancer_and_server() -> None:
    assert maintenance.left_over({"lb1": {"in_flight": {}}}) == ""
    said = maintenance.left_over({"lb1": {"in_flight": {"app1": 2, "queue": 1}}, "lb2": {"msg": "cannot be reached"}, "lb3": {"in_flight": {}}})
    assert said == "lb1: 2 at app1, 1 at queue; lb2: cannot be reached"


def test_a_diff_shows_both_sides() -> None:
    shown = maintenance.diff("shop", {"changed": True, "before": None, "entry": ENTRY})
    assert shown["before"] == "shop: served\n"
    assert "message: Back at six." in shown["after"]
    assert len(set(maintenance.diff("shop", {"changed": False, "before": ENTRY, "entry": ENTRY}).values())) == 1


def test_haproxys_map_is_read_with_its_statistics() -> None:
    record = base64.b64encode(json.dumps({name: ENTRY[name] for name in ("since", "by", "reason", "message")}).encode()).decode()
    found = haproxy.parse(f"{STAT}0x7f5ba4029620 shop 300|{record}|QmFjaw==\n\nName: HAProxy\n\n")
    assert found["maintenance"] == {"shop": ENTRY}
    assert haproxy.parse(f"{STAT}Unknown map identifier. Please use #<id> or <file>.\n\nName: HAProxy\n\n")["maintenance"] == {}
