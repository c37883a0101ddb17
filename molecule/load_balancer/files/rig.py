#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two little applications with agents, on the loopback of the load balancer under test, and what can be tried with them.

    rig serve                   answer until killed, each request with what has arrived (JSON)
    rig roll ROUNDS [reload]    take one after the other out of service and back, under load; with reloads meanwhile
    rig words                   what HAProxy does at each word of an agent
    rig outage                  what it keeps of a server that is down, and of one in maintenance, over a reload and a restart
    rig keepalive REQUESTS      how many connections stand on the servers while a client keeps one open

Prints one JSON document. Each is bounded in time and in number of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

ADMIN_SOCKET = "/run/haproxy/admin.sock"
HOLD = "/run/rig.hold"  # as long as this file is there, requests for /held wait
RATE = 200
PATIENCE_SECONDS = 20.0  # for things that take well below a second on a machine that is not busy


class Server:
    """An application and its agent: answers requests, says its word, and notes what it saw."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.word = "ready"
        self.taken: list[tuple[str, float]] = []  # words of which the balancer has closed the connection, and when
        self.requests: list[float] = []  # when their connections were accepted
        self.checks = 0
        self.check_seconds = 0.0  # what a health check takes
        self.in_flight: set[asyncio.StreamWriter] = set()
        self._app: asyncio.Server | None = None
        self._agent: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer requests."""
        self._app = await asyncio.start_server(self._answer, "127.0.0.1", self.port, backlog=512)

    async def stop(self) -> int:
        """Drop everything at once, as a killed process does; returns how many requests were lost."""
        assert self._app
        self._app.close()
        lost = len(self.in_flight)
        for writer in list(self.in_flight):
            writer.transport.abort()
        return lost

    async def speak(self) -> None:
        """Let the agent answer."""
        self._agent = await asyncio.start_server(self._say, "127.0.0.1", self.port + 1)

    async def fall_silent(self) -> None:
        """Let the agent refuse connections."""
        assert self._agent
        self._agent.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = time.monotonic()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.split("\r\n")
            if " /readyz " in request:
                await asyncio.sleep(self.check_seconds)
                self.checks += 1
            else:
                self.requests.append(accepted)
                self.in_flight.add(writer)
                await asyncio.sleep(0.01)
                while " /held " in request and os.path.exists(HOLD):
                    await asyncio.sleep(0.02)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
            body = json.dumps({"server": self.name, "request": request, "headers": headers}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
            self.in_flight.discard(writer)
            await reader.read(1)  # keeps the connection open: closing it is left to the balancer
        self.in_flight.discard(writer)
        writer.close()

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = self.word
        writer.write(word.encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # a reset is how HAProxy ends a check
            await reader.read(1)
        self.taken.append((word, time.monotonic()))
        writer.close()

    async def announce(self, word: str) -> float:
        """Change the word and wait until the balancer has taken it; returns when it had."""
        self.word = word
        seen = len(self.taken)
        await until(lambda: any(taken == word for taken, _ in self.taken[seen:]), f"{self.name}: {word} taken")
        return next(when for taken, when in self.taken[seen:] if taken == word)


class Load:
    """Requests at a steady rate, each on a connection of its own, whatever becomes of those before."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._source = asyncio.create_task(self._send())

    async def _send(self) -> None:
        due = time.monotonic()
        while True:
            task = asyncio.create_task(self._one())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            due += 1 / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", 80)
                writer.write(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
            self.answers[answer.split(b" ", 2)[1].decode() if answer else "empty answer"] += 1
        except OSError as error:
            self.answers[type(error).__name__] += 1

    async def end(self) -> dict[str, Any]:
        """Stop sending, wait for what is under way, tell what came back."""
        self._source.cancel()
        await asyncio.gather(*self._running)
        total = self.answers.total()
        return {"requests": total, "failed": total - self.answers["200"], "answers": dict(self.answers)}


async def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Wait for a condition; returns after how many seconds it held."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.005)
    return time.monotonic() - start


async def run(*command: str) -> None:
    """Run a command that has to succeed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {output.decode()}")


def status(server: Server) -> str:
    """What HAProxy says of the server."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(ADMIN_SOCKET)
        connection.sendall(b"show stat\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    rows = csv.DictReader(answer.decode().removeprefix("# ").splitlines())
    return next(row["status"] for row in rows if (row["pxname"], row["svname"]) == ("shop", server.name))


def is_up(server: Server) -> bool:
    """Whether HAProxy sends it requests."""
    return status(server) == "UP"


def is_idle(server: Server) -> bool:
    """Whether no connection stands on the server's port."""
    return established(server) == 0


def established(server: Server) -> int:
    """Connections that stand on the server's port (state 01 of /proc/net/tcp)."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split()[1:4] for line in table][1:]
    return sum(1 for local, _remote, state in rows if local.endswith(f":{server.port:04X}") and state == "01")


async def both() -> tuple[Server, Server]:
    """Both servers, in service."""
    servers = Server("s0", 8100), Server("s1", 8102)
    for server in servers:
        await server.start()
        await server.speak()
    for server in servers:
        await until(partial(is_up, server), f"{server.name} UP")
    return servers


async def serve() -> None:
    """Answer until killed."""
    await both()
    await run("systemd-notify", "--ready")
    await asyncio.Event().wait()


async def roll(rounds: int, reload: bool) -> dict[str, Any]:
    """What a release does to each server in turn; the load must not notice."""
    servers = await both()
    load = Load()

    async def reloading() -> int:
        count = 0
        while True:
            await run("systemctl", "reload", "haproxy.service")
            count += 1
            if stopping.is_set():
                return count

    stopping = asyncio.Event()
    reloads = asyncio.create_task(reloading()) if reload else None
    late, lost = [], 0
    for number in range(rounds):
        server = servers[number % 2]
        drained = await server.announce("drain")
        await until(partial(is_idle, server), f"{server.name}: no connections")
        await server.announce("maint")
        await until(partial(is_idle, server), f"{server.name}: still no connections")
        late += [round(accepted - drained, 4) for accepted in server.requests if accepted > drained]
        lost += await server.stop()
        await asyncio.sleep(0.05)
        await server.start()
        server.requests.clear()
        await server.announce("ready")
    stopping.set()
    count = await reloads if reloads else 0
    return {**await load.end(), "reloads": count, "lost_at_stop": lost, "seconds_late": sorted(late)[-5:]}


async def words() -> dict[str, Any]:
    """Status and traffic after each word, and while the agent says nothing; the other server is slow to answer its checks meanwhile."""
    server, other = await both()
    load = Load()
    slowly, others = other.checks, set[str]()
    other.check_seconds = 2.0
    found: dict[str, Any] = {}

    async def note(name: str, seconds: float) -> None:
        requests, checks, asked = len(server.requests), server.checks, len(server.taken)
        await asyncio.sleep(seconds)
        others.add(status(other))
        found[name] = {
            "status": status(server),
            "requests": len(server.requests) - requests,
            "checks": server.checks - checks,
            "asked": len(server.taken) - asked,
        }

    await note("ready", 1)
    await server.announce("drain")
    await until(lambda: established(server) == 0, "no connections")
    await note("drain", 2)
    await server.announce("maint")
    await asyncio.sleep(0.1)
    await note("maint", 1)
    await server.stop()
    await note("maint, application down", 1.5)
    await server.start()
    requests = len(server.requests)
    await server.announce("ready")
    found["ready again"] = {"status": status(server)}
    found["ready again"]["seconds_to_first_request"] = await until(lambda: len(server.requests) > requests, "a request")
    for word in ("ready", "drain", "maint"):
        await server.announce(word)
        await server.fall_silent()
        await asyncio.sleep(0.3)
        await note(f"{word}, agent silent", 1.2)
        await server.speak()
    await server.announce("ready")
    return {**await load.end(), "found": found, "other": {"checks": other.checks - slowly, "statuses": sorted(others)}}


async def outage() -> dict[str, Any]:
    """One server in maintenance whose agent is silent, then down; over reload and restart."""
    server, other = await both()
    found = {}
    await server.announce("maint")
    await server.fall_silent()
    before = len(server.requests)
    load = Load()
    await run("systemctl", "reload", "haproxy.service")
    await asyncio.sleep(0.5)
    found["maint, reload"] = {**await load.end(), "status": status(server), "requests_to_it": len(server.requests) - before}
    await run("systemctl", "restart", "haproxy.service")
    load = Load()
    await asyncio.sleep(0.5)
    found["maint, restart"] = {**await load.end(), "status": status(server), "requests_to_it": len(server.requests) - before}
    await server.speak()
    await server.announce("ready")
    await server.stop()
    await until(lambda: status(server) == "DOWN", "down")
    load = Load()
    await run("systemctl", "reload", "haproxy.service")
    await asyncio.sleep(0.5)
    found["down, reload"] = {**await load.end(), "status": status(server)}
    await other.fall_silent()
    await run("systemctl", "kill", "--kill-whom=all", "--signal=SIGKILL", "haproxy.service")
    await until(lambda: status_or_none(other) is not None, "HAProxy is back after a crash")
    requests = len(other.requests)
    load = Load()
    await asyncio.sleep(0.5)
    found["crash, agents silent"] = {**await load.end(), "status": status(other), "requests_to_it": len(other.requests) - requests}
    return found


def status_or_none(server: Server) -> str | None:
    """What HAProxy says of the server, or None where it does not answer."""
    try:
        return status(server)
    except OSError:
        return None


async def keepalive(requests: int) -> dict[str, Any]:
    """Requests one after the other on one connection of the client; connections to the servers after each."""
    servers = await both()
    left = []
    reader, writer = await asyncio.open_connection("127.0.0.1", 80)
    for _ in range(requests):
        writer.write(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        left.append(await until(lambda: sum(established(server) for server in servers) == 0, "no connections", 2))
    writer.close()
    return {"requests": len(left), "longest_seconds": max(left)}


def main(arguments: list[str]) -> int:
    """Do what is asked for, print what came of it."""
    verb, *rest = arguments or [""]
    work: dict[str, Callable[[], Any]] = {
        "serve": serve,
        "roll": lambda: roll(int(rest[0]), "reload" in rest),
        "words": words,
        "outage": outage,
        "keepalive": lambda: keepalive(int(rest[0])),
    }
    if verb not in work:
        print(__doc__, file=sys.stderr)
        return 2
    print(json.dumps(asyncio.run(work[verb]())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
