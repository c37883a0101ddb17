# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's own record of its releases: append-only JSON lines, and what they add up to.

Every step of a transaction is written and synced before it is done, so that whoever comes next (the repair at boot, a second
run) knows how far it went. ``fold`` is pure: records in, state out.

Staging writes while a transaction does: whoever writes holds ``<path>.lock`` for as long, which stays where it is when the journal is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from . import room, system
from .errors import HostError

Record = dict[str, Any]

#: A journal longer than LONG records is cut to its last KEEP, before which one record says what the others added up to.
LONG, KEEP = 2000, 500
#: Steps in the order a transaction takes them; each is journalled before it is done.
STEPS = ("begin", "drain", "maint", "switch", "restart", "healthy", "ready")
#: Steps of the way back from a release that did not become healthy; this `ready` is that of the release before.
BACK_STEPS = ("revert", "ready")
#: Records that end a transaction: it holds; the release was bad and the previous one is back, or could not be put back; or it was
#: given up before anything was switched, which says nothing about the release. One that was cut short and taken back by whoever
#: found it is marked ``mended``: that says nothing about the release either. That it is bad is on record from ``revert`` on, the step
#: with which the way back begins.
ENDS = ("done", "reverted", "failed", "abandoned")


class Flight(NamedTuple):
    """A transaction that began and did not end: how far it came, and what it was about.

    ``configuration`` is the one that ``release`` was to run with, ``previous_configuration`` that of ``previous``; None where nobody knows.
    ``reverting`` tells that it was on its way back already: then its `ready` is that of ``previous``.
    """

    transaction: str
    step: str
    release: str
    previous: str | None
    configuration: str | None = None
    previous_configuration: str | None = None
    reverting: bool = False


class HostState(NamedTuple):
    """What the journal adds up to.

    ``history`` holds the good releases in the order they became live, the live one last: "previous" is the one before it.
    ``staged`` holds every release that was unpacked, in the order in which they were last staged or became live. ``bad`` holds those that
    failed or were rolled back, each with the record that says so (its ``at``, ``by``, ``run``, and ``error`` or ``reason``); one that later
    became live again is not among them.
    ``live_record`` is the record that made the live release live (its ``at``, ``by`` and ``run``). ``configurations`` tells with which
    configuration a release ran last, by the digests of `configuration`; releases from before configurations were kept are not in it.
    """

    history: tuple[str, ...]
    staged: tuple[str, ...]
    bad: dict[str, Record]
    flight: Flight | None
    live_record: Record | None
    configurations: Mapping[str, str] = MappingProxyType({})

    @property
    def live(self) -> str | None:
        """The release that should be running."""
        return self.history[-1] if self.history else None

    @property
    def previous(self) -> str | None:
        """The last good release before the live one: what a rollback returns to."""
        return self.history[-2] if len(self.history) > 1 else None

    @property
    def configuration(self) -> str | None:
        """The configuration that the live release should be running with, None where the journal does not know."""
        return self.configurations.get(self.live) if self.live else None


def fold(records: Iterable[Record]) -> HostState:
    """Add the records up, oldest first."""
    history: list[str] = []
    staged: list[str] = []
    bad: dict[str, Record] = {}
    flight: Flight | None = None
    live_record: Record | None = None
    configurations: dict[str, str] = {}
    for record in records:
        if record["kind"] == "sum":
            history, staged, bad = list(record["history"]), list(record["staged"]), dict(record["bad"])
            flight = Flight(*record["flight"]) if record["flight"] else None
            live_record = record["live_record"]
            configurations = dict(record.get("configurations", {}))
            continue
        kind, step, release = record["kind"], record["step"], record["release"]
        if kind == "stage":
            staged = _last(staged, release)
        elif kind == "prune":
            staged = [name for name in staged if name != release]
            history = [name for name in history if name != release]
            configurations.pop(release, None)
        elif step in ENDS:
            flight = None
            configurations = _configured(configurations, record)
            if step == "done":
                if kind != "restart":
                    live_record = record
                if kind in ("activate", "rollback") and release in staged:
                    staged = _last(staged, release)
                history, left = _after(kind, history, release)
                bad.pop(release, None)
                bad |= _blamed(record, left)
            elif kind == "activate" and _says_bad(record):
                bad[release] = record
        else:
            flight = Flight(
                record["transaction"],
                step,
                release,
                record.get("previous"),
                record.get("configuration"),
                record.get("previous_configuration"),
                step == "revert" or (flight is not None and flight.reverting and step != "begin"),
            )
            if step == "revert" and kind == "activate" and _says_bad(record):
                bad[release] = record
    return HostState(tuple(history), tuple(staged), bad, flight, live_record, configurations)


