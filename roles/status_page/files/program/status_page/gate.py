# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a gate measured, as two lines on a chart: the new release and the old one, over the same seconds. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from .ledger import items, mapping_of, moment, number, text, texts

#: Points of one chart; where there are more, neighbours are put together.
MOST_POINTS: Final = 120
QUANTILE: Final = 0.95


class Side(NamedTuple):
    """What was counted on one side between two readings. `latency` is requests by the upper bound of their bucket in ms (inf for the last)."""

    requests: float = 0
    errors: float = 0
    latency: tuple[tuple[float, float], ...] = ()

    def plus(self, other: Side) -> Side:
        """Both together."""
        latency = dict(self.latency)
        for bound, count in other.latency:
            latency[bound] = latency.get(bound, 0) + count
        return Side(self.requests + other.requests, self.errors + other.errors, tuple(sorted(latency.items())))

    @property
    def error_share(self) -> float | None:
        """Errors of 100 requests, None without requests."""
        return 100 * min(1.0, self.errors / self.requests) if self.requests else None

    @property
    def slow(self) -> float | None:
        """The bound in ms below which 95 of 100 requests were answered; None without any, or where that is the last bucket, which has no bound."""
        total = sum(count for _bound, count in self.latency)
        reached = 0.0
        for bound, count in self.latency:
            reached += count
            if total and reached >= QUANTILE * total:
                return bound if bound != float("inf") else None
        return None


class Look(NamedTuple):
    """Both sides between two readings, the later of which was taken at `at`."""

    at: float
    new: Side
    old: Side


def looks(readings: object) -> list[Look]:
    """Each pair of a gate's readings as a look, put together so that there are not too many for a chart.

    A reading holds the counters of each server at each load balancer, and which hosts ran the new release. Counters that became smaller began anew.
    A server that changed sides between two readings counts from the later one on.
    """
    last: dict[tuple[str, str], tuple[dict[str, Any], object, bool]] = {}
    found = []
    for number_, reading in enumerate(items(readings)):
        at = moment(reading.get("at"))
        if at is None:
            continue
        new = texts(reading.get("new"))
        sides = {True: Side(), False: Side()}
        for balancer, seen in mapping_of(reading.get("balancers")).items():
            pid = mapping_of(seen).get("pid")
            for host, counters in mapping_of(mapping_of(seen).get("servers")).items():
                before, is_new, now = last.get((balancer, host)), host in new, mapping_of(counters)
                if before and before[2] == is_new:
                    sides[is_new] = sides[is_new].plus(grown(before[0] if before[1] == pid else {}, now))
                last[balancer, host] = (now, pid, is_new)
        if number_:
            found.append(Look(at, sides[True], sides[False]))
    return fewer(found)


def grown(before: Mapping[str, Any], now: Mapping[str, Any]) -> Side:
    """What was counted between two readings of a server; from 0 where a counter has become smaller."""
    first, second = counted(before), counted(now)
    latency = dict(first.latency)
    grew = [(bound, count - latency.get(bound, 0)) for bound, count in second.latency]
    if second.requests < first.requests or second.errors < first.errors or any(count < 0 for _bound, count in grew):
        return second
    return Side(second.requests - first.requests, second.errors - first.errors, tuple(grew))


def counted(counters: Mapping[str, Any]) -> Side:
    """The counters of a server since they began."""
    latency = []
    for bound, count in mapping_of(counters.get("latency")).items():
        try:
            latency.append((float(bound), number(count) or 0.0))
        except ValueError:
            continue
    return Side(number(counters.get("requests")) or 0.0, number(counters.get("errors")) or 0.0, tuple(sorted(latency)))


def fewer(found: Sequence[Look], most: int = MOST_POINTS) -> list[Look]:
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


def verdict(gate: object) -> tuple[str, str]:
    """The gate's word and the line that says why; both empty where there was no gate."""
    found = mapping_of(gate)
    return text(found, "verdict"), text(found, "line")
