# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The four figures of DORA's research (dora.dev, "DORA's software delivery metrics"), as exactly defined here. Pure functions.

Every figure is about deployments (runs of kind `deploy`) of one application in one environment, or of several together.

- Deployment frequency: deployments that ended well, a day.
- Lead time for changes: from a commit's time to the end of the first deployment that brought it and ended well; the median over commits.
- Change failure rate: of the deployments that ended, the share that failed, was rolled back, or was taken back later by a rollback.
- Time to restore: from the start of such a deployment to the end of the run after which the application was well again, which is the deployment
  itself where it was rolled back, else the next deployment or rollback that ended well; the median over those that are over.

A deployment that was interrupted has not ended, so it is in none of them. A deployment counts in the window in which it ended, a commit in the one
in which it went live, a restoration in the one in which it was over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

from .ledger import Run
from .telling import DAY, deployments, midnight

#: Days over which the figures are told.
WINDOW_DAYS: Final = 28
#: Weeks of the trend, the current one included.
WEEKS: Final = 12


class Failure(NamedTuple):
    """A deployment that needed to be put right: when it began, when it had ended, and when the application was well again (None: not yet)."""

    run: str
    began: float
    ended: float
    restored: float | None


class Lead(NamedTuple):
    """A commit that went live: when, and after how many seconds."""

    at: float
    seconds: float


class Figures(NamedTuple):
    """The four figures of a window, and what they were made of; None where there was nothing to make one of."""

    days: float
    ended: int
    deployed: int
    failed: int
    lead_times: int
    restored: int
    open: int
    frequency: float
    lead_time: float | None
    failure_rate: float | None
    time_to_restore: float | None


class History(NamedTuple):
    """What figures are made of."""

    runs: tuple[Run, ...]
    deployments: tuple[Run, ...]
    failures: tuple[Failure, ...]
    leads: tuple[Lead, ...]


def history(runs: Iterable[Run]) -> History:
    """What figures are made of, of all applications and environments in `runs`, each looked at by itself."""
    places: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.ended is not None and run.kind in ("deploy", "rollback"):
            places.setdefault(run.place, []).append(run)
    ended: list[Run] = []
    failed: list[Failure] = []
    took: list[Lead] = []
    for found in places.values():
        found.sort(key=lambda run: run.ended or 0.0)
        ended += deployments(found)
        failed += failures(found)
        took += leads(found)
    return History(tuple(itertools.chain.from_iterable(places.values())), tuple(ended), tuple(failed), tuple(took))


def failures(runs: Sequence[Run]) -> list[Failure]:
    """Failed changes of one application in one environment; `runs` have ended, and are in the order in which they did."""
    found: list[Failure] = []
    unsettled: list[int] = []
    standing: list[Run] = []
    for run in runs:
        ended = run.ended or run.at
        if run.kind == "deploy":
            if run.outcome == "rolled_back":
                found.append(Failure(run.run, run.at, ended, ended))
            elif run.outcome == "failed":
                unsettled.append(len(found))
                found.append(Failure(run.run, run.at, ended, None))
            else:
                standing.append(run)
        else:
            bad = next((deployed for deployed in reversed(standing) if deployed.to in run.before), None)
            if bad is not None:
                standing.remove(bad)
                unsettled.append(len(found))
                found.append(Failure(bad.run, bad.at, bad.ended or bad.at, None))
        if run.well:
            for place in unsettled:
                found[place] = found[place]._replace(restored=ended)
            unsettled.clear()
    return found


def leads(runs: Sequence[Run]) -> list[Lead]:
    """Each commit that went live, the first time that it did; `runs` as for `failures`."""
    seen: set[str] = set()
    found = []
    for run in runs:
        if run.kind != "deploy" or not run.well or run.ended is None:
            continue
        for commit, at in run.commits:
            if commit not in seen:
                seen.add(commit)
                found.append(Lead(run.ended, max(0.0, run.ended - at)))
    return found


def figures(past: History, begin: float, end: float) -> Figures:
    """The four figures of the window after `begin`, up to and with `end`."""

    def within(at: float | None) -> bool:
        return at is not None and begin < at <= end

    ended = [run for run in past.deployments if within(run.ended)]
    deployed = sum(run.well for run in ended)
    failed = sum(within(failure.ended) for failure in past.failures)
    took = [lead.seconds for lead in past.leads if within(lead.at)]
    restored = [failure.restored - failure.began for failure in past.failures if failure.restored is not None and within(failure.restored)]
    days = (end - begin) / DAY
    return Figures(
        days=days,
        ended=len(ended),
        deployed=deployed,
        failed=failed,
        lead_times=len(took),
        restored=len(restored),
        open=sum(failure.ended <= end and (failure.restored is None or failure.restored > end) for failure in past.failures),
        frequency=deployed / days,
        lead_time=median(took) if took else None,
        failure_rate=failed / len(ended) if ended else None,
        time_to_restore=max(0.0, median(restored)) if restored else None,
    )


def weeks(now: float, count: int = WEEKS) -> list[tuple[float, float]]:
    """Begin and end of the last weeks, Monday to Monday in UTC, the current one last and up to now.

    A window leaves its begin out and its end in, so these begin and end a hair before midnight.
    """
    days_since_monday = (int(midnight(now) // DAY) + 3) % 7  # 1 January 1970 was a Thursday
    monday = midnight(now) - days_since_monday * DAY
    begins = [monday - 7 * DAY * number for number in reversed(range(count))]
    return [(begin - 1e-3, min(begin + 7 * DAY - 1e-3, now)) for begin in begins]
