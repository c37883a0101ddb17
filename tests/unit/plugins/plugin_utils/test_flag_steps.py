"""A rollout's changes of the live state: only of a flag that is still its own, and back to exactly what was live before."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_live, flag_set, flag_steps
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_live import Decision, Live, Order

ORDER = Order("ada@laptop", None, "step 1 of 2", "2026-11-25T18:00:00Z")
DECLARED = """\
flags:
  checkout: {purpose: Buy, owner: shop, kind: release, expires: 2099-01-01, state: off, may_change: [ada]}
"""


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, flag_set.Flag]:
    (tmp_path / "shop.yml").write_text(DECLARED)
    return flag_set.load(tmp_path)


def decide(flags: Any, before: Decision | None, words: dict[str, Any], order: Order = ORDER, today: date = date(2026, 11, 25)) -> Decision:
    live, line = (before.live, before.line) if before else (Live("lab"), b"")
    return flag_live.decide(flags, live, line, {"checkout": words}, order, {}, today)


def step(run: str, number: int, percent: float) -> dict[str, Any]:
    return flag_steps.step(run, number, 2, percent)


def started(flags: Any, before: Decision, percent: float = 10) -> Decision:
    return decide(flags, before, flag_steps.first(step("r1", 1, percent), before.live.overrides.get("checkout")))


BEFORE: list[dict[str, Any]] = [{"state": "reset"}, {"percent": 5}, {"state": "off"}]


@pytest.mark.parametrize("words", BEFORE)
def test_a_rollout_goes_back_to_exactly_what_was_live_before(flags: Any, words: dict[str, Any]) -> None:
    before = decide(flags, None, words, ORDER._replace(until="2026-12-01T00:00:00Z", reason="earlier"))
    first = started(flags, before)
    assert "checkout: 10 %" in first.summary
    second = decide(flags, first, step("r1", 2, 100))
    assert second.summary == f"checkout: on (was 10 %), generation {first.live.generation + 1}"
    assert flag_steps.mark(second.live.overrides["checkout"])["step"] == 2
    back = decide(flags, second, flag_steps.back("r1"), ORDER._replace(reason="taken back"))
    was, now = before.live.overrides.get("checkout"), back.live.overrides.get("checkout")
    assert (now and (now["state"], now["until"], "rollout" in now)) == (was and (was["state"], was["until"], False))
    assert back.live.changed["checkout"]["reason"] == "taken back"


def test_a_rollout_that_ends_well_leaves_what_is_live_and_no_mark(flags: Any) -> None:
    ended = decide(flags, started(flags, decide(flags, None, {"state": "reset"})), flag_steps.done("r1"), ORDER._replace(reason="rolled out"))
    assert ended.summary == "checkout: 10 %, generation 3"
    assert ended.live.overrides["checkout"] == {
        "state": {"percent": 10},
        "by": "ada@laptop",
        "at": ORDER.at,
        "reason": "rolled out",
        "until": None,
        "on_behalf_of": None,
        "account": "",
    }


@pytest.mark.parametrize("words", [{"state": "off"}, {"state": "reset"}, {"percent": 11}])
def test_what_somebody_else_has_switched_is_not_touched_any_more(flags: Any, words: dict[str, Any]) -> None:
    panic = decide(flags, started(flags, decide(flags, None, {"state": "reset"})), words, ORDER._replace(reason="nobody can pay"))
    with pytest.raises(flag_set.FlagError, match="checkout was switched by somebody else meanwhile"):
        decide(flags, panic, step("r1", 2, 100))
    for change in (flag_steps.back("r1"), flag_steps.done("r1")):
        left = decide(flags, panic, change)
        assert (left.changed, left.live) == (False, panic.live)


def test_the_first_step_is_taken_only_where_all_is_as_it_was_planned(flags: Any) -> None:
    planned = decide(flags, None, {"state": "reset"})
    meanwhile = decide(flags, planned, {"percent": 3})
    with pytest.raises(flag_set.FlagError, match="it is 3 %, by ada@laptop"):
        decide(flags, meanwhile, flag_steps.first(step("r1", 1, 10), planned.live.overrides.get("checkout")))


def test_a_second_run_takes_over_and_knows_what_was_live_before_the_first(flags: Any) -> None:
    first = started(flags, decide(flags, None, {"percent": 5}))
    over = decide(flags, first, flag_steps.first(step("r2", 1, 10), first.live.overrides["checkout"]))
    with pytest.raises(flag_set.FlagError, match="somebody else"):
        decide(flags, over, step("r1", 2, 100))
    assert decide(flags, over, flag_steps.back("r2")).live.overrides["checkout"]["state"] == {"percent": 5}


def test_whoever_may_not_takes_no_step_and_going_back_asks_for_no_date(flags: Any) -> None:
    before = decide(flags, None, {"percent": 5})
    with pytest.raises(flag_set.FlagError, match="'eve' may not change checkout"):
        decide(flags, before, flag_steps.first(step("r1", 1, 10), before.live.overrides["checkout"]), ORDER._replace(by="eve"))
    back = decide(flags, started(flags, before), flag_steps.back("r1"), today=date(2099, 6, 1))
    assert back.live.overrides["checkout"]["state"] == {"percent": 5}


@pytest.mark.parametrize(("typed", "percent"), [({"percent": 10}, 10), ({"state": "on"}, 100)])
def test_whoever_switches_to_where_the_rollout_is_takes_the_flag_from_it(flags: Any, typed: dict[str, Any], percent: float) -> None:
    """Somebody wants it to stay there: no further step, and no way back."""
    begun = started(flags, decide(flags, None, {"state": "reset"}), percent)
    taken = decide(flags, begun, typed, ORDER._replace(by="ada@desk", reason="stop here"))
    assert taken.changed
    assert (taken.live.overrides["checkout"]["by"], flag_steps.mark(taken.live.overrides["checkout"])) == ("ada@desk", {})
    with pytest.raises(flag_set.FlagError, match="switched by somebody else meanwhile"):
        decide(flags, taken, step("r1", 2, 100))
    assert decide(flags, taken, flag_steps.back("r1")).live.overrides == taken.live.overrides


def test_an_end_that_passes_keeps_no_rollout_from_going_back() -> None:
    now = datetime(2026, 12, 1, 18, 1, tzinfo=UTC)
    first = flag_steps.first(step("r1", 1, 10), None)
    assert [flag_steps.begins(change) for change in (first, {"state": "on"}, step("r1", 2, 50), flag_steps.back("r1"))] == [True, True, False, False]
    assert flag_live.until("2026-12-01T18:00", now, begins=False) == "2026-12-01T18:00:00Z"
    with pytest.raises(ValueError, match="over already"):
        flag_live.until("2026-12-01T18:00", now)
