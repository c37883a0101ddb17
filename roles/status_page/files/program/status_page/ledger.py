# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the ledger says of each run, read bit by bit. Pure functions.

The ledger is JSON lines and only grows (docs/ledger.schema.json describes a line). Of each run this keeps what lists and figures need, and where
its lines are, so that a page about one run is drawn without reading the others, and a record that was added without reading those before.

Whoever may write to the ledger is trusted with deployments, not with the shape of every line: what has another type than expected is
taken for missing, and a line that is no record is counted and left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

#: Moments outside of these years are no moments of a deployment, and would break arithmetic with them.
FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC).timestamp(), datetime(2200, 1, 1, tzinfo=UTC).timestamp()
#: Commits of one deployment that are kept for the lead time.
MOST_COMMITS: Final = 500
#: Notes that are kept; the page shows the newest of them.
MOST_NOTES: Final = 200

OUTCOMES: Final = ("deployed", "rolled_back", "failed")


class Placed(NamedTuple):
    """A record of the ledger, with where its line begins and how many bytes it has."""

    offset: int
    length: int
    record: dict[str, Any]


class Run(NamedTuple):
    """A run of the release role: what its `started` and its `ended` record say. Moments are Unix seconds, UTC.

    `outcome` is "" while there is no `ended`. `live` holds which release each host runs after it: (host, release), where the release is None
    when the run left that open. `lines` are the offsets and lengths of its records in the ledger. `commits` are (commit, moment).
    """

    run: str
    kind: str = ""
    environment: str = ""
    application: str = ""
    by: str = ""
    on_behalf_of: str = ""
    reason: str = ""
    started: float | None = None
    ended: float | None = None
    before: tuple[str, ...] = ()
    to: str = ""
    version: str = ""
    outcome: str = ""
    cause: str = ""
    seconds: float | None = None
    continues: str = ""
    commits: tuple[tuple[str, float], ...] = ()
    live: tuple[tuple[str, str | None], ...] = ()
    lines: tuple[tuple[int, int], ...] = ()

    @property
    def at(self) -> float:
        """When it began, as well as that is known."""
        if self.started is not None:
            return self.started
        return FIRST if self.ended is None else self.ended - (self.seconds or 0.0)

    @property
    def place(self) -> tuple[str, str]:
        """Environment and application."""
        return self.environment, self.application

    @property
    def well(self) -> bool:
        """Whether it did what was asked of it."""
        return self.outcome == "deployed" or (self.kind == "rollback" and self.outcome == "rolled_back")


class Note(NamedTuple):
    """A `noted` record: something that is no run, such as a refusal or a broken lock."""

    at: float
    kind: str
    environment: str
    application: str
    by: str
    reason: str
    run: str
    told: str
    behalf: str


class Known(NamedTuple):
    """All that was read so far: the runs in the order in which they began, the newest notes, and how many lines said nothing."""

    runs: tuple[Run, ...] = ()
    notes: tuple[Note, ...] = ()
    damaged: int = 0
    end: int = 0


