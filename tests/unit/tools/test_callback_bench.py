"""What the callbacks cost is counted in processor time of a command and all that it started."""

from __future__ import annotations

import sys
from pathlib import Path

import callback_bench as bench
import pytest

BURN = "import time\nuntil = time.process_time() + 0.2\nwhile time.process_time() < until: pass\n"


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the output goes."""
    monkeypatch.setattr(bench, "LOGS", tmp_path)
    return tmp_path / "callback-bench-run.log"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_children_of_a_command_count_and_sleep_does_not(logs: Path, terminal: bool) -> None:
    program = f"import subprocess, sys, time; time.sleep(0.3); print(sys.stdout.isatty()); subprocess.run([sys.executable, '-c', {BURN!r}])"
    cost = bench.run([sys.executable, "-c", program], {}, terminal)
    assert 0.2 <= cost.processor < cost.clock
    assert cost.clock > 0.5
    assert logs.read_text().strip() == str(terminal)


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(bench.BenchError, match=r"(?s)failed:.*no such host"):
        bench.run([sys.executable, "-c", "import sys; sys.exit('no such host')"], {}, terminal=True)


def test_a_share_is_of_the_same_round() -> None:
    plain = [bench.Cost(10, 20), bench.Cost(20, 40), bench.Cost(10, 20)]
    ours = [bench.Cost(10.1, 20), bench.Cost(20.4, 40), bench.Cost(10.3, 22)]
    told = bench.figures({"neither": plain, "in a pipe": ours})
    assert told == {"neither": {"processor": 10, "clock": 20, "share": 0}, "in a pipe": {"processor": 10.3, "clock": 22, "share": 0.02}}
