# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load generator tells the truth: one attempt each, on time whatever the answers do, every failure seen."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import load
import pytest
from hypothesis import given
from hypothesis import strategies as st
from load import Answer, Load, Request, refusal, summarise

COMPLETE = b"HTTP/1.1 200 OK\r\nX-Release: 1.0.0-abcd\r\nContent-Length: 2\r\n\r\nok"
Respond = Callable[[socket.socket, int], None]


class Server(socketserver.ThreadingTCPServer):
    """A web server whose every answer is a function's doing; counts connections."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 200

    def __init__(self, respond: Respond) -> None:
        self.connections = 0
        self.asked = 0
        self.respond = respond
        self.counting = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(socketserver.BaseRequestHandler):
    """Reads requests until the peer closes, and counts them."""

    server: Server

    def handle(self) -> None:
        with self.server.counting:
            self.server.connections += 1
        received = b""
        while chunk := self.request.recv(4096):
            received += chunk
            if b"\r\n\r\n" in received:
                received = b""
                with self.server.counting:
                    self.server.asked += 1
                    number = self.server.asked
                self.server.respond(self.request, number)
                return


@pytest.fixture
def serve() -> Iterator[Callable[[Respond], Server]]:
    started: list[Server] = []

    def start(respond: Respond) -> Server:
        server = Server(respond)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def good(connection: socket.socket, _number: int) -> None:
    connection.sendall(COMPLETE)


def ran(url: str, folder: Path, *options: str) -> tuple[load.Summary, list[Answer]]:
    """Run the command to its end."""
    command = [sys.executable, load.__file__, url, f"--out={folder}/out", f"--summary={folder}/summary", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    summary: load.Summary = json.loads((folder / "summary").read_text())
    assert done.returncode == (1 if summary["failed"] else 0), done.stderr
    return summary, [Answer(**json.loads(line)) for line in (folder / "out").read_text().splitlines()]


def test_every_request_is_counted_with_its_release_and_has_a_connection_of_its_own(serve: Callable[[Respond], Server], tmp_path: Path) -> None:
    server = serve(good)
    summary, answers = ran(server.url, tmp_path, "--rate=200", "--count=60")
    assert (summary["requests"], summary["failed"]) == (60, 0)
    assert summary["by_status"] == {"200": 60}
    assert summary["by_release"] == {"1.0.0-abcd": 60}
    assert server.connections == 60
    assert [answer.at for answer in sorted(answers, key=lambda answer: answer.at)] == [round(n / 200, 4) for n in range(60)]


def test_a_slow_answer_does_not_slow_the_schedule(serve: Callable[[Respond], Server], tmp_path: Path) -> None:
    """The first five are answered only once all others are: a schedule that waits for answers would never come to these."""
    others_answered = threading.Event()

    def stuck_at_first(connection: socket.socket, number: int) -> None:
        if number <= 5:
            others_answered.wait(20)
        connection.sendall(COMPLETE)
        if number == 50:
            others_answered.set()

    server = serve(stuck_at_first)
    summary, answers = ran(server.url, tmp_path, "--rate=50", "--seconds=1", "--timeout=30")
    assert (summary["requests"], summary["failed"]) == (50, 0)
    assert others_answered.is_set()
    assert max(answer.seconds for answer in answers) < 20


@pytest.mark.parametrize(
    ("respond", "error", "status"),
    [
        (lambda connection, _: connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), None, 503),
        (lambda connection, _: connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), None, 302),
        (lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"), "ClientPayloadError", 200),
        (lambda connection, _: None, "ServerDisconnectedError", None),
        (lambda connection, _: connection.sendall(b"nonsense\r\n\r\n"), "ClientResponseError", None),
    ],
    ids=["bad status", "redirect", "half a body", "hung up", "no http"],
)
def test_what_is_not_a_whole_expected_answer_failed_and_is_not_tried_again(
    serve: Callable[[Respond], Server], tmp_path: Path, respond: Respond, error: str | None, status: int | None
) -> None:
    server = serve(respond)
    summary, answers = ran(server.url, tmp_path, "--rate=100", "--count=10")
    assert (summary["requests"], summary["failed"]) == (10, 10)
    assert {(answer.error, answer.status) for answer in answers} == {(error, status)}
    assert server.asked == 10


def test_another_status_may_be_expected(serve: Callable[[Respond], Server], tmp_path: Path) -> None:
    server = serve(lambda connection, _: connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))
    assert ran(server.url, tmp_path, "--count=3", "--expect=404")[0]["failed"] == 0


def test_an_answer_that_never_comes_is_a_timeout(serve: Callable[[Respond], Server], tmp_path: Path) -> None:
    over = threading.Event()

    def silent(_connection: socket.socket, _number: int) -> None:
        over.wait(5)

    server = serve(silent)
    summary, _answers = ran(server.url, tmp_path, "--count=2", "--timeout=0.3")
    over.set()
    assert summary["by_error"] == {"timeout": 2}


def test_nobody_listening_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        summary, _answers = ran(f"http://127.0.0.1:{closed.getsockname()[1]}/", tmp_path, "--count=3")
    assert (summary["failed"], summary["p50_ms"]) == (3, None)


def test_from_python_it_is_stopped_early_and_still_writes(serve: Callable[[Respond], Server], tmp_path: Path) -> None:
    server = serve(lambda connection, number: connection.sendall(COMPLETE if number != 3 else b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"))
    with Load(server.url, requests=tmp_path / "requests", summary=tmp_path / "summary", rate=100) as generator:
        generator.wait_for(20, 20)
        summary = generator.summary
    assert summary["requests"] >= 20
    assert summary["failed"] == 1
    assert [answer.status for answer in generator.failures()] == [500]
    assert summary["requests"] == server.asked == generator.sent()


STARTS_A_LOAD = """
import pathlib, sys, time
from load import Load