def lines(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Whole lines with where they begin. What stands behind the last newline is still being written, or was torn: it is not a line yet."""
    begin = 0
    while (end := data.find(b"\n", begin)) >= 0:
        yield offset + begin, data[begin:end]
        begin = end + 1


def parse(line: bytes) -> dict[str, Any] | None:
    """A line as a record, None where it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read(known: Known, data: bytes) -> Known:
    """`known` and what the bytes that follow it in the ledger add; `end` is where the next bytes begin."""
    placed, damaged, end = [], known.damaged, known.end
    for offset, line in lines(data, known.end):
        end = offset + len(line) + 1
        if not line.strip():
            continue
        record = parse(line)
        if record is None or not understood(record):
            damaged += 1
        else:
            placed.append(Placed(offset, len(line), record))
    return add(known, placed)._replace(damaged=damaged, end=end)


def understood(record: Mapping[str, Any]) -> bool:
    """Whether a record says enough to be told: an event that is known, of a run, at a moment."""
    event, run = record.get("event"), text(record, "run")
    return moment(record.get("at")) is not None and (event == "noted" or (event in ("started", "ended") and run != ""))


def add(known: Known, placed: Iterable[Placed]) -> Known:
    """`known` with further records."""
    runs = {run.run: run for run in known.runs}
    notes = list(known.notes)
    for item in placed:
        record = item.record
        if record["event"] == "noted":
            notes.append(note(record))
            continue
        name = text(record, "run")
        run = runs.get(name, Run(name))
        run = run._replace(lines=(*run.lines, (item.offset, item.length)))
        runs[name] = begun(run, record) if record["event"] == "started" else over(run, record)
    notes.sort(key=lambda said: said.at)
    # A record that had to wait for the ops host stands later in the file than its time.
    return known._replace(runs=tuple(sorted(runs.values(), key=lambda run: run.at)), notes=tuple(notes[-MOST_NOTES:]))


def begun(run: Run, record: Mapping[str, Any]) -> Run:
    """The run with what its `started` record says."""
    commits = record.get("commits")
    return common(run, record)._replace(
        started=moment(record.get("at")),
        before=texts(record.get("from")),
        to=text(record, "to"),
        version=text(record, "version"),
        continues=text(record, "continues"),
        commits=tuple(dated(commits.get("list")))[:MOST_COMMITS] if isinstance(commits, dict) else (),
    )


def over(run: Run, record: Mapping[str, Any]) -> Run:
    """The run with what its `ended` record says."""
    outcome = text(record, "outcome")
    ended = common(run, record)
    return ended._replace(
        ended=moment(record.get("at")),
        before=texts(record.get("from")) or run.before,
        to=text(record, "to") or run.to,
        version=text(record, "version") or run.version,
        outcome=outcome if outcome in OUTCOMES else "failed",
        cause=text(record, "cause"),
        seconds=number(record.get("seconds")),
        live=tuple(left_behind(record.get("hosts"))),
    )


def common(run: Run, record: Mapping[str, Any]) -> Run:
    """What both records of a run say; the first that says it counts."""
    return run._replace(
        kind=run.kind or text(record, "kind"),
        environment=run.environment or text(record, "environment"),
        application=run.application or text(record, "application"),
        by=run.by or text(record, "by"),
        on_behalf_of=run.on_behalf_of or text(record, "on_behalf_of"),
        reason=run.reason or text(record, "reason"),
    )


def left_behind(hosts: object) -> Iterator[tuple[str, str | None]]:
    """Which release each host runs after a run, None where the run does not know; a host that was left out tells nothing new."""
    for name, host in hosts.items() if isinstance(hosts, dict) else ():
        if isinstance(host, dict) and text(host, "outcome") != "left_out":
            yield str(name), text(host, "to") or None


def note(record: Mapping[str, Any]) -> Note:
    """A `noted` record."""
    at = moment(record.get("at"))
    words = (text(record, name) for name in ("kind", "environment", "application", "by", "reason", "run", "text", "on_behalf_of"))
    return Note(FIRST if at is None else at, *words)


def dated(commits: object) -> Iterator[tuple[str, float]]:
    """Commits whose moment is known."""
    for commit in items(commits):
        at, name = moment(commit.get("at")), text(commit, "commit")
        if at is not None and name:
            yield name, at


def items(value: object) -> list[dict[str, Any]]:
    """The dictionaries of a list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def mapping_of(value: object) -> dict[str, Any]:
    """A dictionary; empty where it is none."""
    return value if isinstance(value, dict) else {}


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list, or one text alone."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def text(record: Mapping[str, Any], name: str) -> str:
    """A text of a record, "" where there is none. Half of a surrogate pair, which JSON may hold and UTF-8 may not, becomes a question mark."""
    value = record.get(name)
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """A finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def moment(value: object) -> float | None:
    """An ISO 8601 text, or Unix seconds, as Unix seconds; without an offset it is UTC."""
    found = number(value)
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            return None
        found = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return found if found is not None and FIRST <= found < LAST else None
