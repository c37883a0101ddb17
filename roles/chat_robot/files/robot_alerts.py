# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the robot tells by itself, once each: a run that was interrupted, a flag past its end, what is wrong with the fleet. Pure but `load`
and `keep`.

An *alert* has a name, which says what it is about, and a line. Those that were told are remembered by their names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import robot_flags as flags
import robot_words as words

#: Lines at once; a channel bears no more.
MOST = 5
#: Begins the names of what is wrong with the fleet, which ends by itself some time.
FLEET = "fleet: "


class Looks:
    """What looks at the fleet found: something new counts when the next look finds it too, because a run or a switch may have been half done."""

    def __init__(self) -> None:
        #: What is wrong: name -> line; None until that is known.
        self.standing: dict[str, str] | None = None
        self._suspected: dict[str, str] = {}

    def see(self, found: Mapping[str, str]) -> bool:
        """Take in what a look found (name -> line, as `playbooks/alerts.yml` keeps them); returns whether the next one is wanted soon."""
        known = {**(self.standing or {}), **self._suspected}
        certain = {name: line for name, line in found.items() if name in known}
        again = len(certain) < len(found)
        if self.standing is not None or not again:
            self.standing = certain
        self._suspected = dict(found)
        return again

    def fail(self, why: str) -> bool:
        """Take in that a look was not possible: that is wrong, and all else stands as it did. Returns as above."""
        return self.see({**(self.standing or {}), "the look at the fleet": f"the fleet cannot be looked at: {why}"})

    def alerts(self, told: Collection[str]) -> dict[str, str]:
        """As alerts. While nothing is known, as after a start, those that were told are taken to stand."""
        if self.standing is None:
            return {name: "" for name in told if name.startswith(FLEET)}
        return {FLEET + name: words.clean(f"alert: {line}") for name, line in self.standing.items()}

    def answer(self) -> list[str]:
        """What somebody is told who asks."""
        if self.standing is None:
            return ["I have not looked at the fleet yet."]
        return bounded(list(self.standing.values())) or ["Nothing is wrong with the fleet."]


def found(runs: Sequence[Mapping[str, Any]], state: Mapping[str, Any], published: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """The alerts that there are now: name -> line. ``runs`` are of `robot_words.runs`, ``state`` and ``published`` of `robot_flags.read`."""
    alerts = {f"run {run['run']}": words.clean(f"alert: {words.told(run, now)}") for run in runs if run["outcome"] == "interrupted"}
    overrides, definitions = _mapping(state.get("overrides")), _mapping(published.get("flags"))
    for name, override in sorted(overrides.items()):
        until = words.moment(str(_mapping(override).get("until") or ""))
        if until and until <= now:
            line = flags.switched(name, override, name in definitions, now)
            alerts[f"flag {name} {override['until']}"] = words.clean(f"alert: flag {line}")
    return alerts


def unended(runs: Sequence[Mapping[str, Any]], lock_now: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """The runs without an end as they stand now, which only the lock and the clock change while nothing is written into the ledger."""
    open_ones = [dict(run) for run in runs if run["outcome"] in ("running", "interrupted")]
    return [run if words.may_run(run["run"], lock_now, now) else {**run, "outcome": "interrupted"} for run in open_ones]


def untold(alerts: Mapping[str, str], told: Collection[str] | None) -> list[str]:
    """The lines of those that nobody was told, and of those that are over.

    Where it is not known yet what was told, of what is wrong with the fleet only: whoever puts a robot up wants no history.
    """
    over = [f"over: {name.removeprefix(FLEET)}" for name in told or () if name.startswith(FLEET) and name not in alerts]
    return bounded([line for name, line in alerts.items() if name not in (told or ()) and (told is not None or name.startswith(FLEET))] + over)


def bounded(lines: list[str]) -> list[str]:
    """As many lines as a channel bears."""
    return lines if len(lines) <= MOST else [*lines[: MOST - 1], f"alert: and {len(lines) - MOST + 1} more, see status.yml and flags.yml"]


def load(path: Path) -> list[str] | None:
    """The names of those that were told, None where that is not known."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def keep(path: Path, alerts: Mapping[str, str]) -> None:
    """Remember that these were told, in one step; what is no alert any more is forgotten. Raises OSError."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(sorted(alerts)) + "\n", encoding="utf-8")
    beside.replace(path)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
