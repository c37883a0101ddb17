# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployment lock: one run at a time for an application in an environment, with a lease and a fencing token.

A record says who holds the lock until when, and which token was given last. The functions here are pure: record, request and time in,
decision out. Where the record lies is a backend's matter (`lease_file`, `lease_postgres`). Only the clock of whoever keeps the record counts.

The token is a counter. Every acquisition, also one that takes a dead run's lock over, and every break makes it greater; it is kept while
nobody holds the lock. Hosts refuse a run whose token is lower than one they have seen (`fence`), so that a controller that slept while its
lease ran out cannot come back and switch anything (M. Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Protocol

from .errors import HostError

BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"


class Now(NamedTuple):
    """The time where the record is kept: ``wall`` in Unix seconds, for people; ``uptime`` in seconds since the boot ``boot``, to count by.

    A clock that is set while a lease runs neither ends nor prolongs it.
    """

    wall: float
    boot: str
    uptime: float


class Owner(NamedTuple):
    """Who asks: the run, and the process on a controller that it lives in.

    ``by`` orders the run and ``reason`` says why, in the operator's words; ``account`` is the controller's login name. ``boot`` and
    ``namespace`` (of process ids) tell whether ``pid`` and ``started`` (clock ticks since boot) mean anything to somebody else.
    """

    run: str
    by: str
    reason: str
    what: str
    account: str
    controller: str
    boot: str
    namespace: str
    pid: int
    started: int


class Lease(NamedTuple):
    """The lock is held by ``owner``; times are UTC, ISO 8601. ``deadline`` is in seconds since the boot ``boot`` of whoever keeps the record."""

    owner: Owner
    since: str
    until: str
    seconds: float
    boot: str
    deadline: float


class Record(NamedTuple):
    """All that is kept: the newest token, the lease that goes with it (None while the lock is free), and the last event beside freeing."""

    token: int
    lease: Lease | None
    last: dict[str, Any] | None


class Decision(NamedTuple):
    """What becomes of a request.

    ``held`` tells whether the one who asked holds the lock now, ``said`` what there is to say about it, ``event`` what goes into the
    history; ``record`` is to be kept where it differs from the one before.
    """

    record: Record
    held: bool
    said: str = ""
    event: dict[str, Any] | None = None


class Backend(Protocol):
    """Where a record is kept. Each operation is atomic towards all others, and lasts once it has returned."""

    def acquire(self, owner: Owner, seconds: float, take_over: int | None) -> Decision:
        """See the function `acquire`."""

    def renew(self, run: str, token: int, above: int) -> Decision:
        """See the function `renew`."""

    def free(self, run: str, token: int) -> Decision:
        """See the function `free`."""

    def break_(self, by: str, reason: str) -> Decision:
        """See the function `break_`; a record that cannot be read is set aside."""

    def show(self) -> Decision:
        """See the function `show`."""


EMPTY = Record(0, None, None)


def clock() -> Now:
    """The time of this machine."""
    with open(BOOT_ID_FILE, encoding="ascii") as file:
        return Now(time.time(), file.read().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))


