# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of runs that the ledger does not say outright: how each stands, what is live where, how many there were. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from .ledger import Run
from .locks import Lock, Place

DAY: Final = 86400.0
#: Seconds for which a run without an end counts as under way where its lock is not known here.
PATIENCE: Final = 3600.0

RUNNING, INTERRUPTED = "running", "interrupted"
#: What each state is called on the page.
WORDS: Final = {
    "deployed": "deployed",
    "rolled_back": "rolled back",
    "failed": "failed",
    INTERRUPTED: "interrupted",
    RUNNING: "under way",
}


class Live(NamedTuple):
    """What a host runs: `release` is None where its last run left that open. `since` and `run` are of the run that said so last."""

    environment: str
    application: str
    host: str
    release: str | None
    since: float
    run: str


class Person(NamedTuple):
    """Who deployed, and how often."""

    account: str
    times: int


class Day(NamedTuple):
    """One UTC day's deployments by what became of them, and switches of feature flags. `at` is its begin, in Unix seconds."""

    at: float
    deployed: int
    not_well: int
    interrupted: int
    switches: int


def states(runs: Sequence[Run], now: float, patience: float = PATIENCE, locks: Mapping[Place, Lock] = MappingProxyType({})) -> dict[str, str]:
    """How each run stands: its outcome, or `running`, or `interrupted`; `runs` are in the order in which they began.

    A run without an end is interrupted once another run of the application has begun after it, or it does not have its lock any more. Where that is
    not known it is interrupted when it has been silent for `patience` seconds.
    """
    found: dict[str, str] = {}
    followed: set[tuple[str, str]] = set()
    for run in reversed(runs):
        if run.outcome:
            found[run.run] = run.outcome
        else:
            lock = locks.get(run.place)
            alive = now < run.at + patience if lock is None else lock.is_held_by(run.run, now)
            found[run.run] = RUNNING if run.place not in followed and alive else INTERRUPTED
        if run.started is not None:
            followed.add(run.place)
    return found


def continued(runs: Iterable[Run]) -> dict[str, str]:
    """Run -> the run that continued it."""
    return {run.continues: run.run for run in runs if run.continues}


def deployments(runs: Iterable[Run]) -> list[Run]:
    """Runs that were meant to bring something new."""
    return [run for run in runs if run.kind == "deploy"]


def live(runs: Iterable[Run]) -> list[Live]:
    """What each host runs of each application, by what was said of it last; sorted by environment, application and host."""
    found: dict[tuple[str, str, str], Live] = {}
    for run in sorted((run for run in runs if run.ended is not None), key=lambda run: run.ended or 0.0):
        for host, release in run.live:
            key = (*run.place, host)
            before = found.get(key)
            since = before.since if before and before.release == release else run.ended or 0.0
            found[key] = Live(*key, release, since, run.run)
    return [found[key] for key in sorted(found)]


def lately(runs: Iterable[Run], now: float, days: int = 7) -> list[Run]:
    """Deployments that went live in the last days."""
    return [run for run in deployments(runs) if run.well and run.ended is not None and now - days * DAY < run.ended <= now]


def people(runs: Iterable[Run]) -> list[Person]:
    """Who began the runs, most first, then by name. A robot that acts on somebody's behalf is not who did it."""
    counted = Counter(whose(run) for run in runs)
    return [Person(name, count) for name, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def whose(run: Run) -> str:
    """Whom a run is told of: on whose behalf it was, else who began it."""
    return run.on_behalf_of or run.by


def midnight(at: float) -> float:
    """The begin of a moment's UTC day."""
    return at - at % DAY


def a_day(runs: Iterable[Run], state: Mapping[str, str], now: float, days: int = 30, switches: Iterable[float] = ()) -> list[Day]:
    """Deployments of each of the last UTC days, today the last. Each counts on the day on which it began; those under way do not count yet.

    `switches` are the moments at which a feature flag was switched.
    """
    first = midnight(now) - (days - 1) * DAY
    counted: Counter[tuple[int, str]] = Counter()
    for run in deployments(runs):
        if first <= run.at <= now:
            counted[int((run.at - first) // DAY), state[run.run]] += 1
    switched = Counter(int((at - first) // DAY) for at in switches if first <= at <= now)
    return [
        Day(
            first + number * DAY,
            counted[number, "deployed"],
            counted[number, "rolled_back"] + counted[number, "failed"],
            counted[number, INTERRUPTED],
            switched[number],
        )
        for number in range(days)
    ]


def paged(count: int, size: int) -> list[range]:
    """Which of `count` runs, oldest first, stand on which page. Page 1 is the oldest, so that a page that is full never changes again."""
    return [range(begin, min(begin + size, count)) for begin in range(0, count, size)]
