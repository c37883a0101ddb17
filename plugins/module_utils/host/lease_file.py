# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployment lock in a file: ``<folder>/<environment>/<app>.json`` on the ops host, and its history beside it. Everybody there may read who
has it, as in the ledger, so that whoever tells of runs needs no right for that.

Asked as ``lock <app> <json>``, one operation a call. The kernel's lock on ``<app>.lock`` is held for the few milliseconds of an operation
only, and freed by the kernel when the program dies; the lease in the file is what outlives the call.

Room is held back in the folder (`room`): on a disk that is full the lock can be taken and freed all the same, so that a rollback can.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from typing import Any

from . import journal, lease, room, system
from .errors import HostError
from .lease import Decision, Now, Owner, Record

FOLDER = "/var/lib/tossable/locks"
#: Seconds that an operation waits for another one, which takes milliseconds.
WAIT_SECONDS = 20.0
#: A history longer than LONG lines is cut to its last KEEP.
LONG, KEEP = 1000, 500
_FOLDER_MODE = 0o755
#: Names of applications and environments become names of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_names(app: str, environment: str) -> None:
    """Refuse what cannot be the name of a file; a HostError says which."""
    for what, name in (("application", app), ("environment", environment)):
        if not _NAME.fullmatch(name):
            raise HostError(f"{name!r} is no name for an {what}: letters, digits, '.', '_' and '-' only, such as production.")


class FileBackend:
    """A `lease.Backend` whose record is a file, replaced in one step."""

    def __init__(self, app: str, environment: str, folder: str = FOLDER, clock: Callable[[], Now] = lease.clock) -> None:
        check_names(app, environment)
        self._app = app
        self.folder = f"{folder}/{environment}"
        self.path = f"{self.folder}/{app}.json"
        self.history = f"{self.folder}/{app}.history.jsonl"
        self._held = f"{self.folder}/{app}.lock"
        self._clock = clock

    def acquire(self, owner: Owner, seconds: float, take_over: int | None) -> Decision:
        """See `lease.acquire`."""
        return self._change(lambda record, now: lease.acquire(record, owner, seconds, take_over, now))

    def renew(self, run: str, token: int, above: int) -> Decision:
        """See `lease.renew`."""
        return self._change(lambda record, now: lease.renew(record, run, token, above, now))

    def free(self, run: str, token: int) -> Decision:
        """See `lease.free`."""
        return self._change(lambda record, _now: lease.free(record, run, token))

    def break_(self, by: str, reason: str) -> Decision:
        """See `lease.break_`; a file that cannot be read is set aside as ``<path>.broken``, and the token goes on from the history."""
        with self._alone():
            now = self._clock()
            try:
                before = self._read()
            except _UnreadableError:
                token = max((event["token"] for event in journal.read(self.history)), default=0)
                decision = lease.break_unreadable(token, by, reason, now)
                os.replace(self.path, f"{self.path}.broken")
                return self._keep(decision, None)
            return self._keep(lease.break_(before, by, reason, now), before)

    def show(self) -> Decision:
        """See `lease.show`; makes no file where there is none."""
        return lease.show(self._read(), self._clock())

    def _change(self, decide: Callable[[Record, Now], Decision]) -> Decision:
        with self._alone():
            before = self._read()
            return self._keep(decide(before, self._clock()), before)

    def _keep(self, decision: Decision, before: Record | None) -> Decision:
        """Write the event, then the record: a break or a take-over that nobody can read about never happens."""
        if decision.event:
            journal.append(self.history, decision.event)
            self._shorten()
        if decision.record != before:
            data = json.dumps(lease.to_data(decision.record), sort_keys=True, indent=1).encode() + b"\n"
            try:
                system.write_file(self.path, data, 0o644)
            except OSError as error:
                if error.errno not in room.FULL or not room.give_up(self.folder):
                    raise
                system.write_file(self.path, data, 0o644)
        return decision

    def _read(self) -> Record:
        try:
            with open(self.path, "rb") as file:
                return lease.from_data(json.loads(file.read()))
        except FileNotFoundError:
            return lease.EMPTY
        except (KeyError, TypeError, ValueError) as error:
            raise _UnreadableError(
                f"{self.path} is no record of a lock ({type(error).__name__}: {error}): torn, or written by something else. Make sure that no "
                f"run is under way, then: ansible-playbook playbooks/unlock.yml -e \"reason='...'\" -e app={self._app} "
                "(it sets the file aside and begins a new one)."
            ) from None

    def _shorten(self) -> None:
        events = journal.read(self.history)
        if len(events) > LONG:
            text = "".join(f"{json.dumps(event, sort_keys=True)}\n" for event in events[-KEEP:])
            # On a disk that is full it stays long.
            with _passing(room.FULL):
                system.write_file(self.history, text.encode(), 0o600)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            os.makedirs(self.folder, exist_ok=True)
            for folder in (os.path.dirname(self.folder), self.folder):
                if stat.S_IMODE(os.stat(folder).st_mode) != _FOLDER_MODE:
                    os.chmod(folder, _FOLDER_MODE)
            with system.host_lock(self._held, WAIT_SECONDS):
                yield
                room.keep(self.folder)
        except OSError as error:
            if error.errno not in room.FULL:
                raise
            raise HostError(
                f"{self.folder} is full, also what was held back there: make room on that disk, then run the same command again."
            ) from None


@contextlib.contextmanager
def _passing(numbers: Collection[int]) -> Iterator[None]:
    """Pass over errors of the system of these numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


class _UnreadableError(HostError):
    """The file is there, and holds no record."""


def _backend(app: str, environment: str, database: str | None, folder: str) -> lease.Backend:
    """Where this lock is kept: in a database where one is named, else in a file here."""
    if not database:
        return FileBackend(app, environment, folder)
    from . import lease_postgres

    return lease_postgres.PostgresBackend(app, environment, database)


def perform(app: str, given: dict[str, Any], folder: str = FOLDER) -> dict[str, Any]:
    """Do one operation (``operation``: acquire, renew, free, break or show) and return the record with what became of the request.

    ``database`` names the database that keeps the lock, where it is not a file. Returns ``held`` (whether the one who asked has the lock
    now), ``said`` (why), ``changed``, and the record's ``token``, ``lease`` and ``last`` as `lease.to_data` gives them.
    """
    backend = _backend(app, given["environment"], given.get("database"), folder)
    operation = given["operation"]
    if operation == "acquire":
        decision = backend.acquire(Owner(**given["owner"]), float(given["seconds"]), given.get("take_over"))
    elif operation == "renew":
        decision = backend.renew(given["run"], given["token"], given.get("above", 0))
    elif operation == "free":
        decision = backend.free(given["run"], given["token"])
    elif operation == "break":
        decision = backend.break_(given["by"], given["reason"])
    elif operation == "show":
        decision = backend.show()
    else:
        raise HostError(f"The lock knows no operation {operation!r}, only acquire, renew, free, break and show.")
    return {"changed": decision.event is not None, "held": decision.held, "said": decision.said, **lease.to_data(decision.record)}