folder = pathlib.Path(sys.argv[2])
load = Load(sys.argv[1], rate=50, requests=folder / "requests.jsonl", summary=folder / "summary.json")
load.start()
print("started", flush=True)
time.sleep(600)
"""


def test_a_load_ends_when_whoever_started_it_is_killed(serve: Callable[[Respond], Server], tmp_path: Path) -> None:
    server = serve(lambda connection, _number: connection.sendall(COMPLETE))
    argv = [sys.executable, "-c", STARTS_A_LOAD, server.url, str(tmp_path)]
    with subprocess.Popen(argv, cwd=Path(load.__file__).parent, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout
        assert caller.stdout.readline() == "started\n"
        caller.kill()
    deadline = time.monotonic() + 20
    while not (tmp_path / "summary.json").exists():
        assert time.monotonic() < deadline, "the load runs on without its caller"
        time.sleep(0.05)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["failed"] == 0 < summary["requests"], summary


def test_from_python_a_refusal_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"192\.0\.2\.1 is outside"):
        Load("http://192.0.2.1/", requests=tmp_path / "requests", summary=tmp_path / "summary").start()


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request("http://127.0.0.1/"), None),
        (Request("http://[::1]:8000/"), None),
        (Request("http://10.77.255.1/"), None),
        (Request("http://10.78.0.1/"), "10.78.0.1 is outside"),
        (Request("http://192.0.2.1/", allowed=(*load.ALLOWED, "192.0.2.0/24")), None),
        (Request("ftp://127.0.0.1/"), "no http"),
        (Request("http://127.0.0.1/", rate=0), "a rate of 0"),
        (Request("http://127.0.0.1/", rate=1e6), "a rate of 1e"),
        (Request("http://127.0.0.1/", seconds=1e6), "at most"),
        (Request("http://127.0.0.1/", count=0), "at most"),
    ],
)
def test_load_goes_only_where_and_as_much_as_it_may(request_: Request, told: str | None) -> None:
    found = refusal(request_)
    assert found is None if told is None else told in (found or "")


@given(st.lists(st.floats(0.0001, 10), min_size=1), st.integers(0, 5))
def test_ranks_are_ordered_and_failures_without_an_answer_have_no_time(seconds: list[float], broken: int) -> None:
    answers = [Answer(0, 0, time, 200, None, None) for time in seconds] + [Answer(0, 0, 99, None, "timeout", None)] * broken
    summary = summarise(answers, frozenset({200}), 1.0)
    ranks = [summary["p50_ms"], summary["p95_ms"], summary["p99_ms"], summary["max_ms"]]
    assert ranks == sorted(rank for rank in ranks if rank is not None)
    assert summary["max_ms"] == round(max(seconds) * 1000, 2)
    assert (summary["requests"], summary["failed"]) == (len(seconds) + broken, broken)
