# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a host leaves the load balancers and comes back, seen from the transaction.

The host announces one word in a file. The agent (agent.py) answers every load balancer with that word, and notes beside
it who has taken which word and when. So the transaction waits for facts, never for a fixed time:

    since = announce("drain", drain)
    taken = wait_taken("drain", drain, since, deadline_seconds=5)   # every live balancer has stopped sending
    quiet = wait_quiet(drain, deadline_seconds=30)                  # what they had sent before has been answered

All times are seconds of CLOCK_MONOTONIC: the wall clock of a host may step while a release is under way. The notes
live on a tmpfs, so they never outlast the boot that this clock counts from.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

READY: Final = "ready"
DRAIN: Final = "drain"
MAINT: Final = "maint"
WORDS: Final = frozenset({READY, DRAIN, MAINT})

ALIVE_SECONDS: Final = 2.0
"""A balancer that has not asked for this long is not waited for: ten times the usual agent-inter of 200 ms."""

POLL_SECONDS: Final = 0.01

SELF_ADDRESS: Final = "127.77.0.1"
"""The transaction asks its own agent from this address, which the agent does not take for a load balancer."""

# States (include/net/tcp_states.h) in which the application may be asked or still owes an answer. Once it has closed
# (FIN_WAIT, LAST_ACK, TIME_WAIT, ...) the kernel delivers what is left, also when the process is gone.
_LIVE_STATES: Final = frozenset({"01", "03", "08"})  # ESTABLISHED, SYN_RECV, CLOSE_WAIT


class Drain(NamedTuple):
    """The part `drain` of /etc/tossable/<app>.json."""

    port: int
    """The port on which the application is asked."""
    timeout_seconds: float
    state_file: str
    told_dir: str
    agent_port: int

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Drain:
        """Take it from the parsed configuration. Raises KeyError for a missing entry, ValueError for a wrong one."""
        return cls(
            port=int(data["port"]),
            timeout_seconds=float(data["timeout_seconds"]),
            state_file=str(data["state_file"]),
            told_dir=str(data["told_dir"]),
            agent_port=int(data["agent_port"]),
        )


class Told(NamedTuple):
    """What the agent noted about one load balancer."""

    word: str
    """The last word it has taken."""
    asked: float
    """When the agent read that word for it."""


class Taken(NamedTuple):
    """How waiting for a word ended."""

    word: str
    seconds: dict[str, float]
    """Address of each balancer that took the word -> seconds from the announcement to its taking."""
    missing: tuple[str, ...]
    """Addresses of live balancers that had not taken it when time was up."""
    agent: str
    """What the agent itself answered at the end; empty if it did not answer. Without it the notes prove nothing."""

    @property
    def complete(self) -> bool:
        """Whether every live balancer has taken the word, as told by an agent that works."""
        return not self.missing and self.agent == self.word


class Quiet(NamedTuple):
    """How waiting for the end of connections ended."""

    seconds: float
    left: dict[str, int]
    """Address of each peer that still had connections when time was up -> how many. Empty: the port is quiet."""

    @property
    def complete(self) -> bool:
        """Whether nobody is connected any more."""
        return not self.left


