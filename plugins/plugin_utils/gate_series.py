# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the counters of a host have grown between readings, each series by itself. Pure functions; standard library only.

A *series* is a counter that begins anew by itself: that of one process, say. Sums of them must not be compared: where one of five workers was
replaced the sum is smaller, and what the other four have counted in all their lives would pass for fresh. Each is named by its target
(Prometheus' label ``instance``, empty where there is none), a blank, and its other labels.

The rule in every doubt: never take a lifetime for what was counted between two readings, nor occasions without the events among them; the series
says nothing for this look, on neither part, and the next look begins where it last spoke, or where it speaks now. A doubt lasts one look and no
longer: what is silenced for ever would let anything pass.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

#: Events and total of each series, None where one of them has no such series; or just [events, total], of a host that has one series.
Figures = Mapping[str, Sequence[float | None]] | Sequence[float]
#: Of each series: events, total, and whether they are of the new release.
Series = Mapping[str, tuple[float | None, float | None, bool]]


class Known(NamedTuple):
    """What is known of a host after a reading: what each series said last, the targets that spoke in this reading, and the host's side then.

    ``gone`` is what events said last that have vanished although their process seems to live.
    """

    series: Series
    heard: frozenset[str]
    is_new: bool
    gone: Mapping[str, float]


def grown(known: Known | None, figures: Figures, is_new: bool) -> tuple[tuple[float, float], Known]:
    """Events and total that a host has counted since what is known of it, and what is known then.

    Events and total are matched series by series where their labels are the same. Where a series of events has no such total (one of them was
    summed, or they have other labels) it cannot be told whose occasions its events are among: all series of the host are then taken together, each
    difference its own, and in doubt of one all say nothing.
    """
    said = figures if isinstance(figures, Mapping) else {"": figures}
    now = {name: (events, total, is_new) for name, (events, total) in said.items()}
    before = known.series if known else {}
    heard = known.heard if known and known.is_new == is_new else frozenset()
    names = list(dict.fromkeys([*before, *now]))
    totals = {name for series in (before, now) for name in _part(series, 1)}
    matched = all(name in totals for series in (before, now) for name in _part(series, 0))
    gone = dict(known.gone) if known else {}
    events, total, after, left = 0.0, 0.0, dict[str, tuple[float | None, float | None, bool]](), dict[str, float]()
    for group in [[name] for name in names] if matched else [names]:
        more, there, vanished = _together(_only(before, group), _only(now, group), gone, heard, is_new)
        events, total = events + more[0], total + more[1]
        after.update(there)
        left.update(vanished)
    back = _part(now, 0)
    left |= {name: count for name, count in gone.items() if name not in back}
    return (events, total), Known(after, frozenset(map(_target, now)), is_new, left)


def _together(
    before: Series, now: Series, gone: Mapping[str, float], heard: Collection[str], is_new: bool
) -> tuple[tuple[float, float], Series, Mapping[str, float]]:
    """Events and total of series that belong together, what is to be known of them, and which events have vanished while their process lives.

    - **Began anew** (a series is smaller than before): it counts from 0, it alone.
    - **Vanished**: it contributes nothing. Where it is events, and no total has vanished or begun anew with them, they may be merely missing in this
      answer: nothing is counted in this look, and in none in which they are back with at least as many. With fewer they began anew.
    - **New**: it counts from 0 where its target spoke in the reading before, as one scrape brings all series of a target or none: it has been
      born since. Many counters of failures are born with the first failure, so that whoever waits for their next reading is blind to just these.
      Where the target was silent (or the host was on the other side) it may be old, and counts from its next reading.
    """
    nothing, none = (0.0, 0.0), dict[str, float]()
    events, total, events_before, total_before = _part(now, 0), _part(now, 1), _part(before, 0), _part(before, 1)
    if not total:
        return nothing, before, none
    alive = all(name in total and total[name] >= count for name, count in total_before.items())
    vanished = {name: count for name, count in events_before.items() if name not in events} if alive else none
    stayed = all(side == is_new for _events, _total, side in before.values())
    born_since = all(_target(name) in heard for name in now.keys() - before.keys())
    back = any(count >= gone.get(name, math.inf) for name, count in events.items())
    if vanished or back or not stayed or not born_since:
        return nothing, now, vanished
    more = _more(events_before, events), _more(total_before, total)
    # More events than occasions: they are not of the same time.
    return more if more[0] <= more[1] else nothing, now, none


def _more(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    return sum(count - before.get(name, 0.0) if count >= before.get(name, 0.0) else count for name, count in now.items())


def _part(series: Series, part: int) -> dict[str, float]:
    """The events (0) or totals (1) of those that have them."""
    return {name: float(count) for name, figures in series.items() if (count := figures[part]) is not None}


def _only(series: Series, names: Collection[str]) -> Series:
    return {name: series[name] for name in names if name in series}


def _target(name: str) -> str:
    return name.partition(" ")[0]
