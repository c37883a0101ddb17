# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurement of switches makes of what it has seen, and the program that sees it, here with an application of the test's own."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import flag_bench
import pytest
from flag_bench import BenchError, Run, Told, Watcher


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    publish(path, 1, False)
    return path


def publish(path: Path, generation: int, value: bool) -> None:
    """Put a line in place as hosts do: beside, with a later time, then by rename."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps({"value": value, "metadata": {"generation": generation}}))
    later = max(beside.stat().st_mtime_ns, before + 1)
    os.utime(beside, ns=(later, later))
    beside.rename(path)


@pytest.fixture
def application(flags: Path) -> Iterator[int]:
    """The port of something that answers as the storefront does, with what lies in the file."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = json.loads(flags.read_text())
            told = {"generation": found["metadata"]["generation"], "flags": {"checkout": {"value": found["value"]}}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def watcher(flags: Path, port: int) -> Watcher:
    return Watcher("app1", [sys.executable, "-c", flag_bench.WATCH, str(flags), str(port), "checkout"])


def test_a_watcher_tells_when_the_application_answers_with_something_else(flags: Path, application: int) -> None:
    watching = watcher(flags, application)
    try:
        first = watching.after(0, time.monotonic() + 20)
        assert first is not None
        assert (first.generation, first.value) == (1, False)
        before = time.monotonic()
        publish(flags, 2, True)
        told = watching.after(1, time.monotonic() + 20)
        assert told is not None
        assert (told.generation, told.value, before < told.at < time.monotonic()) == (2, True, True)
        assert watching.after(2, time.monotonic()) is None
    finally:
        watching.stop()
    assert watching.process.returncode == 0


def test_without_an_application_it_tells_what_lies_in_the_file(flags: Path) -> None:
    watching = watcher(flags, 0)
    try:
        publish(flags, 4, True)
        told = watching.after(3, time.monotonic() + 20)
        assert told is not None
        assert (told.generation, told.value) == (4, None)
    finally:
        watching.stop()


def test_a_watcher_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    watching = watcher(tmp_path / "flags.json", 0)
    with pytest.raises(BenchError, match=r"app1: the program that watches it has ended: FileNotFoundError: .*flags\.json"):
        watching.after(0, time.monotonic() + 20)
    watching.stop()


class Heard:
    """A watcher that has told something already."""

    def __init__(self, name: str, told: Told | None) -> None:
        self.name = name
        self.told = told

    def after(self, _generation: int, _until: float) -> Told | None:
        return self.told


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (None, "app1 has told nothing"),
        (Told(-500.0, 3, True), "app1 has another clock"),
        (Told(0.0, 4, True), "hosts differ before the first run"),
        (Told(0.0, 3, False), "hosts differ before the first run"),
    ],
)
def test_hosts_that_do_not_begin_alike_are_not_measured(told: Told | None, said: str) -> None:
    now = time.monotonic()
    others = [Heard("ops1", Told(now, 3, None)), Heard("app2", Told(now, 3, True))]
    one = Heard("app1", told._replace(at=now + told.at) if told else None)
    with pytest.raises(BenchError, match=said):
        flag_bench.alike([*others, one])  # type: ignore[list-item]  # one that told nothing is what is refused
    assert flag_bench.alike(others).value is True  # type: ignore[arg-type]  # all of these told something


def test_a_host_whose_application_keeps_the_old_value_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flag_bench, "typed", lambda *_given: (100.0, 0.5, 2.0))
    hosts = [Heard("app1", Told(101.5, 8, True)), Heard("app2", Told(101.0, 8, False)), Heard("app3", None), Heard("app4", Told(101.25, 8, True))]
    ops = Heard("ops1", Told(101.0, 8, None))
    run, generation = flag_bench.switch("on", 7, ops, hosts, "", tmp_path, tmp_path / "log")  # type: ignore[arg-type]  # all of these told something
    assert (run, generation) == (Run(0.5, 1.0, 1.25, 1.5, 2.0, ("app2", "app3")), 8)


COMMAND = """\
#!/bin/sh
[ -t 1 ] && [ "$TERM" = xterm-256color ] && echo "a terminal: $*, callback ${ANSIBLE_STDOUT_CALLBACK:-as configured}"
sleep 0.2
python3 -c 'import datetime as d, json; print(json.dumps({"began": d.datetime.now(d.UTC).isoformat()}))' >"$TOSSABLE_REPORT_FOLDER/one.json"
sleep 0.2
exit 0
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for ansible-playbook, which ends well."""
    program = tmp_path / "ansible-playbook"
    program.write_text(COMMAND)
    program.chmod(0o755)
    (tmp_path / "reports").mkdir()
    given = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSIBLE_STDOUT_CALLBACK": "for tests"}
    monkeypatch.setattr(flag_bench, "environment", lambda: given)
    monkeypatch.setattr(flag_bench, "ROOT", tmp_path)
    return tmp_path


def test_the_command_is_typed_on_a_terminal_and_its_report_tells_when_ansible_had_started(command: Path) -> None:
    before = time.monotonic()
    entered, started, ended = flag_bench.typed("on", "cp", command / "reports", command / "log")
    assert before <= entered < time.monotonic()
    assert 0.2 <= started <= ended - 0.2
    words = "playbooks/flag.yml -e flag=checkout -e state=on, callback as configured"
    assert (command / "log").read_text().strip() == f"a terminal: -i {flag_bench.LAB.inventory} {words}"


def test_a_command_that_fails_is_told_with_what_it_printed(command: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (command / "ansible-playbook").write_text(COMMAND.replace("exit 0", "exit 2"))
    with pytest.raises(BenchError, match="ended with exit code 2; all of its output: log"):
        flag_bench.typed("off", "cp", command / "reports", command / "log")
    assert "a terminal: " in capsys.readouterr().err


def test_what_the_time_went_to_adds_up_and_the_cold_run_is_apart() -> None:
    warm = [Run(0.5, 0.75, 1.0, last, 3.0) for last in (1.25, 2.0, 1.5)]
    found = flag_bench.figures(Run(0.5, 1.5, 2.0, 4.0, 5.0), warm, 20)
    assert (found["runs"], found["median"], found["worst"], found["cold"]) == (3, 1.5, 2.0, 4.0)
    assert found["median_parts"] == {"start": 0.5, "decision": 0.25, "hosts": 0.75, "all": 1.5, "command": 3.0}
    assert found["cold_parts"]["hosts"] == 2.5
    lines = flag_bench.shown(found).splitlines()
    assert len(lines) == 6
    assert "from Enter to the last application" in lines[4]
