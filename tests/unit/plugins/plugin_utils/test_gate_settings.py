"""What an inventory says of the gate is refused before anything changes, where it cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import gate_settings

USUAL: dict[str, Any] = {
    "rollout_bake_seconds": 60,
    "rollout_hold_seconds": 5,
    "rollout_look_seconds": "5",
    "rollout_wait_seconds": 600,
    "rollout_min_requests": 100,
    "rollout_on_inconclusive": "proceed",
    "rollout_error_tolerance": 0.2,
    "rollout_error_harm": "2",
    "rollout_latency_tolerance": 10,
    "rollout_latency_harm": 250,
    "rollout_measures": [
        {"name": "payments", "command": ["count"], "tolerance": 3},
        {"name": "searches", "prometheus": "http://ops1:9090", "events": "a", "total": "b", "label": "host", "tolerance": 1, "harm": 1},
    ],
}
ASKED = {"command": ["count"]}


def test_numbers_may_be_text_and_nothing_is_asked_of_what_is_not_given() -> None:
    assert gate_settings.obstacles(USUAL) == gate_settings.obstacles({}) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("rollout_bake_seconds", "60s", "rollout_bake_seconds is '60s': it has to be a whole number, at least 0."),
        ("rollout_look_seconds", 0, "rollout_look_seconds is 0: it has to be a whole number, at least 1."),
        ("rollout_look_seconds", 2.5, "a whole number"),
        ("rollout_hold_seconds", -1, "at least 0"),
        ("rollout_wait_seconds", None, "rollout_wait_seconds is None"),
        ("rollout_min_requests", True, "rollout_min_requests is True"),
        ("rollout_on_inconclusive", "procede", "rollout_on_inconclusive is 'procede': it has to be wait, proceed or stop."),
        ("rollout_error_tolerance", "nan", "rollout_error_tolerance is 'nan': it has to be a number, at least 0 and at most 100."),
        ("rollout_error_harm", 0.1, "rollout_error_harm (0.1) is less than rollout_error_tolerance (0.2)"),
        ("rollout_error_harm", 101, "at most 100"),
        ("rollout_latency_harm", -5, "rollout_latency_harm is -5: it has to be a number, at least 0."),
        ("rollout_measures", "payments", "rollout_measures is 'payments': it has to be a list of measures"),
        ("rollout_measures", None, "rollout_measures is None"),
        ("rollout_measures", [{"name": "errors", **ASKED}], "rollout_measures, errors: another measure of the gate is called so."),
        ("rollout_measures", [{"name": "a", **ASKED}, {"name": "a", **ASKED}], "a: another measure"),
        ("rollout_measures", [{**ASKED}], "number 1: it has no name"),
        ("rollout_measures", [{"name": "a", **ASKED, "tolerence": 1}], "a: it has tolerence; a measure knows name, command, "),
        ("rollout_measures", [{"name": "a"}], "a: it needs either command or prometheus"),
        ("rollout_measures", [{"name": "a", "prometheus": "http://p", "events": "e"}], "a: with prometheus it needs total, a query each."),
        ("rollout_measures", [{"name": "a", "command": "count"}], "a: command is 'count': it has to be a list"),
        ("rollout_measures", [{"name": "a", **ASKED, "tolerance": 3, "harm": 2}], "a: harm (2) is less than rollout_measures, a: tolerance (3)"),
    ],
)
def test_what_cannot_be_meant_is_named_with_what_it_has_to_be(name: str, value: Any, told: str) -> None:
    (line,) = gate_settings.obstacles({**USUAL, name: value})
    assert told in line


def test_harm_is_at_least_what_is_tolerated_where_nobody_says_it() -> None:
    assert [gate_settings.harm(measure) for measure in ({}, {"tolerance": 3}, {"tolerance": 3, "harm": None}, {"harm": 1})] == [2, 3, 3, 1]
