#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a web address for answers at a fixed rate, and write down what became of every single request.

    tools/load.py http://10.77.10.10/ --rate 120 --seconds 60 --out build/load.jsonl --summary build/load.json

The load is open: requests start by a schedule that was fixed before, so a slow or missing answer does not slow the ones after it. Each has a new
connection and one attempt. A request failed unless its answer had an expected status and came complete.

It ends after --seconds or --count, at SIGINT or SIGTERM, and with --leash when its standard input closes: then it waits for the answers that are
still out, and writes. As a line of JSON per request: {"at": when it was due, in seconds from the start, "late": how much later than that it was
sent, "seconds": until the answer was complete, "status": 200 or null, "error": a word or null, "release": the header X-Release or null}; the
summary is `Summary`.

From Python: `with Load("http://10.77.10.10/", requests=..., summary=...) as load: ...`, afterwards `load.summary["failed"]`.

Exit code 0 when none failed, 1 when some did, 2 when the request makes no sense.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import math
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypedDict
from urllib.parse import urlsplit

from checkout import ROOT

if TYPE_CHECKING:
    from types import TracebackType

    import aiohttp

# A test's own machine and the networks of our throwaway hosts: load on anything else has to be asked for.
ALLOWED = ("127.0.0.0/8", "::1/128", "10.77.0.0/16")
MOST_REQUESTS = 1_000_000
MOST_SECONDS = 3600.0
# More open requests than this mean that nothing answers any more; asking on would only fill the machine with sockets.
MOST_OPEN = 3000
FLUSH_SECONDS = 0.2
# The caller may run on the machine's own Python, which has no aiohttp.
PYTHON = str(ROOT / ".venv" / "bin" / "python3")


class Summary(TypedDict):
    """What became of all requests. Times are of complete answers; null where there was none. `late_ms` is the generator's own worst delay."""

    requests: int
    failed: int
    by_status: dict[str, int]
    by_release: dict[str, int]
    by_error: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    late_ms: float
    rate: float
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What became of one request: see the module's text."""

    at: float
    late: float
    seconds: float
    status: int | None
    error: str | None
    release: str | None


@dataclass(frozen=True)
class Request:
    """What to ask, how often and for how long. `rate` is in requests a second, `seconds` bounds the schedule, `timeout` one answer."""

    url: str
    rate: float = 100.0
    seconds: float = 60.0
    count: int = MOST_REQUESTS
    timeout: float = 10.0
    expected: frozenset[int] = frozenset({200})
    ca: str | None = None
    allowed: tuple[str, ...] = ALLOWED


