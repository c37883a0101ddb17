# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands on each page, as plain data for its template. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any, Final, NamedTuple

from . import dora, flags, gate, telling, words
from .ledger import Known, Note, Run, items, mapping_of, moment, number, text, texts

#: Runs on a page of the list, and on the front page.
PAGE_SIZE: Final = 50
FRONT_SIZE: Final = 15
#: What is shown of one run at most, so that its page stays small; all of it is in its record.
MOST_HOSTS, MOST_COMMITS, MOST_STEPS = 100, 60, 12
#: Of its waves: how many, readings of the gate in all of them and in one at least, and names of hosts in each.
MOST_WAVES, MOST_READINGS, LEAST_READINGS, MOST_NAMES = 20, 160, 8, 12
FRONT_LIVE: Final = 100
FRONT_NOTES: Final = 8
MOST_FLAGS, MOST_SWITCHES = 300, 50
REASON_WIDTH: Final = 140


class Row(NamedTuple):
    """A run in a list. `state` is one of telling.WORDS, `good` whether that is what was wanted."""

    run: str
    page: str
    at: float
    who: str
    behalf: str
    kind: str
    environment: str
    application: str
    before: str
    to: str
    took: float | None
    state: str
    good: bool
    why: str
    more: str


def row(run: Run, state: str, later: Mapping[str, str]) -> Row:
    """A run as a row. `later` is run -> the run that continued it."""
    more = ""
    if state == telling.INTERRUPTED:
        more = f"continued by {later[run.run]}" if run.run in later else "no end was recorded"
    elif not run.well:
        more = run.cause
    return Row(
        run=run.run,
        page=words.page_name(run.run),
        at=run.at,
        who=run.by,
        behalf=run.on_behalf_of,
        kind=run.kind or "run",
        environment=run.environment,
        application=run.application,
        before=releases(run.before),
        to=run.to,
        took=took(run),
        state=state,
        good=run.well,
        why=cut(run.reason),
        more=cut(more),
    )


def took(run: Run) -> float | None:
    """How long a run took, None where it has no end."""
    if run.seconds is not None:
        return run.seconds
    return max(0.0, run.ended - run.started) if run.ended is not None and run.started is not None else None


def cut(words_: str, width: int = REASON_WIDTH) -> str:
    """A text that fits a row."""
    return words_ if len(words_) <= width else f"{words_[: width - 1]}…"


def releases(names: Sequence[str]) -> str:
    """What hosts ran before, in few words."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def front(known: Known, rows: Sequence[Row], past: dora.History, state: Mapping[str, str], now: float) -> dict[str, Any]:
    """The front page. `rows` are all runs, oldest first."""
    week = telling.lately(known.runs, now)
    by_run = {found.run: found for found in rows}
    changes = [run for run in known.runs if run.kind in ("deploy", "rollback")]
    last = max((run for run in changes if state[run.run] != telling.RUNNING), key=lambda run: run.at, default=None)
    begin = now - dora.WINDOW_DAYS * telling.DAY
    trend = [(start, dora.figures(past, start, end)) for start, end in dora.weeks(now)]
    days = telling.a_day(known.runs, state, now, switches=[note.at for note in flags.switches(known.notes)])
    places = sorted({run.place for run in changes})
    return {
        "now": now,
        "last": by_run[last.run] if last else None,
        "running": [found for found in rows if found.state == telling.RUNNING],
        "week": len(week),
        "week_people": telling.people(week),
        "live": live(telling.live(known.runs)),
        "days": days,
        "days_chart": days_chart(days),
        "figures": dora.figures(past, begin, now),
        "trend": trend,
        "trend_charts": trend_charts(trend),
        "places": [(place, dora.figures(of_place(past, place), begin, now)) for place in places[:20]] if len(places) > 1 else [],
        "rows": list(reversed(rows[-FRONT_SIZE:])),
        "count": len(rows),
        "notes": notes([note for note in known.notes if note.kind != "flag"]),
        "damaged": known.damaged,
    }


def of_place(past: dora.History, place: tuple[str, str]) -> dora.History:
    """The part of a history that is of one application in one environment."""
    return dora.history(run for run in past.runs if run.place == place)


def notes(found: Sequence[Note]) -> list[Note]:
    """The newest notes, the newest first."""
    return list(reversed(found[-FRONT_NOTES:]))


def flags_told(live: flags.Flags, noted: Sequence[Note]) -> dict[str, Any]:
    """The feature flags, those first that somebody should look at, and the switches of late."""
    made = flags.switches(noted)
    return {
        "flags": live,
        "remarkable": [found for found in live.all if found.remarkable][:MOST_FLAGS],
        "flags_listed": sorted(live.all, key=lambda found: (not found.remarkable, found.name))[:MOST_FLAGS],
        "flags_rest": max(0, len(live.all) - MOST_FLAGS),
        "switches": made[:MOST_SWITCHES],
        "front_switches": made[:FRONT_NOTES],
    }


class Live(NamedTuple):
    """What an application runs in an environment: hosts by release; `mixed` where they do not all run the same, `rest` are hosts left out."""

    environment: str
    application: str
    mixed: bool
    hosts: list[telling.Live]
    rest: int


def live(found: Sequence[telling.Live]) -> list[Live]:
    """What is live where, by environment and application."""
    blocks = []
    for (environment, application), group in groupby(found, key=lambda item: (item.environment, item.application)):
        hosts = list(group)
        blocks.append(Live(environment, application, len({item.release for item in hosts}) > 1, hosts[:FRONT_LIVE], max(0, len(hosts) - FRONT_LIVE)))
    return blocks


def days_chart(days: Sequence[telling.Day]) -> dict[str, Any]:
    """Deployments a day as stacked bars, with a mark above each day on which a flag was switched."""
    return {
        "kind": "bars",
        "x": [int(day.at) for day in days],
        "series": [
            {"label": "deployed", "colour": "good", "values": [day.deployed for day in days]},
            {"label": "rolled back or failed", "colour": "bad", "values": [day.not_well for day in days]},
            {"label": "interrupted", "colour": "cut", "values": [day.interrupted for day in days]},
        ],
        "unit": "",
        "whole": True,
        "marks": [int(day.at) for day in days if day.switches],
    }


def trend_charts(trend: Sequence[tuple[float, dora.Figures]]) -> dict[str, dict[str, Any]]:
    """The four figures by week, each as a line."""

    def line(values: Sequence[float | None], unit: str) -> dict[str, Any]:
        rounded = [None if value is None else round(value, 3) for value in values]
        return {
            "kind": "lines",
            "x": [round(start) for start, _figures in trend],
            "series": [{"label": "", "colour": "accent", "values": rounded}],
            "unit": unit,
        }

    figures = [found for _start, found in trend]
    return {
        "frequency": line([found.frequency for found in figures], "a day"),
        "lead_time": line([None if found.lead_time is None else found.lead_time / 3600 for found in figures], "h"),
        "failure_rate": line([None if found.failure_rate is None else 100 * found.failure_rate for found in figures], "%"),
        "time_to_restore": line([None if found.time_to_restore is None else found.time_to_restore / 60 for found in figures], "min"),
    }


class Wave(NamedTuple):
    """A wave of a run: `verdict` and `line` are the gate's, `errors` and `slow` its charts (None where it measured nothing)."""

    number: int
    hosts: tuple[str, ...]
    outcome: str
    seconds: float | None
    verdict: str
    line: str
    looks: list[gate.Look]
    errors: dict[str, Any] | None
    slow: dict[str, Any] | None