def shorten(records: Sequence[Record], keep: int = KEEP) -> list[Record]:
    """The last ``keep`` records behind one that holds what those before added up to; both journals fold to the same state."""
    if len(records) <= keep:
        return list(records)
    state = fold(records[: len(records) - keep])
    return [{"kind": "sum", **state._asdict()}, *records[len(records) - keep :]]


def rotate(path: str) -> None:
    """Shorten a journal that has grown long; the long one stays beside it as ``<path>.1`` until the next time."""
    with _alone(path):
        records = read(path)
        if len(records) > LONG:
            text = "".join(f"{json.dumps(record, sort_keys=True)}\n" for record in shorten(records))
            shutil.copyfile(path, f"{path}.1")
            system.write_file(path, text.encode(), 0o600)


def seconds(records: Iterable[Record], kinds: Collection[str], last: int = 10) -> list[float]:
    """What the last transactions of these kinds took that ended well, oldest first; those that somebody else finished do not say."""
    taken = [record["seconds"] for record in records if record["kind"] in kinds and record["step"] == "done" and "seconds" in record]
    return taken[-last:]


def _last(staged: list[str], release: str) -> list[str]:
    """The releases with this one at the end."""
    return [*(name for name in staged if name != release), release]


def _says_bad(record: Record) -> bool:
    """Whether the way back, or the end, of an activation tells that the release is bad; not where only its configuration was new."""
    given_up = record["step"] == "abandoned" or record.get("mended") or not record.get("blame", True)
    return not given_up and record.get("previous") != record["release"]


def _blamed(record: Record, left: set[str]) -> dict[str, Record]:
    """Of the releases that a rollback left behind those that are to blame for it: none where something else had failed."""
    return dict.fromkeys(left, record) if record.get("blame", True) else {}


def _configured(known: dict[str, str], record: Record) -> dict[str, str]:
    """With which configuration each release ran last, once a transaction has ended: the one it is about, and the one that was live before."""
    found = dict(known)
    if record.get("previous") and record.get("previous_configuration"):
        found[record["previous"]] = record["previous_configuration"]
    if record["step"] == "done" and record.get("configuration"):
        found[record["release"]] = record["configuration"]
    return found


def _after(kind: str, history: list[str], release: str) -> tuple[list[str], set[str]]:
    """The history once ``release`` is live, and the releases that a rollback left behind."""
    if kind == "retire":
        return [name for name in history if name != release], {release}
    if kind == "rollback" and release in history:
        index = len(history) - 1 - history[::-1].index(release)
        return history[: index + 1], set(history[index + 1 :])
    if kind == "rollback":
        return [*history[:-1], release], set(history[-1:])
    if history and history[-1] == release:
        return history, set()
    return [*history, release], set()


def load(path: str) -> list[Record]:
    """The records, oldest first; a line that a crash tore off at the end is not one. A ValueError names a line that cannot be read."""
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return [_parse(line, number) for number, line in enumerate(lines[:-1], 1) if line]


def _parse(line: bytes, number: int) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"line {number} is no JSON object")
    return record


def read(path: str) -> list[Record]:
    """As `load`; a HostError says what to do about a line that cannot be read. At boot that keeps the host out of the load balancers."""
    try:
        return load(path)
    except ValueError as error:
        raise HostError(
            f"{path} is no journal ({error}): damaged, or written by something else. Nothing is done while it is not known what was done: mend "
            "or remove that line on this host, or restore the file from a backup."
        ) from None


def append(path: str, record: Record) -> Record:
    """Write one record and sync it; a torn last line is cut off first. Returns the record with its time (UTC).

    On a disk that is full it uses the room that was held back for this (`room`).
    """
    with _alone(path):
        stamped = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **record}
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = system.line_start(descriptor, os.fstat(descriptor).st_size)
            line = json.dumps(stamped, sort_keys=True).encode() + b"\n"
            try:
                _write_line(descriptor, line, end)
            except OSError as error:
                if error.errno not in room.FULL or not room.give_up(os.path.dirname(path)):
                    raise
                _write_line(descriptor, line, end)
        finally:
            os.close(descriptor)
        if end == 0:
            system.sync_folder(os.path.dirname(path))
    return stamped


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Be the only one who writes; the kernel frees the lock when its holder dies."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_line(descriptor: int, line: bytes, end: int) -> None:
    os.ftruncate(descriptor, end)
    system.write_all(descriptor, line, end)
    os.fsync(descriptor)