def refusal(request: Request) -> str | None:
    """Why this load must not be made, or None. Every address that the name resolves to must be allowed."""
    parts = urlsplit(request.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"{request.url!r} is no http or https address"
    if not 0 < request.rate <= 2000:
        return f"a rate of {request.rate:g} requests a second is not between 0 and 2000"
    if not 0 < request.seconds <= MOST_SECONDS or not 0 < request.count <= MOST_REQUESTS:
        return f"give at most {MOST_SECONDS:.0f} seconds and at most {MOST_REQUESTS} requests, and more than none"
    try:
        found = socket.getaddrinfo(parts.hostname, None)
    except OSError as error:
        return f"{parts.hostname} has no address: {error}"
    networks = [ipaddress.ip_network(network) for network in request.allowed]
    for *_rest, address in found:
        if not any(ipaddress.ip_address(address[0]) in network for network in networks):
            return f"{address[0]} is outside {', '.join(request.allowed)}: to put load on it all the same, add --allow with its network"
    return None


def summarise(answers: Sequence[Answer], expected: frozenset[int], seconds: float) -> Summary:
    """Count and rank; a request failed unless it has an expected status and no error."""
    times = sorted(answer.seconds * 1000 for answer in answers if answer.error is None)

    def rank(share: float) -> float | None:
        """Nearest rank: the smallest time that this share of answers did not exceed."""
        return round(times[max(0, math.ceil(share * len(times)) - 1)], 2) if times else None

    return Summary(
        requests=len(answers),
        failed=sum(answer.error is not None or answer.status not in expected for answer in answers),
        by_status=dict(sorted(Counter(str(answer.status) for answer in answers if answer.status is not None).items())),
        by_release=dict(sorted(Counter(answer.release for answer in answers if answer.release is not None).items())),
        by_error=dict(sorted(Counter(answer.error for answer in answers if answer.error is not None).items())),
        p50_ms=rank(0.50),
        p95_ms=rank(0.95),
        p99_ms=rank(0.99),
        max_ms=rank(1.0),
        late_ms=round(max((answer.late for answer in answers), default=0.0) * 1000, 2),
        rate=round(len(answers) / seconds, 1) if seconds > 0 else 0.0,
        seconds=round(seconds, 3),
    )


async def ask(session: aiohttp.ClientSession, request: Request, began: float, at: float) -> Answer:
    """Send one request and read its whole answer."""
    import aiohttp

    sent = time.perf_counter()
    status: int | None = None
    release: str | None = None
    error: str | None = None
    try:
        async with session.get(request.url, allow_redirects=False) as response:
            status, release = response.status, response.headers.get("X-Release")
            await response.read()
    except TimeoutError:
        error = "timeout"
    except (aiohttp.ClientError, OSError) as problem:
        error = type(problem).__name__
    return Answer(round(at, 4), round(sent - began - at, 4), round(time.perf_counter() - sent, 4), status, error, release)


async def generate(request: Request, out: TextIO, stop: asyncio.Event) -> Summary:
    """Follow the schedule until its end or until `stop` is set; write each answer to `out` as it comes."""
    import aiohttp

    answers: list[Answer] = []
    pending: set[asyncio.Task[None]] = set()
    context: ssl.SSLContext | bool = ssl.create_default_context(cafile=request.ca) if request.ca else True
    connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=request.timeout)) as session:
        # aiohttp sends a GET again when the connection broke, which would hide just what is looked for. There is no public switch;
        # a unit test counts the attempts.
        session._retry_connection = False
        began = time.perf_counter()
        flushed = began

        async def one(at: float) -> None:
            nonlocal flushed
            answer = await ask(session, request, began, at)
            answers.append(answer)
            out.write(json.dumps(asdict(answer)) + "\n")
            if time.perf_counter() - flushed > FLUSH_SECONDS:
                out.flush()
                flushed = time.perf_counter()

        for number in range(min(request.count, math.ceil(request.seconds * request.rate))):
            at = number / request.rate
            wait = began + at - time.perf_counter()
            if wait > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
            if stop.is_set():
                break
            if len(pending) >= MOST_OPEN:
                answers.append(Answer(round(at, 4), 0.0, 0.0, None, "too many unanswered", None))
                out.write(json.dumps(asdict(answers[-1])) + "\n")
                await asyncio.sleep(0)
                continue
            task = asyncio.create_task(one(at))
            pending.add(task)
            task.add_done_callback(pending.discard)
        seconds = time.perf_counter() - began
        await asyncio.gather(*pending)
    out.flush()
    return summarise(answers, request.expected, seconds)