class Host(NamedTuple):
    """A host of a run, with the seconds of each step."""

    name: str
    outcome: str
    before: str
    to: str
    seconds: float | None
    steps: tuple[tuple[str, float], ...]


class Step(NamedTuple):
    """A step of the hosts' transactions over all hosts of a run: on how many there was one, and where it took longest."""

    name: str
    hosts: int
    median: float
    longest: float
    slowest: str


class Report(NamedTuple):
    """A run in figures. `changed` and `failed` are hosts; `keeper` is the controller's account, which keeps the report of each task."""

    phases: tuple[tuple[str, float], ...]
    steps: list[Step]
    all: int
    changed: list[str]
    failed: list[str]
    keeper: str


def report(ended: Mapping[str, Any]) -> Report | None:
    """What the record of its end tells of a run as a whole, None where there is no end."""
    if not ended:
        return None
    hosts = [host(name, found) for name, found in mapping_of(ended.get("hosts")).items()]
    steps: dict[str, list[tuple[float, str]]] = {}
    for one in hosts:
        for name, seconds in one.steps:
            steps.setdefault(name, []).append((seconds, one.name))
    return Report(
        phases=seconds_of(ended.get("phases")),
        steps=[Step(name, len(took_), median(seconds for seconds, _host in took_), *max(took_)) for name, took_ in list(steps.items())[:MOST_STEPS]],
        all=len(hosts),
        changed=[one.name for one in hosts if one.outcome in ("deployed", "rolled_back")],
        failed=[one.name for one in hosts if one.outcome == "failed"],
        keeper=text(ended, "account"),
    )


