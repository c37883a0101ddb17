"""Windows and freezes say when nothing is deployed, and bad data is named."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import windows
from hypothesis import given
from hypothesis import strategies as st

BERLIN = "Europe/Berlin"
OFFICE = {"days": ["mon", "tue", "wed", "thu"], "from": "09:00", "to": "16:00"}
NIGHT = {"days": ["fri"], "from": "22:00", "to": "02:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN))


@pytest.mark.parametrize(
    ("now", "window", "may"),
    [
        ("2026-11-24T09:00", OFFICE, True),  # a Tuesday
        ("2026-11-24T08:59", OFFICE, False),
        ("2026-11-24T16:00", OFFICE, False),
        ("2026-11-27T10:00", OFFICE, False),
        ("2026-11-27T23:00", NIGHT, True),
        ("2026-11-28T01:59", NIGHT, True),
        ("2026-11-28T02:00", NIGHT, False),
        ("2026-11-27T01:00", NIGHT, False),
        ("2026-11-29T00:00", {"from": "00:00", "to": "00:00"}, True),
    ],
)
def test_a_window(now: str, window: dict[str, Any], may: bool) -> None:
    assert (windows.obstacles(at(now), [window], [], BERLIN) == []) is may


def test_without_windows_every_time_is_right() -> None:
    assert windows.obstacles(at("2026-11-29T03:00"), [], [], BERLIN) == []


def test_utc_needs_no_list_of_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ZoneInfo", lambda name: {}[name])
    assert windows.obstacles(at("2026-11-24T09:30"), [{"from": "08:00", "to": "09:00"}], [], "UTC") == []


def test_the_zone_is_the_one_that_is_named() -> None:
    now = at("2026-11-24T09:30")
    assert windows.obstacles(now, [OFFICE], [], BERLIN) == []
    (line,) = windows.obstacles(now, [OFFICE], [], "UTC")
    assert "It is Tue 08:30 (UTC)" in line
    assert "mon tue wed thu 09:00 to 16:00" in line
    assert "override=" in line


@pytest.mark.parametrize("ends", ["2026-12-26", date(2026, 12, 26), 20261226, "2026-W52-6", "2026-12-27T00:00"])
def test_a_freeze_holds_to_the_end_of_its_last_day(ends: Any) -> None:
    freeze = {"from": "2026-12-24T12:00", "to": ends, "reason": "holidays"}
    assert windows.obstacles(at("2026-12-24T11:59"), [], [freeze], BERLIN) == []
    assert "holidays" in windows.obstacles(at("2026-12-26T23:59"), [], [freeze], BERLIN)[0]
    assert windows.obstacles(at("2026-12-27T00:00"), [], [freeze], BERLIN) == []


def test_a_freeze_may_be_for_ever() -> None:
    assert windows.obstacles(at("2026-12-27T00:00"), [], [{"from": "2026-12-24", "to": "9999-12-31", "reason": "it is over"}], BERLIN) != []


@pytest.mark.parametrize(
    ("window", "freeze", "zone", "told"),
    [
        ([{"from": "9", "to": "10:00"}], [], BERLIN, "needs 'from' as a time of day"),
        ([{"from": 540, "to": "10:00"}], [], BERLIN, "needs 'from' as a time of day"),
        ([{"from": "09:00"}], [], BERLIN, "needs 'to'"),
        ([{"days": ["monday"], "from": "09:00", "to": "10:00"}], [], BERLIN, "monday is no day"),
        ([{"from": "09:00Z", "to": "10:00"}], [], BERLIN, "needs 'from' as a time of day"),
        ([{"days": None, "from": "09:00", "to": "10:00"}], [], BERLIN, "needs its days as a list"),
        ([{"days": "mon", "from": "09:00", "to": "10:00"}], [], BERLIN, "needs its days as a list"),
        ([{"days": [], "from": "09:00", "to": "10:00"}], [], BERLIN, "needs its days as a list"),
        (["09:00"], [], BERLIN, "rollout_windows is .* a list of entries"),
        ([], {"from": "2026-12-24"}, BERLIN, "rollout_freeze is .* a list of entries"),
        ([], [{"from": "2026-12-24", "to": "2026-12-26"}], BERLIN, "has no reason"),
        ([], [{"from": "2026-12-24", "to": "2026-12-20", "reason": "x"}], BERLIN, "ends before it begins"),
        ([], [{"from": "Christmas", "to": "2026-12-26", "reason": "x"}], BERLIN, "'Christmas' is neither a date"),
        ([], [{"from": 2026, "to": "2026-12-26", "reason": "x"}], BERLIN, "'2026' is neither a date"),
        ([], [], "Mars/Olympus", "does not know as a time zone"),
    ],
)
def test_data_that_makes_no_sense_is_named(window: Any, freeze: Any, zone: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        windows.obstacles(at("2026-11-24T10:00"), window, freeze, zone)


@given(st.integers(0, 7 * 24 * 60 - 1), st.integers(0, 23), st.integers(0, 23))
def test_of_two_windows_that_fill_the_day_one_is_always_open(minute: int, begin: int, end: int) -> None:
    if begin == end:
        return
    both = [{"from": f"{begin:02}:00", "to": f"{end:02}:00"}, {"from": f"{end:02}:00", "to": f"{begin:02}:00"}]
    now = at("2026-11-23T00:00") + timedelta(minutes=minute)
    assert windows.obstacles(now, both, [], BERLIN) == []
    assert [bool(windows.obstacles(now, [one], [], BERLIN)) for one in both].count(True) == 1
