# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployment lock in PostgreSQL: a row of the table `tossable_lock`, and its history in `tossable_lock_history`.

Each operation is one connection and one transaction, in which the row is locked (`SELECT ... FOR UPDATE`); the tables are made by the first
one. The clock is that of the database server, asked for once the row is locked. It is a wall clock, so it may be set: forward, and leases
end early (their holders notice at their next renewal, and hosts refuse them once another run has staged); back, and a lease is cut to its own
length, counted anew, by the next request that sees it.

The client is psycopg2, Debian's python3-psycopg2, imported when a database is given and not before.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import lease
from .errors import HostError
from .lease import Decision, Now, Owner, Record

CONNECT_SECONDS = 10
#: Seconds that an operation waits for another one, which takes milliseconds.
WAIT_SECONDS = 20
#: Rows that a history keeps.
KEEP = 500

_UNREADABLE = (KeyError, TypeError, ValueError)
_TABLES = """
CREATE TABLE IF NOT EXISTS tossable_lock (
    environment text NOT NULL,
    app text NOT NULL,
    record jsonb NOT NULL,
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (environment, app)
);
CREATE TABLE IF NOT EXISTS tossable_lock_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment text NOT NULL,
    app text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    event jsonb NOT NULL
);
"""
#: Of the lock under which the tables are made: IF NOT EXISTS alone fails where two do it at once.
_MAKING = 7755001


def connection_words(database: str) -> str:
    """The libpq connection string: as given, or for a plain word the service of that name. Raises HostError where it holds a password."""
    if re.search(r"\b(ssl)?password\s*=", database) or re.match(r"postgres(ql)?://[^/@]*:[^/@]*@", database):
        raise HostError(
            "release_lock_database holds a password, which would be shown. Take it out, and keep it on the host of the lock in root's ~/.pgpass, "
            "or use a service file (~/.pg_service.conf) or peer authentication."
        )
    return database if "=" in database or "://" in database else f"service={database}"


