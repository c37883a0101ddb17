# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a gate measured, as two lines on a chart: the new release and the old one, over the same seconds. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .ledger import items, mapping_of, moment, number, text

#: Points of one chart; where there are more, neighbours are put together.
MOST_POINTS: Final = 120


class Side(NamedTuple):
    """What was counted on one side between two readings; `slow` is the 95th percentile in ms, None where that is not known."""

    requests: float = 0
    errors: float = 0
    slow: float | None = None

    def plus(self, other: Side) -> Side:
        """Both together; the slower one tells how slow."""
        known = [value for value in (self.slow, other.slow) if value is not None]
        return Side(self.requests + other.requests, self.errors + other.errors, max(known, default=None))

    @property
    def error_share(self) -> float | None:
        """Errors of 100 requests, None without requests."""
        return 100 * min(1.0, self.errors / self.requests) if self.requests else None


class Look(NamedTuple):
    """Both sides since the reading before; taken at `at`."""

    at: float
    new: Side
    old: Side


def looks(readings: object, most: int = MOST_POINTS) -> list[Look]:
    """A gate's readings, put together so that there are not too many for a chart."""
    found = ((moment(reading.get("at")), side(reading.get("new")), side(reading.get("old"))) for reading in items(readings))
    return fewer([Look(at, new, old) for at, new, old in found if at is not None], most)


def side(value: object) -> Side:
    """One side of a reading."""
    counted = mapping_of(value)
    return Side(number(counted.get("requests")) or 0.0, number(counted.get("errors")) or 0.0, number(counted.get("p95_ms")))


def fewer(found: list[Look], most: int = MOST_POINTS) -> list[Look]:
    """At most `most` looks, by adding neighbours together."""
    size = -(-len(found) // most) if found else 1
    together = []
    for begin in range(0, len(found), size):
        new, old = Side(), Side()
        part = found[begin : begin + size]
        for look in part:
            new, old = new.plus(look.new), old.plus(look.old)
        together.append(Look(part[-1].at, new, old))
    return together


def verdict(gate: Mapping[str, Any]) -> tuple[str, str]:
    """The gate's word and the line that says why; both empty where there was no gate."""
    return text(gate, "verdict"), text(gate, "line")
