"""What a run returned becomes its records, and every record is as the published schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import ledger_runs
from ansible_collections.tossable.fleet.plugins.plugin_utils import ledger
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = jsonschema.Draft202012Validator(json.loads((Path(__file__).resolve().parents[4] / "docs" / "ledger.schema.json").read_text()))
NOW = 1_795_600_800.123
OLD, NEW = "1.0-aaaaaaaa", "1.1-bbbbbbbb"
COMMIT = {"commit": "c" * 40, "author": "Dee", "at": "2026-11-25T09:00:00.000Z", "subject": "Sell more"}


def who(kind: str = "deploy", **more: Any) -> ledger.Who:
    return ledger.Who(**{**ledger.Who("r1", kind, "lab", "shop", "ada", "", "the new cart")._asdict(), **more})


def plan(*waves: str, **more: Any) -> dict[str, Any]:
    """A plan for the hosts named by letters, `plan("a", "bc")` for two waves."""
    moves = {host: {"from": OLD, "to": NEW, "changes": True, "wave": number} for number, wave in enumerate(waves, 1) for host in wave}
    found = {"from": "1" * 40, "to": "2" * 40, "added": {"count": 1, "first": ["c Sell more"], "list": [COMMIT]}}
    rest = {"id": "plan-1a2b3c4d", "confirmed": False, "estimate": {"seconds": 12.5}, "changes": [{"hosts": list(moves), "commits": found}]}
    return {"run": "r1", "by": "ada", "release": NEW, "version": "1.1", "digest": "b" * 64, "hosts": moves, **rest, **more}


def call(began: float, ended: float | None = None, **more: Any) -> dict[str, Any]:
    """What a call on a host returned."""
    return {"failed": False, "changed": True, "clock": {"began": began, "ended": began + 1 if ended is None else ended}, **more}


def switched(began: float, **more: Any) -> dict[str, Any]:
    steps = [{"step": "drain", "seconds": 0.2}, {"step": "switch", "seconds": 0.1}]
    return call(began, release=NEW, previous=OLD, seconds=0.9, steps=steps, **more)


def went(**hosts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {host: {"staged": call(10, seconds=0.5), **told} for host, told in hosts.items()}


def course(**more: Any) -> ledger.Course:
    return ledger.Course(**{"aborted": {}, "lost": {}, "held": True, "judged": {}, "readings": [], **more})


def end(kind: str, planned: dict[str, Any], found: dict[str, Any], **more: Any) -> dict[str, Any]:
    record = ledger.ended(who(kind), NOW, planned, found, course(**more), {"began": 5.0, "accepted": 9.0, "now": 40.0})
    return valid(record)


def valid(record: dict[str, Any]) -> dict[str, Any]:
    SCHEMA.validate(json.loads(json.dumps(record)))
    assert ledger_runs.parse_line(json.dumps(record).encode()) is not None
    return record


def outcomes(record: dict[str, Any]) -> tuple[str, list[str], dict[str, str]]:
    return record["outcome"], [wave["outcome"] for wave in record["waves"]], {host: one["outcome"] for host, one in record["hosts"].items()}


ABORTED = {"host": "b", "reason": "it did not become healthy:\n it answers 503", "evidence": []}


def test_the_start_says_what_the_plan_says() -> None:
    record = valid(ledger.started(who(on_behalf_of="bo"), NOW, plan("a", "bc"), {"continues": "r0"}, [], ""))
    assert record["at"] == "2026-11-25T10:00:00.123Z"
    assert (record["from"], record["to"], record["version"], record["hosts"], record["waves"]) == (
        [OLD],
        NEW,
        "1.1",
        list("abc"),
        [["a"], ["b", "c"]],
    )
    assert record["commits"] == {"from": "1" * 40, "to": "2" * 40, "list": [COMMIT]}
    assert (record["continues"], record["plan"], record["forced"], record["lock_broken"], record["estimated_seconds"]) == (
        "r0",
        None,
        None,
        None,
        12.5,
    )
    assert record["on_behalf_of"] == "bo"


def test_the_start_says_what_was_confirmed_forced_and_broken() -> None:
    broken = {"by": "bo", "reason": "laptop gone", "run": "r0"}
    record = valid(ledger.started(who(), NOW, plan("a", confirmed=True, estimate=None), {"broken": broken, "continues": ""}, [], "not to\nblame"))
    assert (record["plan"], record["forced"], record["lock_broken"]) == ("plan-1a2b3c4d", "not to blame", broken)
    assert (record["continues"], record["estimated_seconds"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], None),
        ([{"hosts": ["a"], "commits": None}], None),
        ([{"hosts": ["a"], "commits": {"from": None, "to": "2" * 40, "added": None}}], None),
        ([{"hosts": ["a"], "commits": {"from": "1" * 40, "to": "2" * 40, "added": None}}], []),
        (
            [
                {"hosts": ["a"], "commits": {"from": "0" * 40, "to": "2" * 40, "added": None}},
                {"hosts": ["b", "c"], "commits": {"from": "1" * 40, "to": "2" * 40, "added": {"list": [COMMIT]}}},
            ],
            [COMMIT],
        ),
    ],
)
def test_commits_are_those_of_most_hosts_or_not_known(changes: list[dict[str, Any]], expected: list[dict[str, Any]] | None) -> None:
    record = valid(ledger.started(who(), NOW, plan("abc", changes=changes), {}, [], ""))
    assert (record["commits"] and record["commits"]["list"]) == expected


def test_the_first_release_comes_from_nothing() -> None:
    first = plan("a")
    first["hosts"]["a"]["from"] = None
    assert valid(ledger.started(who(), NOW, first, {}, [], ""))["from"] == []
    record = end("deploy", first, went(a={"switched": switched(12)}))
    assert (record["outcome"], record["from"], record["hosts"]["a"]["from"], record["hosts"]["a"]["to"]) == ("deployed", [], None, NEW)


def test_a_deployment_that_went_well() -> None:
    record = end(
        "deploy", plan("a", "bc"), went(a={"switched": switched(12)}, b={"switched": switched(20)}, c={"switched": switched(21, changed=False)})
    )
    assert outcomes(record) == ("deployed", ["deployed", "deployed"], {"a": "deployed", "b": "deployed", "c": "unchanged"})
    assert (record["cause"], record["seconds"]) == ("", 35.0)
    assert [wave["seconds"] for wave in record["waves"]] == [8.0, 20.0], "from the first switch to the next wave's, gate and all"
    assert record["phases"] == {"plan": 4.0, "stage": 1.0, "roll": 28.0}
    assert record["hosts"]["a"]["steps"] == {"stage": 0.5, "drain": 0.2, "switch": 0.1}
    assert record["hosts"]["a"]["seconds"] == 0.9


def test_migrations_have_a_phase_of_their_own() -> None:
    found = went(a={"migrated": call(13, 18), "switched": switched(20)}, b={"switched": switched(20)})
    assert end("deploy", plan("ab"), found)["phases"] == {"plan": 4.0, "stage": 1.0, "migrate": 7.0, "roll": 20.0}


def test_a_rollback_that_went_well() -> None:
    assert outcomes(end("rollback", plan("a"), went(a={"switched": switched(12)}))) == ("rolled_back", ["rolled_back"], {"a": "rolled_back"})


def test_a_deployment_that_was_taken_back() -> None:
    found = went(
        a={"switched": switched(12), "recovered": call(30, release=OLD)},
        b={"switched": call(20, failed=True, msg="no"), "recovered": call(30, 33, changed=False)},
        c={},
    )
    record = end("deploy", plan("a", "b", "c"), found, aborted=ABORTED)
    assert outcomes(record) == ("rolled_back", ["rolled_back", "failed", "not_reached"], {"a": "rolled_back", "b": "failed", "c": "not_reached"})
    assert record["cause"] == "b: it did not become healthy: it answers 503"
    assert {host: one["to"] for host, one in record["hosts"].items()} == {"a": OLD, "b": OLD, "c": OLD}
    assert record["hosts"]["b"]["seconds"] == 1.0, "a failed call has only the controller's time"
    assert (record["phases"]["roll"], record["phases"]["recover"]) == (18.0, 3.0)
    assert record["waves"][1]["seconds"] == 10.0


def test_a_first_release_that_was_taken_back_leaves_nothing() -> None:
    first = plan("a")
    first["hosts"]["a"]["from"] = None
    record = end("deploy", first, went(a={"switched": switched(12), "recovered": call(30, release="")}), aborted=ABORTED)
    assert (record["outcome"], record["hosts"]["a"]["to"]) == ("rolled_back", None)


@pytest.mark.parametrize(
    ("kind", "told", "more"),
    [
        ("deploy", {"switched": switched(12), "recovered": call(30, failed=True)}, {}),
        ("deploy", {"switched": switched(12), "recovered": call(30), "stranded": "it is gone"}, {}),
        ("deploy", {"switched": switched(12), "recovered": {"skipped": True}}, {}),
        ("deploy", {"switched": switched(12), "recovered": call(30)}, {"held": False}),
        ("deploy", {}, {}),
        ("rollback", {"switched": call(12, failed=True)}, {}),
        ("reconcile", {"switched": call(12, failed=True)}, {}),
    ],
)
def test_what_is_not_back_has_failed(kind: str, told: dict[str, Any], more: dict[str, Any]) -> None:
    assert end(kind, plan("b"), went(b=told), aborted=ABORTED, **more)["outcome"] == "failed"


def test_a_rollback_that_stops_half_way_keeps_what_it_has_done() -> None:
    record = end("rollback", plan("a", "b"), went(a={"switched": switched(12)}, b={"switched": call(20, failed=True)}), aborted=ABORTED)
    assert outcomes(record) == ("failed", ["rolled_back", "failed"], {"a": "rolled_back", "b": "failed"})
    assert record["hosts"]["b"]["to"] is None


def test_a_wave_whose_hosts_went_well_and_whose_gate_did_not_has_failed() -> None:
    record = end(
        "deploy", plan("a", "b"), went(a={"switched": switched(12), "recovered": call(30)}, b={}), aborted={"host": "a", "reason": "the gate"}
    )
    assert outcomes(record) == ("rolled_back", ["failed", "not_reached"], {"a": "rolled_back", "b": "not_reached"})


def test_dead_hosts_are_left_out() -> None:
    found = went(a={"switched": switched(12)}, b={"switched": {"skipped": True}})
    record = end("deploy", plan("a", "b"), found, lost={"b": "while it was staged: gone", "z": "before the run: gone"})
    assert outcomes(record) == ("deployed", ["deployed", "not_reached"], {"a": "deployed", "b": "left_out", "z": "left_out"})
    assert record["hosts"]["b"]["to"] is None


def test_a_wave_all_of_whose_hosts_died_in_it_was_not_reached() -> None:
    found = went(a={"switched": switched(12)}, b={"switched": call(20, failed=True, reachable=False)})
    assert outcomes(end("deploy", plan("a", "b"), found, lost={"b": "in its wave: gone"}))[:2] == ("deployed", ["deployed", "not_reached"])


def test_a_run_that_ended_before_it_was_done_has_failed() -> None:
    record = end("deploy", plan("a", "b"), went(a={"switched": switched(12)}, b={}))
    assert (record["outcome"], record["cause"]) == ("failed", "the run ended before it was done on b")


def reading(at: float, new: str, *counts: tuple[int, int]) -> dict[str, Any]:
    """Cumulative requests and errors of the hosts a, b, c."""
    servers = {
        host: {"requests": requests, "errors": errors, "latency": {"10": requests - errors, "inf": errors}}
        for host, (requests, errors) in zip("abc", counts, strict=True)
    }
    return {"at": at, "new": list(new), "balancers": {"lb1": {"pid": 1, "servers": servers}}, "measures": {}}


def test_the_gate_is_told_wave_by_wave_with_both_sides() -> None:
    readings = [
        reading(NOW, "", (0, 0), (0, 0), (0, 0)),
        reading(NOW + 1, "a", (10, 0), (10, 0), (10, 0)),
        reading(NOW + 2, "a", (30, 2), (40, 0), (30, 0)),
        reading(NOW + 3, "abc", (40, 2), (50, 0), (40, 0)),
        reading(NOW + 4, "abc", (50, 2), (60, 0), (50, 0)),
    ]
    judged = {"a": {"verdict": "pass", "line": "pass: well", "readings": 3}, "c": {"verdict": "inconclusive", "line": "few", "readings": 5}}
    found = went(a={"switched": switched(12)}, b={"switched": switched(20)}, c={"switched": switched(20)})
    first, second = end("deploy", plan("a", "bc"), found, judged=judged, readings=readings)["waves"]
    assert (first["gate"]["verdict"], second["gate"]["line"]) == ("pass", "few")
    assert [one["at"] for one in first["gate"]["readings"]] == ["2026-11-25T10:00:01.123Z", "2026-11-25T10:00:02.123Z"]
    look = first["gate"]["readings"][1]
    assert (look["new"]["requests"], look["new"]["errors"]) == (20, 2)
    assert (look["old"]["requests"], look["old"]["errors"], look["old"]["p95_ms"]) == (50, 0, 10)
    assert len(second["gate"]["readings"]) == 2
    assert second["gate"]["readings"][1]["old"] == {"requests": 0, "errors": 0, "p95_ms": None}
    assert end("deploy", plan("a", "bc"), found)["waves"][0]["gate"] is None


def contract(found: dict[str, Any]) -> dict[str, Any]:
    planned = {"run": "r1", "by": "ada", "release": NEW}
    start = valid(ledger.started(who("contract"), NOW, planned, {}, ["a", "b"], ""))
    assert (start["from"], start["to"], start["hosts"], start["waves"], start["digest"]) == ([NEW], NEW, ["a", "b"], [], "")
    return valid(ledger.contracted(who("contract"), NOW, planned, found, {"began": 5.0, "accepted": 9.0, "now": 12.0}))


def test_contract_migrations() -> None:
    record = contract({"a": {"migrated": call(10, 11, seconds=0.8)}, "b": {}})
    assert outcomes(record) == ("deployed", [], {"a": "deployed", "b": "unchanged"})
    assert (record["phases"], record["hosts"]["a"]["seconds"]) == ({"plan": 4.0, "migrate": 3.0}, 0.8)
    record = contract({"a": {"migrated": call(10, 11, failed=True, msg="no such\ntable")}, "b": {}})
    assert (record["outcome"], record["cause"]) == ("failed", "a: no such table")
    record = contract(
        {"a": {}, "b": {"given_up": {"failed": True, "msg": "One or more items failed", "results": [{"failed": True, "msg": "it is live"}]}}}
    )
    assert (record["outcome"], record["cause"]) == ("failed", "b: it is live")


def test_only_what_the_ledger_is_about_is_taken_from_a_host() -> None:
    hostvars = {"a": {"release_switch": {"changed": True}, "release_stranded": "gone", "password": "secret"}, "b": {}}
    assert ledger.results(["a", "b"], hostvars) == {"a": {"switched": {"changed": True}, "stranded": "gone"}, "b": {}}


TEXT = st.text(max_size=40)


@given(st.sampled_from(["unlock", "maintenance", "flag", "refused", "toss"]), TEXT, TEXT)
def test_a_note_is_one_line_whatever_was_typed(kind: str, reason: str, text: str) -> None:
    record = valid(ledger.noted(who(kind, reason=reason, account="deploy@desk"), NOW, text))
    assert (record["by"], record["account"]) == ("ada", "deploy@desk")
    assert record["text"] == " ".join(text.split())
    assert len(ledger.one_line(text * 100)) <= ledger.WIDTH


@given(
    st.lists(
        st.sampled_from([{}, {"skipped": True}, {"failed": True, "msg": "no"}, switched(12), switched(13, changed=False)]), min_size=1, max_size=4
    ),
    st.lists(st.sampled_from([None, {"skipped": True}, call(30), call(30, failed=True)]), min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["deploy", "rollback", "reconcile"]),
)
def test_every_end_is_as_the_schema_says(
    switches: list[dict[str, Any]], recoveries: list[dict[str, Any] | None], aborted: bool, held: bool, kind: str
) -> None:
    names = "abcd"[: len(switches)]
    found = {
        host: {"switched": switch, **({"recovered": recovery} if recovery else {})}
        for host, switch, recovery in zip(names, switches, recoveries, strict=False)
    }
    record = end(kind, plan(*names), found, aborted=ABORTED if aborted else {}, held=held)
    assert (record["cause"] == "") == (record["outcome"] == ("rolled_back" if kind == "rollback" else "deployed"))
    assert len(record["waves"]) == len(names)


def test_a_note_of_flags_says_which_and_how_they_stood() -> None:
    rows = [{"flag": "checkout", "before": "off", "after": "10 %", "changed": True}]
    record = valid(ledger.noted(who("flag"), 0.0, "checkout: 10 % (was off), generation 3", rows))
    assert record["flags"] == [{"flag": "checkout", "before": "off", "after": "10 %"}]
    assert "flags" not in valid(ledger.noted(who("unlock"), 0.0, "the lock of ada was broken"))
