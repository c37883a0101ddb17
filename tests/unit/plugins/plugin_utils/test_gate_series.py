"""The counters of a host are differenced series by series: no lifetime of any of them passes for what was counted just now."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import gate, gate_series
from hypothesis import given
from hypothesis import strategies as st

Counts = tuple[float | None, float | None]


def counted(*readings: gate_series.Figures, switched_at: int = 0) -> list[tuple[float, float]]:
    """What a host has counted at each reading since the one before; from reading ``switched_at`` on it is of the new release."""
    known, found = None, []
    for number, figures in enumerate(readings):
        more, known = gate_series.grown(known, figures, number >= switched_at)
        found.append(more)
    return found[1:]


def workers(*pids: int, events: float | None, total: float) -> dict[str, Counts]:
    return {f"app1:80 pid={pid}": (events, total) for pid in pids}


def test_a_worker_that_was_replaced_does_not_bring_the_lifetime_of_the_others() -> None:
    before = workers(1, 2, 3, 4, 5, events=2000, total=100000)
    after = workers(1, 2, 3, 4, events=2000, total=100200)
    assert counted(before, {**after, **workers(6, events=1, total=100)}) == [(1, 900)]
    assert counted(before, {**after, **workers(5, events=1, total=100)}) == [(1, 900)]
    assert counted(before, after, {**after, **workers(5, events=2001, total=100400)}) == [(0, 800), (1, 400)]


def test_events_that_are_missing_in_one_answer_say_nothing_until_they_are_back() -> None:
    answers = [{"app1:80": (events, total)} for events, total in ((400, 50000), (None, 50200), (401, 50400), (403, 50600))]
    assert counted(*answers) == counted(*answers, switched_at=1) == [(0, 0), (0, 0), (2, 200)]


def test_events_that_are_gone_for_good_silence_nothing() -> None:
    """Their worker died, their reason is no longer one, the failure that would bring them has not been: while another one keeps the total."""
    died: list[dict[str, Counts]] = [{"": (None, 1000.0 * number), f" pid={1 + (number > 1)}": (7.0 * number, None)} for number in range(5)]
    assert counted(*died, switched_at=1) == [(0, 0), (0, 0), (7, 1000), (7, 1000)]
    unborn: list[dict[str, Counts]] = [{"": (400, 1000)}, {"": (None, 2000)}, {"": (None, 3000)}, {"": (3, 4000)}]
    assert counted(*unborn, switched_at=1) == [(0, 0), (0, 1000), (3, 1000)]


def test_a_total_that_is_missing_in_one_answer_says_nothing_until_it_is_back() -> None:
    assert counted({"app1:80": (4, 500)}, {"app1:80": (6, None)}, {"app1:80": (7, 600)}) == [(0, 0), (3, 100)]


def test_events_vanish_with_their_process_and_come_with_the_first_failure() -> None:
    assert counted({"app1:80": (400, 50000)}, {"app1:80": (None, 100)}, {"app1:80": (450, 900)}) == [(0, 100), (450, 800)]
    assert counted({"app1:80": (None, 50000)}, {"app1:80": (7, 50100)}) == [(7, 100)]


def test_a_new_series_counts_at_once_where_its_target_spoke_before() -> None:
    first = workers(1, events=1, total=10)
    other: dict[str, Counts] = {"app1:81 pid=2": (30, 5000)}
    assert counted(first, first | workers(2, events=9, total=20)) == [(9, 20)]
    assert counted(first, first | other, first | {"app1:81 pid=2": (31, 5100)}) == [(0, 0), (1, 100)]


def test_nothing_is_counted_across_the_switch() -> None:
    old = {"app1:80": (400, 50000)}
    assert counted(old, {"app1:80": (3, 60)}, {"app1:80": (5, 90)}, switched_at=1) == [(0, 0), (2, 30)]
    assert counted(old, {"app1:80": (None, 60)}, {"app1:80": (410, 900)}, switched_at=1) == [(0, 0), (410, 840)]


def summed(total: float | None, **events: float) -> dict[str, Counts]:
    """Events by their reason, where the total is one sum of the target."""
    return {"app1:80": (None, total), **{f"app1:80 reason={reason}": (count, None) for reason, count in events.items()}}


def test_events_of_other_labels_than_the_total_are_taken_together() -> None:
    assert counted(summed(1000), summed(1100, late=4), summed(1200, late=5, lost=2)) == [(4, 100), (3, 100)]
    assert counted(summed(1000, late=30), summed(1100), summed(1200, late=31)) == [(0, 0), (0, 0)]
    assert counted(summed(1000, late=30), summed(90), summed(190, late=5)) == [(0, 90), (5, 100)]
    assert counted(summed(1000, late=30), summed(None, late=31), summed(1200, late=32)) == [(0, 0), (2, 200)]
    silent: dict[str, Counts] = {"app1:81 reason=late": (70, None)}
    assert counted(summed(1000), summed(1100) | silent, summed(1200) | silent) == [(0, 0), (0, 100)]


def test_a_part_of_the_total_under_the_same_labels_is_counted_in_it() -> None:
    def codes(good: float, bad: float) -> dict[str, Counts]:
        return {'app1:80 code="200"': (None, good), 'app1:80 code="500"': (bad, bad)}

    assert counted(codes(1000, 50), codes(1090, 60)) == [(10, 100)]


def test_a_host_with_one_series_is_counted_as_such() -> None:
    assert counted((3, 100), (5, 150), (1, 20), (9, 22)) == [(2, 50), (1, 20), (0, 0)]


@given(
    st.lists(st.tuples(*[st.tuples(st.booleans(), st.integers(0, 5), st.integers(5, 50), st.sampled_from(["", "none", "events"]))] * 3), min_size=2)
)
def test_whatever_vanishes_or_begins_anew_no_more_is_counted_than_there_was(course: list[Any]) -> None:
    """Three workers of one target, each with a long life behind it; one may be replaced before a reading, and be missing in it in whole or part."""
    lives, readings, happened = [[1000, 20000] for _ in range(3)], [], [0, 0]
    for step in [[(False, 0, 0, "")] * 3, *course]:
        reading = {}
        for pid, (anew, events, total, missing) in enumerate(step):
            lives[pid] = [events, total] if anew else [lives[pid][0] + events, lives[pid][1] + total]
            happened = [happened[0] + events, happened[1] + total]
            if missing != "none":
                reading[f"app1:80 pid={pid}"] = (None if missing == "events" else lives[pid][0], lives[pid][1])
        readings.append(reading)
    found = counted(*readings)
    assert sum(events for events, _total in found) <= happened[0]
    assert sum(total for _events, total in found) <= happened[1]


def test_neither_side_of_the_gate_takes_a_replaced_worker_for_harm() -> None:
    """Readings are kept as plain data between looks."""
    readings = []
    for number, pids in enumerate([(1, 2, 3, 4, 5), (1, 2, 3, 4, 5), (1, 2, 3, 4, 6)]):
        mine = {f"a:80 pid={pid}": (2000.0, 100000.0 + 200 * number) if pid < 6 else (0.0, 100.0) for pid in pids}
        figures = {"x": {"a": mine, "b": {"b:80": (10000.0 + number, 500000.0 + 1000 * number)}}}
        readings.append(json.loads(json.dumps(gate.condense({}, "shop", number, ["a"], figures))))
    verdict = gate.judge(readings, ["a", "b"], gate.Settings(), (), final=False, names={"x": (0.002, 0.02)})
    assert verdict.measures[1].new_requests == pytest.approx(1900)
    assert not verdict.measures[1].failed