async def run(request: Request, out: TextIO, leash: bool = False) -> Summary:
    """Generate, and stop cleanly at SIGINT or SIGTERM; with `leash` also when standard input closes, as it does when the caller dies."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def pulled() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    if leash:
        loop.add_reader(0, pulled)
    return await generate(request, out, stop)


class Load:
    """Load from a process of its own, so that whatever the caller computes does not disturb the schedule.

    `requests` is the file for a line per request, `summary` that for the summary. Leaving the `with` block stops it, and so does the caller's
    death, however it comes.
    """

    def __init__(
        self, url: str, *, requests: Path, summary: Path, rate: float = 100.0, seconds: float = MOST_SECONDS, options: Sequence[str] = ()
    ) -> None:
        self.requests = requests
        self._report = summary
        self._command = [
            sys.executable,
            __file__,
            url,
            f"--rate={rate}",
            f"--seconds={seconds}",
            f"--out={requests}",
            f"--summary={summary}",
            "--leash",
            *options,
        ]
        self._process: subprocess.Popen[str] | None = None
        self._summary: Summary | None = None

    @property
    def summary(self) -> Summary:
        """What became of all requests; stops the load where it still runs."""
        return self.stop()

    def start(self) -> None:
        """Start it, and return when the first answer is there; RuntimeError with its words where it refuses."""
        for folder in (self.requests.parent, self._report.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for old in (self.requests, self._report):
            old.unlink(missing_ok=True)
        # Nothing is ever written to its standard input: the kernel closes that with the caller.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            self.wait_for(1, 30.0)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise

    def sent(self) -> int:
        """How many requests have been answered or have failed so far."""
        with contextlib.suppress(FileNotFoundError), self.requests.open("rb") as lines:
            return sum(1 for _ in lines)
        return 0

    def wait_for(self, requests: int, deadline: float) -> None:
        """Return when so many requests have been answered; RuntimeError after `deadline` seconds, or when it has ended."""
        until = time.monotonic() + deadline
        while self.sent() < requests:
            process = self._started()
            if process.poll() is not None and self.sent() < requests:
                words = process.stderr.read().strip() if process.stderr else ""
                raise RuntimeError(f"the load ended after {self.sent()} requests: {words}")
            if time.monotonic() > until:
                raise RuntimeError(f"{self.sent()} requests after {deadline:g} s, expected {requests}")
            time.sleep(0.05)

    def stop(self) -> Summary:
        """End the schedule, wait for the answers that are out, and return the summary; a second call returns the same."""
        if self._summary is None:
            process = self._started()
            if process.poll() is None:
                process.terminate()
            _out, words = process.communicate()
            if not self._report.exists():
                raise RuntimeError(f"the load ended without a summary: {words}")
            self._summary = json.loads(self._report.read_text(encoding="utf-8"))
        return self._summary

    def failures(self, most: int = 20) -> list[Answer]:
        """The first requests that failed, as evidence; only statuses of the 200s count as expected here."""
        found: list[Answer] = []
        with self.requests.open(encoding="utf-8") as lines:
            for line in lines:
                answer = Answer(**json.loads(line))
                if answer.error is not None or answer.status is None or answer.status // 100 != 2:
                    found.append(answer)
                    if len(found) == most:
                        break
        return found

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the load was not started")
        return self._process

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(RuntimeError):
            self.stop()


def parse(arguments: Sequence[str]) -> tuple[Request, Path, Path | None, bool]:
    """The command line as a request, the file for answers, the file for the summary, and whether it is on a leash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=Request.rate, help="requests a second (default %(default)g)")
    parser.add_argument("--seconds", type=float, default=Request.seconds, help="for how long (default %(default)g)")
    parser.add_argument("--count", type=int, default=Request.count, help="and at most so many requests")
    parser.add_argument("--timeout", type=float, default=Request.timeout, help="seconds for one answer (default %(default)g)")
    parser.add_argument("--expect", type=int, action="append", help="a status that is no failure (default 200; may be repeated)")
    parser.add_argument("--ca", help="file with the certificate authority of an https address")
    parser.add_argument("--allow", action="append", default=[], help=f"a network besides {', '.join(ALLOWED)}")
    parser.add_argument("--out", type=Path, default=Path(os.devnull), help="file for a line of JSON per request")
    parser.add_argument("--summary", type=Path, help="file for the summary, which is also printed")
    parser.add_argument("--leash", action="store_true", help="end when standard input, a pipe from the caller, closes")
    given = parser.parse_args(arguments)
    request = Request(
        url=given.url,
        rate=given.rate,
        seconds=given.seconds,
        count=given.count,
        timeout=given.timeout,
        expected=frozenset(given.expect or Request.expected),
        ca=given.ca,
        allowed=(*ALLOWED, *given.allow),
    )
    return request, given.out, given.summary, given.leash


def prefer_this_process() -> None:
    """Keep the schedule on a machine that has more to do than it can (root only), and have a socket for every open request."""
    with contextlib.suppress(OSError):
        os.nice(-10)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: Sequence[str]) -> int:
    """Check, generate, write; see the module's text for the exit code."""
    request, out, report, leash = parse(arguments)
    refused = refusal(request)
    if refused:
        print(f"tools/load.py: {refused}", file=sys.stderr)
        return 2
    prefer_this_process()
    with out.open("w", encoding="utf-8") as lines:
        summary = asyncio.run(run(request, lines, leash))
    text = json.dumps(summary, indent=1) + "\n"
    if report:
        beside = report.with_name(report.name + ".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(report)
    print(text, end="")
    return 1 if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
