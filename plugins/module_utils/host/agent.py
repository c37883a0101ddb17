# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load balancer agent: tells every load balancer that asks whether this host is in service, and notes who knows.

It speaks HAProxy's agent-check: for each connection one line, `ready`, `drain` or `maint`, read from the state file at
that moment. A balancer closes the connection once it has acted on the line; only then is the word noted for its
address, as a file whose content is the word and whose mtime is the moment at which the word was read (seconds of
CLOCK_MONOTONIC, see balancer.py).

One thread, no blocking call: a peer that hangs costs a slot for a second, and where slots run out the oldest goes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from .balancer import MAINT, SELF_ADDRESS, Drain, plain_address, read_word, write_whole
from .config import load

CONNECTIONS: Final = 64
PEERS: Final = 64
"""How many load balancers are remembered; the one that was silent longest is forgotten for a new one."""
DEADLINE_SECONDS: Final = 1.0
PATIENCE: Final = 8
"""How many times a peer may send something before it is cut off."""
LATE_MILLISECONDS: Final = 100
"""A connection that waited longer for its answer may be given up by the peer in that very moment: it proves nothing."""
LOOK_SECONDS: Final = 5.0
FIRST_LISTEN_FD: Final = 3


class _Connection:
    """One peer that is being answered."""

    __slots__ = ("deadline", "heard", "peer", "proves", "read_ns", "socket", "word")

    def __init__(self, connection: socket.socket, peer: str, now: float) -> None:
        self.socket = connection
        self.peer = peer
        self.deadline = now + DEADLINE_SECONDS
        self.read_ns = 0
        self.word = MAINT
        self.heard = 0
        self.proves = False


def _age_milliseconds(connection: socket.socket) -> int:
    """How long ago the peer completed the connection: tcpi_last_ack_recv of struct tcp_info (linux/tcp.h)."""
    return int.from_bytes(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)[56:60], sys.byteorder)


class Agent:
    """Answers on a listening socket; `turn` does whatever is due, so that a test can drive it."""

    def __init__(self, config: Drain, listener: socket.socket) -> None:
        self._config = config
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, _Connection] = {}  # in the order in which they came, so the first is the oldest
        self._noted: dict[str, str] = dict.fromkeys((name for name in os.listdir(config.told_dir) if not name.startswith(".")), "")
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def __len__(self) -> int:
        """How many peers are being answered."""
        return len(self._open)

    def turn(self, timeout: float | None = None) -> None:
        """Wait for something to do, at most `timeout` seconds, and do it."""
        if self._open:
            until_next = max(0.0, next(iter(self._open.values())).deadline - time.monotonic())
            timeout = until_next if timeout is None else min(timeout, until_next)
        for key, _events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fd in self._open:
                self._hear(self._open[key.fd])
        now = time.monotonic()
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.deadline > now:
                break
            self._close(oldest)

    def close(self) -> None:
        """Let go of every peer; the listener stays with its owner."""
        for connection in list(self._open.values()):
            self._close(connection)
        self._selector.close()

    def _accept(self) -> None:
        # A bounded number in one turn, so that peers that wait to be heard get their turn under a flood.
        for _turn in range(CONNECTIONS):
            try:
                accepted, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The listener stays readable: without a pause this would spin.
                    time.sleep(0.05)
                    return
                continue  # the peer of this one connection is gone already
            if len(self._open) >= CONNECTIONS:
                self._close(next(iter(self._open.values())))
            connection = _Connection(accepted, plain_address(address[0]), time.monotonic())
            try:
                accepted.setblocking(False)
                self._answer(connection)
            except OSError:
                accepted.close()
                continue
            self._open[accepted.fileno()] = connection
            self._selector.register(accepted, selectors.EVENT_READ)

    def _answer(self, connection: _Connection) -> None:
        """Send the word. Raises OSError if the peer is gone: then it has not taken anything."""
        try:
            if not connection.socket.recv(256):
                raise ConnectionAbortedError
        except BlockingIOError:
            pass
        connection.proves = _age_milliseconds(connection.socket) <= LATE_MILLISECONDS
        connection.read_ns = time.monotonic_ns()
        connection.word = read_word(self._config.state_file)
        connection.socket.send(connection.word.encode() + b"\n")

    def _hear(self, connection: _Connection) -> None:
        try:
            if connection.socket.recv(256):  # HAProxy's agent-send: nothing that this agent needs
                connection.heard += 1
                if connection.heard > PATIENCE:
                    self._close(connection)
                return
        except BlockingIOError:
            return
        except ConnectionResetError:
            pass  # how HAProxy closes a check
        except OSError:
            connection.proves = False
        self._close(connection)
        if connection.proves and connection.peer != SELF_ADDRESS:
            self._note(connection)

    def _close(self, connection: _Connection) -> None:
        del self._open[connection.socket.fileno()]
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _note(self, connection: _Connection) -> None:
        peer, word, stamp = connection.peer, connection.word, connection.read_ns
        path = os.path.join(self._config.told_dir, peer)
        try:
            if self._noted.pop(peer, None) != word:
                if len(self._noted) >= PEERS:
                    self._forget(next(iter(self._noted)))
                write_whole(path, word + "\n", stamp_ns=stamp)
            else:
                os.utime(path, ns=(stamp, stamp))
        except OSError:
            # A full tmpfs, or a file that somebody removed: answering goes on, and the next ask writes it anew.
            return
        self._noted[peer] = word

    def _forget(self, peer: str) -> None:
        del self._noted[peer]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._config.told_dir, peer))


def serve(config: Drain, sock: socket.socket, outdated: Callable[[], bool] = lambda: False) -> None:
    """Answer on the listening socket until `outdated`, which is asked now and then while balancers ask."""
    agent = Agent(config, sock)
    looked = time.monotonic()
    while True:
        agent.turn()
        now = time.monotonic()
        if now - looked >= LOOK_SECONDS:
            looked = now
            if not len(agent) and outdated():
                agent.close()
                return


def main(app: str) -> int:
    """Answer for the application `app` on the socket that systemd passes.

    Returns 0 once another version of the program lies where this one was started from, so that systemd starts that one; the
    socket, and whoever waits on it, stays with systemd. Returns 2 where there is no socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        sys.stderr.write(f"the agent takes its socket from systemd: start {app}-agent.socket\n")
        return 2
    drain = load(app).drain
    if drain is None:
        sys.stderr.write(f"{app} has no port that load balancers could send to: it needs no agent\n")
        return 2
    program = os.path.realpath(sys.argv[0])
    serve(drain, socket.socket(fileno=FIRST_LISTEN_FD), lambda: os.path.realpath(sys.argv[0]) != program)
    return 0
