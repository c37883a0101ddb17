# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: who deployed what, when, why, and what came of it. Append-only JSON lines on the ops host, ``/var/lib/tossable/ledger/ledger.jsonl``.

Asked as ``ledger <app> <json>``. What is appended has been synced when the answer comes. `ledger_runs` reads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import ledger_runs, system
from .errors import HostError
from .ledger_runs import Record

FOLDER = "/var/lib/tossable/ledger"
#: Seconds that an operation waits for another one, which takes milliseconds.
WAIT_SECONDS = 20.0
#: A record that is written for the first time can only be there already if it was written a moment ago: so many bytes are searched for it.
RECENT_BYTES = 4 * 2**20
_BLOCK = 2**20
#: Runs that are named where another one was asked for.
KNOWN_RUNS = 20


class Appended(NamedTuple):
    """How many records were written, how many were there before, and the first characters of what a crash had left at the end."""

    written: int
    known: int
    torn: list[str]


def append(folder: str, records: Sequence[Record], whole: bool = False) -> Appended:
    """Write the records behind what is there, all or none, and sync them.

    What a crash has left behind the last whole record is moved into ``ledger.torn`` first. A record that is there already is not written again;
    with ``whole`` it is looked for in the whole ledger, else near its end. Raises OSError, and HostError where another writer does not end.
    """
    os.makedirs(folder, mode=0o755, exist_ok=True)
    with system.host_lock(f"{folder}/ledger.lock", WAIT_SECONDS):
        path = f"{folder}/ledger.jsonl"
        is_new = not os.path.exists(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if is_new:
                os.fchmod(descriptor, 0o644)
                system.sync_folder(folder)
            end, torn = _repair(folder, descriptor)
            missing = _missing(descriptor, end, records, end if whole else min(end, RECENT_BYTES))
            if missing:
                missing = _with_flags(descriptor, end, missing)
                _write(descriptor, b"".join(encode(record) for record in missing), end)
        finally:
            os.close(descriptor)
    return Appended(len(missing), len(records) - len(missing), torn)


def encode(record: Record) -> bytes:
    """The record's line."""
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def name(record: Record) -> tuple[str, ...]:
    """What two writings of one record have in common: of a run there is one start and one end, of notes as many as there are moments."""
    one = (record["run"], record["event"])
    return (*one, record["kind"], record["at"]) if record["event"] == "noted" else one


def _write(descriptor: int, data: bytes, end: int) -> None:
    """Write at ``end``, or leave nothing behind it: half a record would only have to be moved away again."""
    try:
        system.write_all(descriptor, data, end)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise


def _repair(folder: str, descriptor: int) -> tuple[int, list[str]]:
    """Move what stands behind the last whole record into ``ledger.torn``; returns where that record ends, and what was moved."""
    size = os.fstat(descriptor).st_size
    end = _whole_end(descriptor, size)
    if end == size:
        return end, []
    torn = os.pread(descriptor, size - end, end)
    # Kept before it is cut off: a crash between the two leaves it twice, never nowhere.
    with open(os.open(f"{folder}/ledger.torn", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as file:
        file.write(torn if torn.endswith(b"\n") else torn + b"\n")
        file.flush()
        os.fsync(file.fileno())
    system.sync_folder(folder)
    os.ftruncate(descriptor, end)
    os.fsync(descriptor)
    return end, [line[:100].decode(errors="replace") for line in torn.splitlines() if line.strip()] or ["(empty)"]


def _whole_end(descriptor: int, size: int) -> int:
    """Where the last line ends that is a record, with its newline."""
    end = system.line_start(descriptor, size, _BLOCK)
    while end > 0:
        start = system.line_start(descriptor, end - 1, _BLOCK)
        if ledger_runs.parse_line(os.pread(descriptor, end - start, start)) is not None:
            return end
        end = start
    return 0


def _missing(descriptor: int, end: int, records: Sequence[Record], depth: int) -> list[Record]:
    """The records that are not among the last ``depth`` bytes before ``end``, each once."""
    wanted = {name(record): record for record in records}
    ids = [json.dumps(record["run"], ensure_ascii=False).encode() for record in records]
    start = system.line_start(descriptor, end - depth, _BLOCK) if depth < end else 0
    while start < end and wanted:
        stop = end if end - start <= _BLOCK else system.line_start(descriptor, start + _BLOCK, _BLOCK)
        if stop <= start:
            stop = _line_end(descriptor, start, end)
        block = os.pread(descriptor, stop - start, start)
        if any(run in block for run in ids):
            found, _others = ledger_runs.parse(block)
            for record in found:
                wanted.pop(name(record), None)
        start = stop
    return list(wanted.values())


def _with_flags(descriptor: int, end: int, records: Sequence[Record]) -> list[Record]:
    """The records, ends of runs with the flags that were switched meanwhile: their notes are near the end of the ledger, or among the records."""
    if not any(record["event"] == "ended" for record in records):
        return list(records)
    depth = min(end, _BLOCK)
    lines = os.pread(descriptor, depth, end - depth).split(b"\n")
    noted = [record for line in lines if b'"flag"' in line and (record := ledger_runs.parse_line(line)) is not None]
    return [ledger_runs.with_flags(record, [*noted, *records]) if record["event"] == "ended" else record for record in records]


def _line_end(descriptor: int, start: int, end: int) -> int:
    """Where the line ends that begins at ``start``, longer than a block."""
    while start < end:
        newline = os.pread(descriptor, _BLOCK, start).find(b"\n")
        if newline >= 0:
            return start + newline + 1
        start += _BLOCK
    return end


def perform(_app: str, given: dict[str, Any], folder: str = FOLDER) -> dict[str, Any]:
    """Do one ``operation``.

    ``append`` writes ``records`` (``again`` where some of them may have been written before) and returns ``written``, ``known`` and ``torn``.
    ``show`` returns the ``runs`` that the filters of ``wanted`` fit (see `ledger_runs.select`), without their records where ``brief`` is
    true (``recent``: of those near its end only); ``more``, whether it holds others; ``known``, the people, applications and runs that were
    seen; and ``unreadable``, how many lines are no records.
    """
    try:
        if given["operation"] == "append":
            done = append(folder, given["records"], bool(given.get("again")))
            return {"changed": done.written > 0, **done._asdict()}
        if given["operation"] == "show":
            return _show(given, folder)
    except OSError as error:
        raise HostError(f"The ledger {folder}/ledger.jsonl cannot be read or written: {error.strerror or error}.") from None
    raise HostError(f"The ledger knows no operation {given['operation']!r}, only append and show.")


def _show(given: dict[str, Any], folder: str) -> dict[str, Any]:
    path, wanted = f"{folder}/ledger.jsonl", given.get("wanted") or {}
    records, unreadable = ledger_runs.read(path, RECENT_BYTES if given.get("recent") else None)
    every = ledger_runs.runs(records, _live(ledger_runs.unended(records), given))
    found = ledger_runs.select(every, wanted)
    shown = [ledger_runs.brief(run) for run in found] if given.get("brief") else found
    people = {str(one) for run in every for one in (run["by"], run["on_behalf_of"]) if one}
    known = {"by": sorted(people), "app": sorted({run["application"] for run in every}), "run": [run["run"] for run in every[-KNOWN_RUNS:]]}
    more = len(found) < len(every) or (bool(given.get("recent")) and os.path.exists(path) and os.path.getsize(path) > RECENT_BYTES)
    return {"changed": False, "runs": shown, "more": more, "known": known, "unreadable": unreadable}


def _live(open_ones: Sequence[Record], given: dict[str, Any]) -> set[str] | None:
    """Which of the runs without an end have their lock; None where the locks are kept where this host cannot look."""
    if not given.get("locks_here"):
        return None
    from . import lease_file

    live = set()
    for record in open_ones:
        place = {"environment": record["environment"], "operation": "show", "database": given.get("database")}
        try:
            answer = lease_file.perform(record["application"], place)
        except HostError:
            return None
        if answer["lease"] and not answer["said"] and answer["lease"]["owner"]["run"] == record["run"]:
            live.add(record["run"])
    return live