def iso(wall: float) -> str:
    """Unix seconds as UTC, ISO 8601, whole seconds; such texts sort like their times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall))


def expired(lease: Lease, now: Now) -> bool:
    """Whether the lease has run out.

    After a reboot of the machine that keeps the record its clock has to do; but a machine that is up for as long as the lease lasts has
    outlived it in any case, whatever its clock says.
    """
    if lease.boot == now.boot:
        return now.uptime >= lease.deadline
    return iso(now.wall) >= lease.until or now.uptime >= lease.seconds


def within(record: Record, now: Now) -> Record:
    """The record with a lease that ends at most its own length from now: one that ends later was counted before the clock was set back."""
    lease = record.lease
    if lease is None or lease.boot != now.boot or lease.deadline <= now.uptime + lease.seconds:
        return record
    return record._replace(lease=lease._replace(until=iso(now.wall + lease.seconds), deadline=now.uptime + lease.seconds))


def acquire(record: Record, owner: Owner, seconds: float, take_over: int | None, now: Now) -> Decision:
    """Give the lock to ``owner`` for ``seconds`` when it is free, its lease has run out, or its holder is dead.

    ``take_over`` is the token of a holder whose process the controller found dead: that holder loses the lock, if it still has it and if
    it is of the same account on the same controller. A run that has the lock already is given it again.
    """
    lease = record.lease
    if lease is None:
        return _give(record, owner, seconds, now)
    if expired(lease, now):
        return _give(record, owner, seconds, now, f"its lease had run out at {lease.until}")
    if lease.owner.run == owner.run:
        return Decision(record._replace(lease=_lease(owner, lease.since, seconds, now)), True)
    if take_over == record.token and same_place(lease.owner, owner):
        return _give(record, owner, seconds, now, f"its process {lease.owner.pid} on {lease.owner.controller} is gone")
    return Decision(record, False)


def renew(record: Record, run: str, token: int, above: int, now: Now) -> Decision:
    """Let the lease begin anew, if ``run`` still holds the lock with ``token`` and its lease has not run out.

    ``above`` is the highest token that a host has seen. It can only be as high as ours where the record was lost (the machine that kept it
    was made anew): then the token is raised beyond it.
    """
    lease = record.lease
    if lease is None or lease.owner.run != run or record.token != token:
        return Decision(record, False)
    if expired(lease, now):
        return Decision(record, False, f"its lease ran out at {lease.until} and was not renewed in time")
    renewed = record._replace(lease=_lease(lease.owner, lease.since, lease.seconds, now))
    if above < token:
        return Decision(renewed, True)
    raised = {
        "event": "raised",
        "token": above + 1,
        "run": run,
        "by": lease.owner.by,
        "reason": f"a host had seen token {above}, this lock had {token}",
    }
    return Decision(renewed._replace(token=above + 1), True, event=raised)


def free(record: Record, run: str, token: int) -> Decision:
    """Let the lock go, if ``run`` holds it; nothing happens otherwise."""
    if record.lease is None or record.lease.owner.run != run or record.token != token:
        return Decision(record, False)
    return Decision(record._replace(lease=None), False)


def break_(record: Record, by: str, reason: str, now: Now) -> Decision:
    """Take the lock from whoever holds it; a HostError where no reason is given."""
    _need(reason)
    return Decision(record, False) if record.lease is None else _broken(record.token + 1, _told(record, record.lease), by, reason, now)


def break_unreadable(token: int, by: str, reason: str, now: Now) -> Decision:
    """Begin a new record where the old one cannot be read; ``token`` is the newest that is known from elsewhere."""
    _need(reason)
    return _broken(token + 1, {"run": "unknown", "by": "unknown"}, by, reason, now)


def show(record: Record, now: Now) -> Decision:
    """Only look; a lease that has run out is told as such."""
    return Decision(record, False, f"its lease ran out at {record.lease.until}" if record.lease and expired(record.lease, now) else "")


def same_place(one: Owner, other: Owner) -> bool:
    """Whether both are of one account on one controller since its last boot, so that they see each other's processes."""
    place = (one.account, one.controller, one.boot, one.namespace)
    return all(place) and place == (other.account, other.controller, other.boot, other.namespace)


def _followed(record: Record, lease: Lease) -> dict[str, Any] | None:
    """The run that had the lock just before ``lease`` and lost it to that or to a break, where it was about the same; else None."""
    last = record.last or {}
    lost = (last.get("event"), last.get("token")) in (("taken over", record.token), ("broken", record.token - 1))
    return last["from"] if lost and last["from"].get("what") == lease.owner.what else None


def _give(record: Record, owner: Owner, seconds: float, now: Now, over: str = "") -> Decision:
    token = record.token + 1
    lease = _lease(owner, iso(now.wall), seconds, now)
    if record.lease is None:
        # Whoever comes next after a break is told of it.
        return Decision(Record(token, lease, record.last if (record.last or {}).get("token") == record.token else None), True)
    before = _told(record, record.lease)
    event = {"event": "taken over", "at": iso(now.wall), "token": token, "by": owner.by, "run": owner.run, "reason": over, "from": before}
    return Decision(Record(token, lease, event), True, f"taken over from {before['by']}, run {before['run']}: {over}", event)


def _lease(owner: Owner, since: str, seconds: float, now: Now) -> Lease:
    return Lease(owner, since, iso(now.wall + seconds), seconds, now.boot, now.uptime + seconds)


def _need(reason: str) -> None:
    if not reason.strip():
        raise HostError("Why is the lock to be broken? Say it with -e \"reason='...'\"")


def _broken(token: int, holder: dict[str, Any], by: str, reason: str, now: Now) -> Decision:
    event = {"event": "broken", "at": iso(now.wall), "token": token, "by": by, "reason": reason, "from": holder}
    return Decision(Record(token, None, event), False, event=event)


def _told(record: Record, lease: Lease) -> dict[str, Any]:
    """Who loses the lock; and in ``from``, where there is one, the run that it went on with, so that several cut short in a row are all known."""
    told = {"run": lease.owner.run, "by": lease.owner.by, "what": lease.owner.what, "since": lease.since, "until": lease.until}
    followed = _followed(record, lease)
    return {**told, "from": followed} if followed else told


def to_data(record: Record) -> dict[str, Any]:
    """The record as JSON keeps it."""
    lease = record.lease
    return {"token": record.token, "lease": lease and {**lease._asdict(), "owner": lease.owner._asdict()}, "last": record.last}


def from_data(data: Any) -> Record:
    """The record from JSON; raises KeyError, TypeError or ValueError where it is not of that shape."""
    token, held = data["token"], data["lease"]
    if not isinstance(token, int) or isinstance(token, bool) or token < 0:
        raise ValueError(f"the token is {token!r}")
    if held is None:
        return Record(token, None, data["last"])
    lease = Lease(**{**held, "owner": Owner(**held["owner"])})
    for name, value, kind in (("until", lease.until, str), ("seconds", lease.seconds, (int, float)), ("deadline", lease.deadline, (int, float))):
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")
    return Record(token, lease, data["last"])