def write_whole(path: str, text: str, mode: int = 0o644, stamp_ns: int | None = None) -> None:
    """Put `text` into the file by rename, so that a reader sees the old or the new, never a part. Raises OSError.

    One writer at a time: what one that was killed has left beside is the next one's. `stamp_ns` becomes the file's mtime, where it is
    given. Nothing is synced: this is for a tmpfs.
    """
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.next")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            os.write(descriptor, text.encode())
            if stamp_ns is not None:
                os.utime(descriptor, ns=(stamp_ns, stamp_ns))
        finally:
            os.close(descriptor)
        os.rename(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def read_word(state_file: str) -> str:
    """The word that load balancers are to be told.

    Whatever is absent, unreadable or unknown is `maint`: no host is in service by accident.
    """
    try:
        descriptor = os.open(state_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return MAINT
    try:
        word = os.read(descriptor, 64).decode("ascii", "replace").strip()
    except OSError:
        return MAINT
    finally:
        os.close(descriptor)
    return word if word in WORDS else MAINT


def announce(word: str, drain: Drain) -> float:
    """Let every load balancer that asks from now on be told `word`; return the moment, for `wait_taken`.

    Raises ValueError for an unknown word and OSError where the file cannot be written (nothing has changed then).
    """
    if word not in WORDS:
        raise ValueError(f"unknown word {word!r} for the load balancers: one of {', '.join(sorted(WORDS))}")
    os.makedirs(os.path.dirname(drain.state_file), mode=0o755, exist_ok=True)
    write_whole(drain.state_file, word + "\n")
    return time.monotonic()


def read_told(told_dir: str) -> dict[str, Told]:
    """What the agent has noted: address of the balancer -> word and time. Empty where no balancer ever asked."""
    told: dict[str, Told] = {}
    try:
        names = os.listdir(told_dir)
    except FileNotFoundError:
        return told
    for name in names:
        if name.startswith("."):
            continue
        try:
            with open(os.path.join(told_dir, name), "rb", buffering=0) as file:
                word = file.read(64).decode("ascii", "replace").strip()
                asked = os.fstat(file.fileno()).st_mtime_ns / 1e9
        except FileNotFoundError:
            continue
        told[name] = Told(word, asked)
    return told


def live(told: Mapping[str, Told], now: float, alive_seconds: float = ALIVE_SECONDS) -> set[str]:
    """Addresses of the balancers that asked lately."""
    return {peer for peer, note in told.items() if now - note.asked <= alive_seconds}


def waiting_for(told: Mapping[str, Told], word: str, since: float, now: float, alive_seconds: float = ALIVE_SECONDS) -> set[str]:
    """Addresses of the live balancers that have not yet taken `word` from an answer read at or after `since`."""
    return {peer for peer in live(told, now, alive_seconds) if told[peer].word != word or told[peer].asked < since}


def ask(drain: Drain, timeout_seconds: float = 1.0) -> str:
    """The word that this host's own agent answers, or an empty string if it does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", drain.agent_port), timeout_seconds, source_address=(SELF_ADDRESS, 0)) as connection:
            return connection.recv(64).decode("ascii", "replace").strip()
    except OSError:
        return ""


def wait_taken(
    word: str,
    drain: Drain,
    since: float,
    deadline_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    ask_agent: Callable[[Drain], str] = ask,
) -> Taken:
    """Wait until every live balancer has taken `word`, at most until `deadline_seconds` after `since`.

    The agent is asked at the end as well: one that is down leaves notes that look like a fleet without load balancers,
    while these go on sending. With no balancer alive it returns as soon as the agent answers.
    """
    while True:
        now = clock()
        told = read_told(drain.told_dir)
        waiting = waiting_for(told, word, since, now)
        late = now - since >= deadline_seconds
        answer = ask_agent(drain) if late or not waiting else ""
        if late or (not waiting and answer == word):
            seconds = {peer: round(note.asked - since, 4) for peer, note in told.items() if note.word == word and note.asked >= since}
            return Taken(word, seconds, tuple(sorted(waiting)), answer)
        sleep(POLL_SECONDS)


def _address(text: str) -> str:
    """The usual form of an address of /proc/net/tcp or tcp6: there it is 32-bit words in the machine's byte order."""
    raw = b"".join(int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8))
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    return plain_address(socket.inet_ntop(socket.AF_INET6, raw))


def plain_address(address: str) -> str:
    """The address without the IPv6 dress that an IPv4 peer wears on a socket which takes both."""
    return address.removeprefix("::ffff:") if "." in address else address


def is_loopback(address: str) -> bool:
    """Whether the peer is this host itself."""
    return address == "::1" or address.startswith("127.")


def live_connections(lines: Iterable[str], port: int) -> dict[str, int]:
    """Peers with live connections to the local `port` -> how many, from the lines of /proc/net/tcp or tcp6."""
    mark = f":{port:04X} "
    peers: dict[str, int] = {}
    for line in lines:
        if mark not in line:
            continue
        _slot, local, remote, state = line.split(None, 4)[:4]
        if local.endswith(mark.strip()) and state in _LIVE_STATES:
            peer = _address(remote.partition(":")[0])
            peers[peer] = peers.get(peer, 0) + 1
    return peers


def connections(port: int, *, loopback: bool = False, proc: str = "/proc/net") -> dict[str, int]:
    """Peers that are connected to the local `port` -> how many connections.

    Connections of this host to itself (health checks, a metrics agent that keeps its connection) are left out unless
    `loopback`: nobody outside waits for their answer.
    """
    peers: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        try:
            with open(f"{proc}/{table}", encoding="ascii") as file:
                found = live_connections(file, port)
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for peer, count in found.items():
            if loopback or not is_loopback(peer):
                peers[peer] = peers.get(peer, 0) + count
    return peers


def wait_quiet(
    drain: Drain,
    deadline_seconds: float,
    *,
    looks: int = 2,
    between_seconds: float = 0.025,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    count: Callable[..., dict[str, int]] = connections,
) -> Quiet:
    """Wait until nobody is connected to the application's port in `looks` looks in a row, at most `deadline_seconds`.

    More than one look, because a request that a balancer had given out just before it stopped may still be on its way.
    Connections from this host itself count only where a load balancer runs on it.
    """
    start = clock()
    loopback = any(is_loopback(peer) for peer in live(read_told(drain.told_dir), start))
    empty = 0
    while True:
        left = count(drain.port, loopback=loopback)
        empty = 0 if left else empty + 1
        now = clock()
        if empty >= looks or now - start >= deadline_seconds:
            return Quiet(round(now - start, 4), left)
        sleep(between_seconds if empty else POLL_SECONDS)
