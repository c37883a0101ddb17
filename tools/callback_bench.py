#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the callbacks `rollout` and `report` cost a deployment (make bench-callbacks), on a small fleet of its own.

The same deployment, there and back, is run in turn with Ansible's own output and no report, with both callbacks in a pipe, and with both on a
terminal, where the live view is drawn. Compared is the processor time (user and system) of ansible-playbook and all that it started, which other
work on the machine changes little; the seconds on the clock are told beside it.

Figures: build/callback-bench.json. Exit code 0 where neither costs more than BOUND of a run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench_lab import BenchLab
from checkout import BUILD, LOGS, ROOT, environment, tail
from phases import PhaseError, Phases, end_cleanly, table

LAB = BenchLab("callbackbench", "10.77.32.0/24")
THERE, BACK = "1.1.0", "1.0.0"
BOUND = 0.03
#: Each way to watch a run: what it adds to the environment, and whether it has a terminal.
OURS = {"ANSIBLE_STDOUT_CALLBACK": "tossable.fleet.rollout", "TOSSABLE_REPORT_FOLDER": str(BUILD / "callback-bench")}
WAYS: dict[str, tuple[dict[str, str], bool]] = {
    "neither": ({"TOSSABLE_REPORT_KEEP": "0"}, False),
    "in a pipe": (OURS, False),
    "on a terminal": (OURS, True),
}
EVIDENCE_LINES = 30


class Cost(NamedTuple):
    """Seconds of one deployment and the way back: of processor, and on the clock."""

    processor: float
    clock: float


class BenchError(Exception):
    """A deployment failed."""


def run(command: Sequence[str], extra: dict[str, str], terminal: bool) -> Cost:
    """Run a command to its end, its output into a log; raises BenchError where it fails."""
    log = LOGS / "callback-bench-run.log"
    reader, writer = pty.openpty() if terminal else os.pipe()
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment() | {"TERM": "xterm"} | extra, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer
    )
    os.close(writer)

    def keep() -> None:
        # A terminal whose other side has gone is an error to read.
        with log.open("wb") as out, contextlib.suppress(OSError):
            while piece := os.read(reader, 65536):
                out.write(piece)

    listener = threading.Thread(target=keep)
    listener.start()
    # What it and all its children used is told to whoever waits for it, and to nobody later.
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    clock = time.monotonic() - began
    listener.join()
    os.close(reader)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{tail(log, EVIDENCE_LINES)}")
    return Cost(used.ru_utime + used.ru_stime, clock)


def deployment(way: str) -> Cost:
    """There and back, watched in that way."""
    extra, terminal = WAYS[way]
    costs = [run(LAB.play("deploy.yml", "-e", f"version={version}", "-e", "force=bench"), extra, terminal) for version in (THERE, BACK)]
    return Cost(sum(cost.processor for cost in costs), sum(cost.clock for cost in costs))


def measure(phases: Phases, rounds: int) -> dict[str, list[Cost]]:
    """Each way once a round, each first in every third one."""
    found: dict[str, list[Cost]] = {way: [] for way in WAYS}
    deployment("neither")
    for number in range(rounds):
        ways = list(WAYS)
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            found[way].append(deployment(way))
        phases.say(f"round {number + 1} of {rounds}: " + ", ".join(f"{way} {costs[-1].processor:.2f} s" for way, costs in found.items()))
    return found


def figures(found: dict[str, list[Cost]]) -> dict[str, dict[str, float]]:
    """The medians of each way, and what it costs as a share: the median of the rounds' own ratios, less 1."""
    told = {}
    for way, costs in found.items():
        ratios = [cost.processor / plain.processor for cost, plain in zip(costs, found["neither"], strict=True)]
        told[way] = {
            "processor": round(statistics.median(cost.processor for cost in costs), 2),
            "clock": round(statistics.median(cost.clock for cost in costs), 2),
            "share": round(statistics.median(ratios) - 1, 4),
        }
    return told


def report(told: dict[str, dict[str, float]], hosts: int, rounds: int) -> int:
    """Write the figures and show them; return how many ways cost too much."""
    (BUILD / "callback-bench.json").write_text(json.dumps({"hosts": hosts, "rounds": rounds, **told}, indent=1) + "\n", encoding="utf-8")
    rows = [("callbacks", "processor", "clock", "cost")]
    rows += [(way, f"{one['processor']:.2f} s", f"{one['clock']:.2f} s", f"{100 * one['share']:+.1f} %") for way, one in told.items()]
    print(f"\nA deployment to {hosts} hosts and the way back, medians of {rounds} rounds:\n\n{table(rows)}\n")
    dear = [way for way, one in told.items() if one["share"] > BOUND]
    print(f"More than {100 * BOUND:.0f} %: {', '.join(dear)}." if dear else f"Neither costs more than {100 * BOUND:.0f} % of a run.")
    return len(dear)


def main() -> int:
    """Read the command line, measure, and remove the lab."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=4, help="application hosts (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is measured (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    given = parser.parse_args()
    end_cleanly()
    phases = Phases("callback-bench")
    try:
        LAB.prepare(phases, given.hosts, (BACK, THERE))
        return min(1, report(figures(measure(phases, given.rounds)), given.hosts, given.rounds))
    except (PhaseError, BenchError) as error:
        print(f"callback-bench: {error}", file=sys.stderr)
        return 1
    finally:
        if not given.keep:
            LAB.remove(phases)


if __name__ == "__main__":
    sys.exit(main())
