"""Records add up to runs; one without an end is running or interrupted, and filters find what was asked for."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import ledger, ledger_runs
from ledger_records import ended, moment, noted, started


def outcomes(records: list[dict[str, Any]], live: set[str] | None = None) -> dict[str, str]:
    return {run["run"]: run["outcome"] for run in ledger_runs.runs(records, live)}


@pytest.mark.parametrize(
    ("records", "live", "expected"),
    [
        ([started("a"), ended("a")], set(), {"a": "deployed"}),
        ([started("a"), ended("a", outcome="failed")], {"a"}, {"a": "failed"}),
        ([started("a")], {"a"}, {"a": "running"}),
        ([started("a")], set(), {"a": "interrupted"}),
        ([started("a")], None, {"a": "running"}),
        ([started("a"), started("b", 5)], None, {"a": "interrupted", "b": "running"}),
        ([started("b", 5), started("a")], {"a", "b"}, {"a": "interrupted", "b": "running"}),
        ([started("a"), started("b", 5, application="other")], None, {"a": "running", "b": "running"}),
        ([started("a"), started("b", 5, environment="live")], None, {"a": "running", "b": "running"}),
        ([started("a"), noted("a", 3)], set(), {"a": "noted"}),
    ],
)
def test_a_run_without_an_end(records: list[dict[str, Any]], live: set[str] | None, expected: dict[str, str]) -> None:
    assert outcomes(records, live) == expected


def test_the_run_that_goes_on_is_named_by_the_one_that_was_cut_short() -> None:
    first, second = ledger_runs.runs([started("a"), started("b", 5, continues="a"), ended("b", 9)])
    assert (first["outcome"], first["continued_by"], second["continued_by"]) == ("interrupted", "b", None)


def test_an_end_that_came_late_stands_where_its_run_began() -> None:
    """A record may wait on a controller until the ledger can be written again."""
    found = ledger_runs.runs([started("b", 20), ended("b", 21), started("a", 10), ended("a", 12, seconds=2.0), ended("lost", 6, seconds=1.5)])
    assert [(run["run"], run["at"]) for run in found] == [("lost", "2026-11-25T10:00:04.500Z"), ("a", moment(10)), ("b", moment(20))]


def test_what_is_no_record_is_counted_and_left_out() -> None:
    data = b"".join([ledger.encode(started("a")), b'{"event": "started"}\n', b"[]\n", b"\n", b"\xff\n", ledger.encode(noted("b")), b'{"event'])
    records, unreadable = ledger_runs.parse(data)
    assert [record["run"] for record in records] == ["a", "b"]
    assert unreadable == 3


def test_the_end_of_a_long_ledger_is_read_from_its_first_whole_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = [ledger.encode(noted(str(number))) for number in range(9)]
    path.write_bytes(b"".join(lines))
    for depth, expected in ((len(lines[0]) * 2 + 1, "78"), (len(lines[0]) - 1, ""), (10**6, "012345678")):
        records, unreadable = ledger_runs.read(str(path), depth)
        assert ("".join(record["run"] for record in records), unreadable) == (expected, 0)


RUNS = ledger_runs.runs(
    [
        started("a", 0),
        ended("a", 1),
        started("b", 10, by="bo", on_behalf_of="cy@chat"),
        ended("b", 12, outcome="rolled_back", cause="app1: not healthy"),
        started("c", 20, application="other"),
    ],
    set(),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "abc"),
        ({"since": moment(10)}, "bc"),
        ({"by": "ada"}, "ac"),
        ({"by": "ada@desk"}, "ac"),
        ({"by": "cy"}, "b"),
        ({"by": "ad"}, ""),
        ({"app": "other"}, "c"),
        ({"outcome": "interrupted"}, "c"),
        ({"outcome": "rolled_back", "by": "bo"}, "b"),
        ({"run": "a"}, "a"),
        ({"last": 2}, "bc"),
        ({"last": 1, "app": "shop"}, "b"),
    ],
)
def test_filters(wanted: dict[str, Any], expected: str) -> None:
    assert "".join(run["run"] for run in ledger_runs.select(RUNS, wanted)) == expected
