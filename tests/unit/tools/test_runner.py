# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test runner is never green by mistake: it counts what ran, and what did not run is a failure."""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
from checkout import ONLY_BY_NAME, ROOT, SECOND_LOOK, default_scenarios, scenarios

JUNIT = "<testsuites><testsuite>{}</testsuite></testsuites>"
GOOD, BAD, BROKEN, SKIPPED = (
    "<testcase name='a'/>",
    "<testcase name='b'><failure>x</failure></testcase>",
    "<testcase name='c'><error>x</error></testcase>",
    "<testcase name='d'><skipped/></testcase>",
)


def load_runner() -> Any:
    """The script as a module; it has no .py at its end."""
    loader = SourceFileLoader("runner", str(ROOT / "tools" / "test"))
    spec = importlib.util.spec_from_loader("runner", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["runner"] = module
    loader.exec_module(module)
    return module


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The runner with logs of its own and one suite, `unit`, that says what its log's name says."""
    module = load_runner()
    monkeypatch.setattr(module, "LOGS", tmp_path)
    monkeypatch.setattr(module, "MINIMUM", dict.fromkeys(module.MINIMUM, 1))
    # The run that this test is part of may be a long one.
    monkeypatch.delenv("LONG", raising=False)
    return module


def suite(runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Have `unit` run a shell script that may write the JUnit file $1."""
    report = tmp_path / "unit.xml"

    def stand_in(made: Any, _only: list[str]) -> Any:
        code, output = made.run("unit", "script", ["sh", "-c", script, "sh", str(report)])
        return runner.judged("unit", code, output, runner.read_junit([report]))

    monkeypatch.setitem(runner.SUITES, "unit", stand_in)


@pytest.mark.parametrize(
    ("cases", "exit_code", "closing"),
    [
        (GOOD * 3, 0, "3 passed, 0 failed"),
        (GOOD + BAD + BROKEN, 1, "1 passed, 2 failed"),
        (GOOD * 2 + SKIPPED, 0, "2 passed, 0 failed"),
        (GOOD, 1, "1 passed, 1 failed"),
        ("", 0, "0 passed, 1 failed"),
        (SKIPPED, 0, "0 passed, 1 failed"),
    ],
    ids=["green", "red", "a skip is no pass", "exit code alone", "saw nothing", "skipped all"],
)
def test_the_last_line_and_the_exit_code_tell_the_truth(
    runner: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cases: str,
    exit_code: int,
    closing: str,
) -> None:
    suite(runner, monkeypatch, tmp_path, f'echo "evidence of it"; echo "{JUNIT.format(cases)}" >"$1"; exit {exit_code}')
    code = runner.main(["unit"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == closing
    assert f" {len([line for line in shown if line.startswith('FAILED unit')])} failed" in closing
    assert code == (0 if closing.endswith(" 0 failed") else 1)
    assert ("evidence of it" in shown) is bool(exit_code)
    assert "evidence of it" in (tmp_path / "unit.log").read_text()


@pytest.mark.parametrize("script", ["exit 0", 'echo "<testsuites>" >"$1"'])
def test_a_report_that_is_missing_or_broken_is_a_failure(
    runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    suite(runner, monkeypatch, tmp_path, script)
    assert runner.main(["unit"]) == 1
    assert capsys.readouterr().out.endswith("\n0 passed, 1 failed\n")


def test_fewer_tests_than_there_were_are_a_failure(
    runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(runner.MINIMUM, "unit", 5)
    suite(runner, monkeypatch, tmp_path, f'echo "{JUNIT.format(GOOD * 4)}" >"$1"')
    assert runner.main(["unit"]) == 1
    assert "4 tests ran, expected at least 5" in capsys.readouterr().out


def test_a_long_run_is_held_to_more(runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runner, "MINIMUM_LONG", runner.MINIMUM | {"unit": 5})
    suite(runner, monkeypatch, tmp_path, f'echo "{JUNIT.format(GOOD * 4)}" >"$1"')
    assert runner.main(["unit"]) == 0
    monkeypatch.setenv("LONG", "1")
    assert runner.main(["unit"]) == 1
    assert "4 tests ran, expected at least 5" in capsys.readouterr().out


@pytest.mark.parametrize("long", ["", "1"])
@pytest.mark.parametrize(("cases", "closing"), [("", "0 passed, 1 failed"), (SKIPPED, "0 passed, 1 failed"), (GOOD, "1 passed, 0 failed")])
def test_a_part_that_was_named_and_saw_nothing_is_a_failure(
    runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: str, closing: str, long: str
) -> None:
    monkeypatch.setenv("LONG", long)
    monkeypatch.setitem(runner.MINIMUM, "unit", 5)
    suite(runner, monkeypatch, tmp_path, f'echo "{JUNIT.format(cases)}" >"$1"')
    assert runner.main(["unit", "tests/unit/test_one.py", "-k", "one"]) == (cases != GOOD)
    shown = capsys.readouterr().out
    assert shown.endswith(f"\n{closing}\n")
    assert ("0 tests ran of tests/unit/test_one.py -k one, expected at least 1" in shown) is (cases != GOOD)


def test_a_suite_that_cannot_be_started_is_a_failure(
    runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(runner.SUITES, "unit", lambda made, _only: made.run("unit", "nothing", [str(tmp_path / "no-such-command")]))
    assert runner.main(["unit"]) == 1
    assert capsys.readouterr().out.endswith("\n0 passed, 1 failed\n")


def test_an_unknown_suite_is_refused(runner: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["untied"]) == 2
    assert "unknown suite untied; there are lint, unit, sanity, browser, molecule, fleet" in capsys.readouterr().err


def test_the_evidence_is_the_end_of_the_output(runner: Any) -> None:
    shown = runner.tail("\n".join(str(number) for number in range(1000)))
    assert shown.endswith("\n998\n999")
    assert re.match(r"\.\.\. \d+ lines before\n", shown)
    assert runner.tail("one\n") == "one"


def test_three_lanes_begin_at_once_and_in_each_one_follows_the_other(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    first = threading.Barrier(3, timeout=30)

    def noting(name: str) -> Any:
        def suite(_made: Any, _only: list[str]) -> Any:
            noted.append(name)
            if name in ("fleet", "molecule", "lint"):
                first.wait()
            return runner.Tally(passed=1)

        return suite

    for name in runner.SUITES:
        monkeypatch.setitem(runner.SUITES, name, noting(name))
    assert runner.main(list(runner.SUITES)) == 0
    assert set(noted[:3]) == {"fleet", "molecule", "lint"}
    assert noted[3:] == ["unit", "sanity", "browser"]


def test_every_suite_has_a_lane(runner: Any) -> None:
    assert sorted(suite for lane in runner.LANES for suite in lane) == sorted(runner.SUITES)


@pytest.mark.parametrize(
    ("only", "long", "fleet", "options"),
    [
        ([], "", True, ["--debian", "trixie", "--workers", "1"]),
        ([], "", False, ["--debian", "trixie"]),
        ([], "1", False, []),
        (["app_node"], "", False, []),
    ],
    ids=["beside a fleet one at a time", "alone", "long", "named"],
)
def test_how_much_of_molecule_runs(
    runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, only: list[str], long: str, fleet: bool, options: list[str]
) -> None:
    wanted = only or default_scenarios(bool(long))
    (tmp_path / "molecule").mkdir()
    monkeypatch.setenv("LONG", long)
    made = runner.Runner()
    made.beside_a_fleet = fleet

    def scenarios_pass(_suite: str, _name: str, command: list[str]) -> tuple[int, str]:
        assert command == ["tools/molecule", *options, *wanted]
        for name in wanted:
            (tmp_path / "molecule" / f"{name}.xml").write_text(JUNIT.format(GOOD))
        return 0, ""

    monkeypatch.setattr(made, "run", scenarios_pass)
    tally = runner.molecule(made, only)
    assert (tally.passed, tally.failed) == (2 * len(wanted), 0)


def test_the_seconds_of_each_suite_are_told(runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite(runner, monkeypatch, tmp_path, f'echo "{JUNIT.format(GOOD)}" >"$1"')
    runner.main(["unit"])
    assert re.search(r"unit: 1 passed, 0 failed in \d+ s \(build/logs/unit\.log\)", capsys.readouterr().out)


def test_every_suite_has_a_minimum() -> None:
    runner = load_runner()
    assert set(runner.SUITES) == set(runner.MINIMUM) == set(runner.MINIMUM_LONG)
    assert all(0 < count <= runner.MINIMUM_LONG[suite] for suite, count in runner.MINIMUM.items())
    # What only a long run sees, or a second look: where these are as many as before, nobody would miss them.
    assert {suite for suite, count in runner.MINIMUM.items() if count < runner.MINIMUM_LONG[suite]} == {"browser", "molecule", "fleet"}


def test_every_scenario_runs_unless_a_reason_says_otherwise() -> None:
    assert sorted([*default_scenarios(), *ONLY_BY_NAME]) == sorted(scenarios())
    assert all(ONLY_BY_NAME.values())
    assert set(default_scenarios()) - set(default_scenarios(long=False)) == set(SECOND_LOOK)


def test_every_role_with_a_scenario_has_it_run_for_every_change() -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir()}
    assert set(default_scenarios(long=False)) >= roles & set(scenarios())
