# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody in a chat, over a plain socket: enough of IRC for tests."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from types import TracebackType

PORT = 6667


class Client:
    """Logs in, keeps every line that comes, and answers the server's pings."""

    def __init__(self, address: str, nick: str, user: str = "", password: str = "", port: int = PORT) -> None:
        self.nick = nick
        self.socket = socket.create_connection((address, port), timeout=10)
        self.lines: list[str] = []
        self.seen = 0
        self.rest = b""
        if password:
            self.send(f"PASS {password}")
        self.send(f"NICK {nick}")
        self.send(f"USER {user or nick} 0 * :{nick}")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave, and see that the server knows, which then lets somebody else have the name."""
        with contextlib.suppress(OSError), self.socket:
            self.socket.settimeout(10)
            self.send("QUIT")
            while self.socket.recv(65536):
                pass

    def send(self, line: str) -> None:
        """Send one line."""
        self.socket.sendall(line.encode() + b"\r\n")

    def join(self, channel: str, seconds: float = 20) -> None:
        """Be in a channel."""
        self.wait(r" 001 ", seconds)
        self.send(f"JOIN {channel}")
        self.wait(r" 366 ", seconds)

    def say(self, where: str, words: str) -> None:
        """Write to a channel or somebody; what is waited for next comes after it."""
        self.seen = len(self.lines)
        self.send(f"PRIVMSG {where} :{words}")

    def wait(self, pattern: str, seconds: float = 20) -> str:
        """The next line that matches, of those that came since the last one that was waited for; all of them are the evidence where none does."""
        until = time.monotonic() + seconds
        while True:
            for number in range(self.seen, len(self.lines)):
                if re.search(pattern, self.lines[number]):
                    self.seen = number + 1
                    return self.lines[number]
            left = until - time.monotonic()
            assert left > 0, f"{self.nick} has not read /{pattern}/ within {seconds} s:\n" + "\n".join(self.lines)
            self._read(left)

    def _read(self, seconds: float) -> None:
        self.socket.settimeout(seconds)
        try:
            got = self.socket.recv(65536)
        except TimeoutError:
            return
        assert got, f"the server has closed the connection of {self.nick}:\n" + "\n".join(self.lines)
        *whole, self.rest = (self.rest + got).split(b"\n")
        for raw in whole:
            line = raw.decode(errors="replace").rstrip("\r")
            if line.startswith("PING"):
                self.send(line.replace("PING", "PONG", 1))
            self.lines.append(line)