def of_run(run: Run, state: str, later: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A run's own page, from its records in the ledger."""
    started: Mapping[str, Any] = next((record for record in records if record.get("event") == "started"), {})
    ended: Mapping[str, Any] = next((record for record in reversed(records) if record.get("event") == "ended"), {})
    planned = started.get("waves")
    waves, rest_waves = waves_of(items(ended.get("waves")) or [{"hosts": names} for names in (planned if isinstance(planned, list) else [])])
    hosts = [host(name, found) for name, found in mapping_of(ended.get("hosts")).items()]
    commits = mapping_of(started.get("commits"))
    listed = [commit for commit in items(commits.get("list")) if text(commit, "commit")]
    broken = mapping_of(started.get("lock_broken"))
    return {
        "row": row(run, state, later),
        "run": run,
        "cause": run.cause,
        "reason": run.reason,
        "later": later.get(run.run, ""),
        "later_page": words.page_name(later.get(run.run, "")),
        "continues_page": words.page_name(run.continues),
        "digest": text(started, "digest"),
        "plan": text(started, "plan"),
        "forced": text(started, "forced"),
        "broken": {name: text(broken, name) for name in ("by", "reason", "run")} if broken else None,
        "estimated": number(started.get("estimated_seconds")),
        "waves": waves,
        "rest_waves": rest_waves,
        "most_names": MOST_NAMES,
        "hosts": hosts[:MOST_HOSTS],
        "rest_hosts": max(0, len(hosts) - MOST_HOSTS),
        "report": report(ended),
        "flags": flags_of(ended.get("flags")),
        "commits": [
            {
                "commit": text(commit, "commit"),
                "author": text(commit, "author"),
                "at": moment(commit.get("at")),
                "subject": cut(text(commit, "subject")),
            }
            for commit in listed[:MOST_COMMITS]
        ],
        "rest_commits": max(0, len(listed) - MOST_COMMITS),
        "commit_range": (text(commits, "from"), text(commits, "to")),
    }


def waves_of(found: Sequence[Mapping[str, Any]]) -> tuple[list[Wave], int]:
    """The first waves of a run with the one that failed, and how many are left out; the more of them were measured, the fewer readings each has."""
    numbered = list(enumerate(found, 1))
    failed = [(number_, one) for number_, one in numbered[MOST_WAVES:] if text(one, "outcome") == "failed"][:1]
    shown = numbered[: MOST_WAVES - len(failed)] + failed
    measured = sum(1 for _number, one in shown if mapping_of(one.get("gate")).get("readings"))
    most = min(gate.MOST_POINTS, max(LEAST_READINGS, MOST_READINGS // max(1, measured)))
    return [wave(number_, one, most) for number_, one in shown], len(numbered) - len(shown)


def wave(number_: int, found: Mapping[str, Any], most: int = gate.MOST_POINTS) -> Wave:
    """A wave as its record says it; before a run has ended only its hosts are known."""
    measured = mapping_of(found.get("gate"))
    looks = gate.looks(measured.get("readings"), most)
    word, line = gate.verdict(measured)
    return Wave(number_, texts(found.get("hosts")), text(found, "outcome"), number(found.get("seconds")), word, line, looks, *gate_charts(looks))


def gate_charts(looks: Sequence[gate.Look]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Errors and latency of both sides, each None where neither side had any."""

    def chart(values: Sequence[tuple[float | None, float | None]], unit: str) -> dict[str, Any] | None:
        if all(new is None and old is None for new, old in values):
            return None
        rounded = [[None if value is None else round(value, 3) for value in side] for side in zip(*values, strict=True)]
        return {
            "kind": "lines",
            "seconds": True,
            "x": [round(look.at - looks[0].at, 1) for look in looks],
            "series": [
                {"label": "new release", "colour": "accent", "values": rounded[0]},
                {"label": "old release", "colour": "quiet", "values": rounded[1], "dash": True},
            ],
            "unit": unit,
        }

    errors = chart([(look.new.error_share, look.old.error_share) for look in looks], "%")
    return errors, chart([(look.new.slow, look.old.slow) for look in looks], "ms")


def host(name: str, found: object) -> Host:
    """A host as a run's record says it."""
    record = mapping_of(found)
    steps = seconds_of(record.get("steps"))[:MOST_STEPS]
    return Host(name, text(record, "outcome"), text(record, "from"), text(record, "to"), number(record.get("seconds")), steps)


def seconds_of(value: object) -> tuple[tuple[str, float], ...]:
    """Named seconds in the order in which they were written down."""
    named = ((name, number(seconds)) for name, seconds in mapping_of(value).items())
    return tuple((name, seconds) for name, seconds in named if seconds is not None)


def flags_of(value: object) -> list[str]:
    """Flags that a run changed, as texts whatever they are."""
    return [item if isinstance(item, str) else text(mapping_of(item), "flag") or str(item) for item in value][:20] if isinstance(value, list) else []


def footer(known: Known, now: float) -> dict[str, Any]:
    """What footer.json says: the last deployment that went live, of all and of each application."""

    def told(runs: Sequence[Run]) -> dict[str, Any]:
        good = [run for run in telling.deployments(runs) if run.well and run.ended is not None]
        last = max(good, key=lambda run: run.ended or 0.0, default=None)
        return {
            "application": last.application if last else None,
            "environment": last.environment if last else None,
            "version": last.version if last else None,
            "release": last.to if last else None,
            "at": words.iso(last.ended) if last and last.ended is not None else None,
            "by": telling.whose(last) if last else None,
            "run": last.run if last else None,
            "page": f"runs/{words.page_name(last.run)}.html" if last else None,
            "count7d": len(telling.lately(runs, now)),
        }

    places: dict[tuple[str, str], list[Run]] = {}
    for run in known.runs:
        places.setdefault(run.place, []).append(run)
    of_each = [told(runs) for _place, runs in sorted(places.items())]
    return {"schema": 1, **told(known.runs), "applications": [found for found in of_each if found["at"]]}
