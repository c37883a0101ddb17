# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the ledger: its lines, the runs that they add up to, and the ones that were asked for. Pure functions, Python's standard library only.

A *record* is one line of the ledger, see docs/ledger.schema.json. A *run* is what `runs` makes of the records with one id, a dict:

``run``, ``kind``, ``environment``, ``application``, ``by``, ``on_behalf_of``, ``reason``
    as in the record it began with.
``at``
    when it began (UTC, such as 2026-11-25T10:00:00.123Z).
``from``, ``to``, ``version``
    releases that the hosts left (a list), the one they were to go to, its version; empty where the record is a note.
``outcome``
    one of OUTCOMES.
``cause``
    why it failed or was taken back, in one line; for a note what was noted.
``seconds``
    how long it took, None while nobody knows.
``continued_by``
    the run that went on with its work, or None.
``started``, ``ended``, ``noted``
    the records themselves, None where there is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

Record = dict[str, Any]
Run = dict[str, Any]

SCHEMA = 1
EVENTS = ("started", "ended", "noted")
#: How a run ended, or has not: `interrupted` and `running` are worked out by `runs`, a note is `noted`.
OUTCOMES = ("deployed", "rolled_back", "failed", "interrupted", "running", "noted")
_SAME = ("run", "kind", "environment", "application", "by", "on_behalf_of", "reason")


def parse_line(line: bytes) -> Record | None:
    """The record that a line holds, None where it holds none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("event") not in EVENTS:
        return None
    return found if all(isinstance(found.get(name), str) for name in ("run", "at", "kind", "application", "environment")) else None


def parse(data: bytes) -> tuple[list[Record], int]:
    """The records of a whole ledger in the order they were written, and how many lines are none.

    What stands behind the last newline was torn off by a crash, or is being written: it is no line yet.
    """
    lines = [line for line in data.split(b"\n")[:-1] if line.strip()]
    found = [record for record in map(parse_line, lines) if record is not None]
    return found, len(lines) - len(found)


def read(path: str, depth: int | None = None) -> tuple[list[Record], int]:
    """As `parse`, from a file, or from the whole lines in its last ``depth`` bytes; nothing where there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0 if depth is None else max(size - depth, 0))
            if file.tell():
                file.readline()
            return parse(file.read())
    except FileNotFoundError:
        return [], 0


def with_flags(ended: Record, records: Iterable[Record]) -> Record:
    """The end of a run with the feature flags of its environment that were switched while it ran, in that order; ``records`` hold their notes."""
    try:
        end = datetime.fromisoformat(ended["at"])
        begin = end - timedelta(seconds=float(ended["seconds"]))
        within = [
            (at, record["flags"])
            for record in records
            if record["event"] == "noted" and record["kind"] == "flag" and record["environment"] == ended["environment"]
            if isinstance(record.get("flags"), list) and begin <= (at := datetime.fromisoformat(record["at"])) <= end
        ]
    except (KeyError, TypeError, ValueError):
        return ended
    return {**ended, "flags": [flag for _at, flags in sorted(within, key=lambda one: one[0]) for flag in flags]}


def unended(records: Iterable[Record]) -> list[Record]:
    """The last `started` of each application and environment, where it has no `ended`: the runs that may be under way."""
    last: dict[tuple[str, str], Record] = {}
    ended = set()
    for record in records:
        if record["event"] == "started":
            place = (record["environment"], record["application"])
            last[place] = max(last.get(place, record), record, key=lambda one: str(one["at"]))
        elif record["event"] == "ended":
            ended.add(record["run"])
    return [record for record in last.values() if record["run"] not in ended]


def runs(records: Sequence[Record], live: Collection[str] | None = None) -> list[Run]:
    """The runs and notes, oldest first.

    ``live`` holds the ids of the runs that have a lock now. A run without an end is `interrupted` once its lock is not live any more, or another
    run of the application has started since; where the locks are not known (None) only the second tells.
    """
    started: dict[str, Record] = {}
    ended: dict[str, Record] = {}
    notes: list[Record] = []
    for record in records:
        if record["event"] == "noted":
            notes.append(record)
        else:
            (started if record["event"] == "started" else ended).setdefault(record["run"], record)
    newest = {record["run"] for record in unended(records)}
    going_on = {run for run in newest if live is None or run in live}
    after = {record["continues"]: record["run"] for record in started.values() if record.get("continues")}
    found = [_run(started.get(run), ended.get(run), run in going_on, after.get(run)) for run in {**started, **ended}]
    return sorted([*found, *map(_note, notes)], key=lambda one: str(one["at"]))


def _run(started: Record | None, ended: Record | None, going_on: bool, continued_by: str | None) -> Run:
    first, last = started or ended or {}, ended or started or {}
    return {
        **{name: first.get(name) for name in _SAME},
        "at": started["at"] if started else _before(last["at"], last.get("seconds") or 0),
        "from": list(first.get("from") or ()),
        "to": first.get("to") or "",
        "version": first.get("version") or "",
        "outcome": ended["outcome"] if ended else "running" if going_on else "interrupted",
        "cause": ended["cause"] if ended else "",
        "seconds": ended["seconds"] if ended else None,
        "continued_by": continued_by,
        "started": started,
        "ended": ended,
        "noted": None,
    }


def _note(record: Record) -> Run:
    return {
        **{name: record.get(name) for name in _SAME},
        "at": record["at"],
        "from": [],
        "to": "",
        "version": "",
        "outcome": "noted",
        "cause": record.get("text") or "",
        "seconds": None,
        "continued_by": None,
        "started": None,
        "ended": None,
        "noted": record,
    }


def _before(at: str, seconds: float) -> str:
    """The moment ``seconds`` before ``at``."""
    moment = datetime.fromisoformat(at) - timedelta(seconds=seconds)
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03}Z"


def select(found: Iterable[Run], wanted: Mapping[str, Any]) -> list[Run]:
    """The runs that all of ``wanted`` fit, where it says something.

    ``since`` is a moment as in ``at``; ``by`` a whole name, or what stands before its ``@``, of whoever ordered the run or on whose behalf;
    ``app``, ``outcome`` and ``run`` are compared as they are, and ``last`` is the number of the newest ones that are kept.
    """
    kept = [run for run in found if _fits(run, wanted)]
    return kept[-wanted["last"] :] if wanted.get("last") else kept


def _fits(run: Run, wanted: Mapping[str, Any]) -> bool:
    people = {str(name) for name in (run["by"], run["on_behalf_of"]) if name}
    return (
        (not wanted.get("since") or str(run["at"]) >= wanted["since"])
        and (not wanted.get("by") or wanted["by"] in people | {name.partition("@")[0] for name in people})
        and all(not wanted.get(word) or run[name] == wanted[word] for word, name in (("app", "application"), ("outcome", "outcome"), ("run", "run")))
    )


def brief(run: Run) -> Run:
    """The run without its records, for a table."""
    return {name: value for name, value in run.items() if name not in ("started", "ended", "noted")}
