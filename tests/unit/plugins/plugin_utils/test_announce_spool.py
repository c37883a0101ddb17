"""What is announced waits in files, is sent in order by a process of its own, and what cannot be sent is written down and told once."""

from __future__ import annotations

import http.server
import json
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import announce_spool as spool
from hypothesis import given, settings
from hypothesis import strategies as st


def told(line: str) -> dict[str, str]:
    return {"run": "run-1", "event": "deployed", "line": line}


@contextmanager
def receiver() -> Iterator[tuple[str, list[str]]]:
    """A service that takes what it is sent; its address and what it got."""
    got: list[str] = []

    class Take(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["message"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Take)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hanging() -> Iterator[str]:
    """A service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"irc://robot@127.0.0.1:{server.getsockname()[1]}/#ops"


def test_what_waits_is_for_its_account_only_and_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "announce"
    queues = {spool.put(folder, "ops", "json://x:hunter2@y", told(f"line {number}")) for number in range(3)}
    (queue,) = queues
    assert [json.loads(path.read_text())["line"] for path in spool.waiting(queue)] == ["line 0", "line 1", "line 2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in spool.waiting(queue)} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, queue.parent, queue)} == {0o700}
    assert list(queue.glob(".*")) == []


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.lists(st.integers(-5, 5), min_size=1))
def test_each_target_gets_its_lines_in_order_whatever_the_clock_does(targets: list[int], steps: list[int]) -> None:
    sent: dict[str, list[str]] = {}

    def send(to: str, lines: list[str], _deadline: float, _pause: float) -> str:
        sent.setdefault(to, []).extend(lines)
        return ""

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        clock = iter(10**18 + sum(steps[: number % len(steps)]) for number in range(1000))
        patch.setattr("time.time_ns", lambda: next(clock))
        patch.setattr(spool, "_send", send)
        queues = {spool.put(Path(name), "x", f"json://{target}", told(str(number))) for number, target in enumerate(targets)}
        for queue in queues:
            spool.drain(queue)
        assert [path for queue in queues for path in spool.waiting(queue)] == []
    wanted: dict[str, list[str]] = {}
    for number, target in enumerate(targets):
        wanted.setdefault(f"json://{target}", []).append(str(number))
    assert sent == wanted


def test_a_service_gets_what_waits(tmp_path: Path) -> None:
    with receiver() as (to, got):
        (queue,) = {spool.put(tmp_path, "hook", to, told(line)) for line in ("one", "two")}
        spool.drain(queue, deadline=30)
    assert "\n".join(got) == "one\ntwo"
    assert spool.waiting(queue) == []
    assert spool.untold(tmp_path) == []


def test_a_service_that_hangs_delays_no_writer_and_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with hanging() as to:
        began = time.monotonic()
        queue = spool.put(tmp_path, "ops", to, told("one"))
        spool.send_beside(queue)
        spool.put(tmp_path, "ops", to, told("two"))
        assert time.monotonic() - began < 15, "a writer waited for the process that has it for 30 s"
        # This one, of a queue of its own, gives up after one second.
        other = spool.put(tmp_path, "other", to, told("three"))
        began = time.monotonic()
        spool.drain(other, deadline=1.0)
        assert 1.0 <= time.monotonic() - began < 15
    assert spool.waiting(other) == []
    assert spool.untold(tmp_path) == ["not sent to other, the service did not answer within 1 s: three"]
    assert spool.untold(tmp_path) == []
    assert "irc://" not in (tmp_path / "unsent.jsonl").read_text()


def test_a_service_that_is_not_there_is_tried_twice_and_written_down(tmp_path: Path) -> None:
    queue = spool.put(tmp_path, "ops", "json://127.0.0.1:9/", told("one"))
    spool.drain(queue, deadline=30, pause=0.01)
    assert spool.untold(tmp_path) == ["not sent to ops, the service could not be reached or did not take it (twice tried): one"]


def test_old_news_and_damaged_files_are_written_down_instead(tmp_path: Path) -> None:
    queue = spool.put(tmp_path, "ops", "json://127.0.0.1:9/", told("old"))
    (queue / "00000000000000000001-x.json").write_text("{")
    spool.drain(queue, stale=-1)
    assert spool.untold(tmp_path) == [
        "not sent to a target, its file is damaged: 00000000000000000001-x.json",
        "not sent to ops, it lay there for more than -1 s: old",
    ]


def test_one_process_sends_and_another_one_leaves_it_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = spool.put(tmp_path, "ops", "json://x", told("one"))
    monkeypatch.setattr(spool, "_send", lambda *_: pytest.fail("two processes send"))
    with spool._locked(queue / "lock") as had:
        assert had
        spool.drain(queue)
    assert len(spool.waiting(queue)) == 1


def test_a_torn_record_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "unsent.jsonl").write_text('{"label": "a", "wh')
    spool.write_down(tmp_path, [{"label": "b", "why": "because", "line": "one"}])
    assert spool.untold(tmp_path) == ["not sent: a line of unsent.jsonl is damaged", "not sent to b, because: one"]


def test_apprise_says_which_addresses_it_can_read() -> None:
    assert spool.readable(["ircs://robot@irc.example/#ops", "nonsense://hunter2", "slack://a"]) == [True, False, False]


def test_without_apprise_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ImportError, match="apprise"):
        spool.readable(["x"])
