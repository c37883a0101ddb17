# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When deployments are wanted (windows) and when they are not (freezes), as data. Pure functions.

A *window* is ``{"days": ["mon", ...], "from": "09:00", "to": "16:30"}``, in the time of one zone; without ``days`` it is open every day, and one
whose end is not after its beginning goes on past midnight. A *freeze* is ``{"from": "2026-12-20", "to": "2027-01-03", "reason": "..."}``, with
dates (the last one belongs to it) or with times (``2026-12-24T18:00``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OVERRIDE = "If it has to be now: -e \"override='why'\"."


def obstacles(now: datetime, windows: Any, freezes: Any, zone: str) -> list[str]:
    """Why nothing is deployed at ``now`` (with a time zone), in words; empty where it may be. Raises ValueError for data that makes no sense."""
    here = now.astimezone(_zone(zone))
    found = [_told(freeze, zone) for freeze in _listed("rollout_freeze", freezes) if _frozen(here, freeze)]
    opened = [_open(here, window) for window in _listed("rollout_windows", windows)]  # all of them, so that a bad one is found whenever it is looked
    if windows and True not in opened:
        listed = "; ".join(_described(window) for window in windows)
        found.append(f"It is {here:%a %H:%M} ({zone}), and deployments are wanted in these windows: {listed} (rollout_windows). {OVERRIDE}")
    return found


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # also on a controller that has no list of time zones
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"rollout_timezone is {name!r}, which this controller does not know as a time zone; write one such as Europe/Berlin or UTC, or install "
            "the list of them (tzdata)."
        ) from None


def _listed(variable: str, given: Any) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise ValueError(f"{variable} is {given!r}, and should be a list of entries, each with 'from' and 'to'.")
    return given


def _told(freeze: Mapping[str, Any], zone: str) -> str:
    return f"Deployments are frozen from {freeze['from']} to {freeze['to']} ({zone}): {freeze['reason']} (rollout_freeze). {OVERRIDE}"


def _described(window: Mapping[str, Any]) -> str:
    return f"{' '.join(window.get('days', DAYS))} {window['from']} to {window['to']}"


def _frozen(here: datetime, freeze: Mapping[str, Any]) -> bool:
    if missing := [key for key in ("from", "to", "reason") if not freeze.get(key)]:
        raise ValueError(f"rollout_freeze: {dict(freeze)} has no {' and no '.join(missing)}.")
    begin, end = _moment(freeze["from"], here, last=False), _moment(freeze["to"], here, last=True)
    if end <= begin:
        raise ValueError(f"rollout_freeze: {dict(freeze)} ends before it begins.")
    return begin <= here < end


def _moment(value: Any, here: datetime, last: bool) -> datetime:
    """A date or a time of the zone; the last day of a freeze belongs to it, to its end."""
    text = value.isoformat() if isinstance(value, date) else str(value)
    try:
        moment = datetime.fromisoformat(text)
        if last and _is_date(text):
            moment = datetime.combine(moment, time.max)
    except ValueError:
        raise ValueError(f"rollout_freeze: {text!r} is neither a date such as 2026-12-24 nor a time such as 2026-12-24T18:00.") from None
    return moment.replace(tzinfo=moment.tzinfo or here.tzinfo)


def _is_date(text: str) -> bool:
    """Whether it has no time, however it is written: 20270103 without dashes is a number in YAML."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _open(here: datetime, window: Mapping[str, Any]) -> bool:
    days = window.get("days", list(DAYS))
    if not days or not isinstance(days, list):
        raise ValueError(f"rollout_windows: {dict(window)} needs its days as a list, such as [mon, tue]; leave them out for every day.")
    if unknown := [day for day in days if day not in DAYS]:
        raise ValueError(f"rollout_windows: {', '.join(map(str, unknown))} is no day; the days are {', '.join(DAYS)}.")
    begin, end = _clock(window, "from"), _clock(window, "to")
    today, yesterday = DAYS[here.weekday()], DAYS[here.weekday() - 1]
    at = here.time()
    if begin < end:
        return today in days and begin <= at < end
    return (today in days and at >= begin) or (yesterday in days and at < end)


def _clock(window: Mapping[str, Any], key: str) -> time:
    try:
        found = time.fromisoformat(window[key])
        if found.tzinfo:
            raise ValueError("it has a zone of its own")
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"rollout_windows: {dict(window)} needs {key!r} as a time of day in quotes, such as '09:00', in the zone of rollout_timezone."
        ) from None
    return found
