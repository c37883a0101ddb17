# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What demo, bench and sanity compute around the commands they run."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench
import demo
import phases
import pytest
import sanity
from load import Summary
from phases import Phase, PhaseError, Phases, table


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phases:
    """Phases with their logs in a folder of the test's own."""
    monkeypatch.setattr(phases, "LOGS", tmp_path)
    monkeypatch.setattr(phases, "ROOT", tmp_path)
    return Phases("test")


def test_a_phase_notes_when_each_play_began_and_keeps_the_output(
    running: Phases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second play begins some time after the first one was noted, however slow the machine is."""

    class Plays(list[tuple[str, float]]):
        def append(self, play: tuple[str, float]) -> None:
            super().append(play)
            (tmp_path / "noted").touch()

    monkeypatch.setattr(phases, "Phase", lambda name: Phase(name, plays=Plays()))
    wait = f"for i in $(seq 1000); do [ -e '{tmp_path}/noted' ] && break; sleep 0.02; done; sleep 0.3"
    script = f"echo 'PLAY [Plan - choose] ***'; {wait}; echo 'TASK [x : Ask] ***'; echo 'PLAY [Roll - switch] ***'"
    phase = running.run("deploy 1.0.0", ["sh", "-c", script])
    assert [name for name, _seconds in phase.plays] == ["Plan - choose", "Roll - switch"]
    assert 0.25 < phase.plays[1][1] - phase.plays[0][1] <= phase.seconds
    assert "TASK [x : Ask]" in (tmp_path / "test-deploy-1.0.0.log").read_text()
    assert "deploy 1.0.0 ..." in capsys.readouterr().out
    assert running.done == [phase]


def test_a_phase_that_fails_shows_the_end_of_its_output(running: Phases, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PhaseError):
        running.run("site", ["sh", "-c", "echo the cause; exit 3"])
    shown = capsys.readouterr().err
    assert "the cause" in shown
    assert "site failed with exit code 3; all of its output: test-site.log" in shown
    assert running.done == []


@pytest.fixture
def terminable() -> Iterator[None]:
    """SIGTERM as demo and bench take it, and as it was afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    phases.end_cleanly()
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_phase_that_is_terminated_ends_with_all_that_it_has_started(running: Phases, tmp_path: Path, terminable: None) -> None:
    mark = tmp_path / "pids"

    def terminate() -> None:
        deadline = time.monotonic() + 20
        while len(mark.read_text().split() if mark.exists() else ()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    # A shell's job in the background ignores an interrupt; what Ansible starts does not.
    script = "import os, subprocess; child = subprocess.Popen(['sleep', '600']); "
    script += f"print(os.getpid(), child.pid, file=open({str(mark)!r}, 'w')); child.wait()"
    threading.Thread(target=terminate).start()
    with pytest.raises(KeyboardInterrupt):
        running.run("deploy", [sys.executable, "-c", script])
    for pid in mark.read_text().split():
        status = Path("/proc", pid, "status")
        assert not status.exists() or "zombie" in status.read_text()
    assert running.done == []


def test_a_table_has_columns() -> None:
    assert table([("", "seconds"), ("lab", "1.0"), ("provision", "12.0")]) == "           seconds\nlab            1.0\nprovision     12.0"


def test_plays_of_the_same_kind_are_added_up() -> None:
    plays = [("Plan - a", 0.5), ("Stage - b", 1.0), ("Roll - c", 1.5), ("Roll - c", 2.5), ("Report - d", 4.0)]
    parts = bench.parts_of(Phase("deploy", 4.5, plays))
    assert parts == {"start": 0.5, "plan": 0.5, "stage": 0.5, "roll": 2.5, "report": 0.5}
    assert sum(parts.values()) == 4.5


def test_medians_are_taken_part_by_part() -> None:
    assert bench.medians([{"roll": 1.0}, {"roll": 9.0}, {"roll": 2.0}]) == {"roll": 2.0}


@pytest.mark.parametrize("script", [bench.STAGE, bench.ROLL], ids=["stage", "roll"])
def test_scripts_of_the_raw_loop_are_clean(script: str) -> None:
    command = ["shellcheck", "--shell=bash", "--exclude=SC2154", "-"]  # their variables come from the environment
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_settings_of_pip_are_handed_on_and_the_environment_counts_most() -> None:
    listing = "global.cert='/file.crt'\nglobal.extra-index-url='file:///a file:///b'\ninstall.no-deps='1'\n:env:.cert='/environment.crt'\n"
    parser = configparser.ConfigParser()
    parser.read_string(sanity.pip_settings(listing))
    assert dict(parser["global"]) == {"cert": "/environment.crt", "extra-index-url": "file:///a file:///b"}
    assert dict(parser["install"]) == {"no-deps": "1"}
    assert sanity.pip_settings("") == "[global]\n"


def test_the_bootstrap_of_pip_is_named_as_ansible_test_asks_for_it() -> None:
    assert len(sanity.pip_versions()) >= 1


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one role, and a lab of two machines, in a folder of the test's own."""
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "main.yml").write_text("one")
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "PROVISIONED", tmp_path / "provisioned")
    monkeypatch.setattr(demo, "machines", lambda: "a b")
    return tmp_path