class PostgresBackend:
    """A `lease.Backend` whose record is a row."""

    def __init__(self, app: str, environment: str, database: str) -> None:
        self._key = (environment, app)
        self._words = connection_words(database)
        self._driver = _driver()

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
        """See `lease.break_`; a record that cannot be read goes into the history, and the token goes on from there."""

        def work(cursor: Any) -> Decision:
            raw, now = self._locked(cursor), _now(cursor)
            try:
                before = lease.from_data(raw)
            except _UNREADABLE:
                decision = lease.break_unreadable(self._newest_token(cursor), by, reason, now)
                self._note(cursor, {"event": "set aside", "record": raw, "token": decision.record.token, "by": by, "reason": reason})
                return self._keep(cursor, decision, None)
            return self._keep(cursor, lease.break_(before, by, reason, now), before)

        return self._transaction(work)

    def show(self) -> Decision:
        """See `lease.show`; makes no table where there is none."""

        def work(cursor: Any) -> Decision:
            row = None
            if _there(cursor):
                cursor.execute("SELECT record FROM tossable_lock WHERE environment = %s AND app = %s", self._key)
                row = cursor.fetchone()
            now = _now(cursor)
            return lease.show(lease.within(self._read(row[0]), now) if row else lease.EMPTY, now)

        return self._transaction(work)

    def _change(self, decide: Callable[[Record, Now], Decision]) -> Decision:
        def work(cursor: Any) -> Decision:
            before = self._read(self._locked(cursor))
            now = _now(cursor)
            return self._keep(cursor, decide(lease.within(before, now), now), before)

        return self._transaction(work)

    def _locked(self, cursor: Any) -> Any:
        """The record as it stands, nobody else's until the end of the transaction."""
        if not _there(cursor):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
            cursor.execute(_TABLES)
        cursor.execute(
            "INSERT INTO tossable_lock (environment, app, record) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (*self._key, json.dumps(lease.to_data(lease.EMPTY))),
        )
        cursor.execute("SELECT record FROM tossable_lock WHERE environment = %s AND app = %s FOR UPDATE", self._key)
        return cursor.fetchone()[0]

    def _read(self, raw: Any) -> Record:
        try:
            return lease.from_data(raw)
        except _UNREADABLE as error:
            raise HostError(
                f"The row {'/'.join(self._key)} of tossable_lock is no record of a lock ({type(error).__name__}: {error}). Make sure that no "
                f"run is under way, then: ansible-playbook playbooks/unlock.yml -e \"reason='...'\" -e app={self._key[1]} "
                "(it moves the record to the history)."
            ) from None

    def _keep(self, cursor: Any, decision: Decision, before: Record | None) -> Decision:
        if decision.event:
            self._note(cursor, decision.event)
        if decision.record != before:
            cursor.execute(
                "UPDATE tossable_lock SET record = %s, changed = now() WHERE environment = %s AND app = %s",
                (json.dumps(lease.to_data(decision.record)), *self._key),
            )
        return decision

    def _note(self, cursor: Any, event: dict[str, Any]) -> None:
        cursor.execute("INSERT INTO tossable_lock_history (environment, app, event) VALUES (%s, %s, %s)", (*self._key, json.dumps(event)))
        cursor.execute(
            "DELETE FROM tossable_lock_history WHERE id <= (SELECT id FROM tossable_lock_history WHERE environment = %s AND app = %s "
            "ORDER BY id DESC OFFSET %s LIMIT 1) AND environment = %s AND app = %s",
            (*self._key, KEEP, *self._key),
        )

    def _newest_token(self, cursor: Any) -> int:
        cursor.execute("SELECT max((event->>'token')::bigint) FROM tossable_lock_history WHERE environment = %s AND app = %s", self._key)
        return int(cursor.fetchone()[0] or 0)

    def _transaction(self, work: Callable[[Any], Decision]) -> Decision:
        """One connection, one transaction; what goes wrong is a HostError in words, and then nothing has changed (or, where the connection
        broke at the very end, the answer is not known, and the lease runs out by itself)."""
        errors = self._driver.errors
        try:
            connection = self._driver.connect(self._words, connect_timeout=CONNECT_SECONDS, application_name=f"tossable lock {self._key[1]}")
        except self._driver.Error as error:
            raise HostError(f"The database of the deployment lock cannot be reached ({_said(error)}). {_LOOK}") from None
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(_settings())
                return work(cursor)
        except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
            raise HostError(
                f"The database of the deployment lock does not let us in ({_said(error)}). The account needs the tables tossable_lock and "
                "tossable_lock_history as its own, or the right to create them: GRANT CREATE ON SCHEMA public TO <account>."
            ) from None
        except errors.ReadOnlySqlTransaction as error:
            raise HostError(
                f"The database of the deployment lock is a standby and cannot be written ({_said(error)}). Let release_lock_database name "
                "the primary, for example with target_session_attrs=read-write."
            ) from None
        except (errors.LockNotAvailable, errors.QueryCanceled) as error:
            raise HostError(
                f"Somebody holds the row {'/'.join(self._key)} of tossable_lock for longer than {WAIT_SECONDS} s ({_said(error)}): an open "
                "transaction, by hand for example. See pg_stat_activity, then run the same command again."
            ) from None
        except self._driver.Error as error:
            raise HostError(f"The database of the deployment lock did not do it ({_said(error)}). {_LOOK}") from None
        finally:
            connection.close()


_LOOK = (
    "It is named by release_lock_database, a libpq connection string or a service, as the host of the lock sees it: try there, as root, `psql` "
    "with the same words."
)


def _settings() -> str:
    """What holds for this transaction; a commit has to last, whatever the server's usual is."""
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    return "".join(f"SET LOCAL {name} = '{WAIT_SECONDS}s'; " for name in names) + "SET LOCAL synchronous_commit = on"


def _driver() -> ModuleType:
    try:
        importlib.import_module("psycopg2.errors")
        return importlib.import_module("psycopg2")
    except ImportError:
        raise HostError(
            "release_lock_database is set, and the host of the lock has no PostgreSQL client for Python. Install it there: "
            "apt-get install python3-psycopg2"
        ) from None


def _there(cursor: Any) -> bool:
    cursor.execute("SELECT to_regclass('tossable_lock') IS NOT NULL AND to_regclass('tossable_lock_history') IS NOT NULL")
    return bool(cursor.fetchone()[0])


def _now(cursor: Any) -> Now:
    """The database server's time, as the clock that leases are counted by as well."""
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    wall = cursor.fetchone()[0]
    return Now(wall, "the database server's clock", wall)


def _said(error: Exception) -> str:
    """The server's words in one line."""
    return " ".join(str(error).split())