def test_a_second_demonstration_provisions_only_what_has_changed(lab: Path, running: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[str] = []
    monkeypatch.setattr(running, "run", lambda name, _command: typed.append(name))
    known = {"app": {"hosts": ["app1"]}}

    def provisions() -> bool:
        typed.clear()
        demo.provision(running, known)
        return typed == ["provision"]

    assert [provisions(), provisions()] == [True, False]
    (lab / "roles" / "main.yml").write_text("two")
    assert [provisions(), provisions()] == [True, False]
    monkeypatch.setattr(demo, "machines", lambda: "a c")
    assert [provisions(), provisions()] == [True, False]
    known["app"]["hosts"].append("app2")
    assert [provisions(), provisions()] == [True, False]


SENT_WELL: Summary = {
    "requests": 2764,
    "failed": 0,
    "by_status": {"200": 2764},
    "by_release": {"1.0.0": 1200, "1.1.0": 1564},
    "by_error": {},
    "p50_ms": 1.0,
    "p95_ms": 2.0,
    "p99_ms": 3.0,
    "max_ms": 4.0,
    "late_ms": 1.0,
    "rate": 119.8,
    "seconds": 23.0,
}
TOLD_BY_HOSTS = """app1 | CHANGED | rc=0 >>
{"live": "1.1.0-aaaaaaaa", "bad": {"1.0.0-bbbbbbbb": {"by": "ada"}}}

app2 | UNREACHABLE! => {
{"live": null, "bad": {}}
"""
TOLD_BY_A_BALANCER = """lb1 | CHANGED | rc=0 >>
# pxname,svname,qcur,wretr,wredis,status,
storefront,FRONTEND,,,,OPEN,
storefront,app1,0,{retries},0,UP,
storefront,BACKEND,0,{retries},1,UP,

"""


def test_a_demonstration_says_what_fell_short() -> None:
    assert demo.shortfalls(SENT_WELL, 0) == {}
    low: Summary = {**SENT_WELL, "requests": 1999, "failed": 2, "rate": 99.9, "by_release": {"1.0.0": 1999}}
    assert set(demo.shortfalls(low, 3)) == {demo.SENT, "requests failed", "requests a second", "requests tried again", "releases that answered"}
    assert "only 99.9 requests a second were sent, expected 100" in demo.shortfalls(low, 0)["requests a second"]
    assert set(demo.shortfalls(SENT_WELL, None)) == {"requests tried again"}


def test_a_demonstration_that_fell_short_says_so_in_its_table(running: Phases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(demo, "BUILD", tmp_path)
    assert demo.report(running, [], {**SENT_WELL, "rate": 80.0}, 0, "http://10.77.10.10/", "http://10.77.10.20:8088/") == 1
    said = capsys.readouterr()
    assert re.search(r"^requests a second +FELL SHORT: 80$", said.out, re.MULTILINE)
    assert re.search(r"^requests failed +0$", said.out, re.MULTILINE)
    assert "expected 100" in said.err
    assert demo.report(running, [], SENT_WELL, 0, "http://10.77.10.10/", "http://10.77.10.20:8088/") == 0
    assert "FELL SHORT" not in capsys.readouterr().out


def test_a_version_is_forced_only_where_a_host_has_marked_it_bad(running: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[list[str]] = []
    monkeypatch.setattr(demo, "ask", lambda _hosts, _command: TOLD_BY_HOSTS)

    def note(name: str, command: list[str]) -> Phase:
        typed.append(command)
        return Phase(name)

    monkeypatch.setattr(running, "run", note)
    for version in ("1.0.0", "1.1.0"):
        demo.deploy(running, version)
    assert [any(word.startswith("force=") for word in command) for command in typed] == [True, False]
    assert demo.bad_versions("app1 | FAILED | rc=2 >>\npython3: can't open file\n") == set()


def test_what_load_balancers_tried_again_is_added_up() -> None:
    assert demo.tried_again(TOLD_BY_A_BALANCER.format(retries=0) + TOLD_BY_A_BALANCER.format(retries=2)) == 6
    assert demo.tried_again("lb1 | UNREACHABLE! => {\n}\n") is None


def test_a_lab_with_another_storefront_under_the_same_version_is_told_what_to_type() -> None:
    said = "/x/artifacts/storefront/1.0.0 already\n    holds storefront 1.0.0 with the sha256 0a1b"
    assert demo.what_next(PhaseError("build 1.0.0", said)).endswith("a version is built once in each lab. From nothing: make lab-down demo")
    assert demo.what_next(PhaseError("provision", "no route")).startswith("After mending the cause: make demo.")


def test_a_provisioning_that_failed_is_done_again(lab: Path, running: Phases, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, _command: list[str]) -> None:
        raise PhaseError(name)

    monkeypatch.setattr(running, "run", fails)
    for _ in range(2):
        with pytest.raises(PhaseError):
            demo.provision(running, {})
    assert not (lab / "provisioned").exists()
