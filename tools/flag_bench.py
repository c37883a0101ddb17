#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a switch of a flag takes (make bench-flags): from Enter on `playbooks/flag.yml` to the last application that answers with the new value.

It is typed as operators type it, on a terminal, with what ansible.cfg says. On each host one small program looks at the time of the file of flags,
which costs next to nothing, and asks the application from the moment that it changes until it answers with something else. All hosts are
containers of this machine, so that their clock (CLOCK_MONOTONIC) is the one that was read at Enter. The first run opens its connections; those
after it find them open, as somebody does who is at work.

Figures: build/flag-bench.json. Exit code 0 when every application on every host answered with each new value, 1 when one was left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench_lab import BenchLab
from checkout import BUILD, LOGS, ROOT, environment, tail
from phases import PhaseError, Phases, inventory, table

LAB = BenchLab("flagbench", "10.77.31.0/24")
ONE_WAVE = ("-e", '{"rollout_waves": ["100%"], "rollout_min_healthy": 0}')
APP, VERSION, PORT, FLAG = "storefront", "1.0.0", 8000, "checkout"
FLAGS = "/var/lib/tossable/flags/flags.json"
TARGET = 1.5  # seconds, the median
PATIENCE = 30.0  # seconds that a host may take before it counts as left behind
EVIDENCE_LINES = 30

# Runs on a host until its standard input ends: prints `monotonic generation value` whenever what is given has changed. Without a port it tells what
# lies in the file, for the ops host, where no application runs.
WATCH = """\
import http.client, json, os, select, sys, time
path, port, flag = sys.argv[1:]

def given():
    if not int(port):
        with open(path) as file:
            return json.load(file)["metadata"]["generation"], None
    link = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    link.request("GET", "/flags")
    told = json.load(link.getresponse())
    link.close()
    return told["generation"], told["flags"][flag]["value"]

seen = stamp = None
due = True
while not select.select([0], [], [], 0.01)[0]:
    found = os.stat(path)
    if (found.st_ino, found.st_mtime_ns) != stamp:
        stamp, due = (found.st_ino, found.st_mtime_ns), True
    if due and (told := given()) != seen:
        seen, due = told, False
        print(json.dumps([time.monotonic(), *told]), flush=True)
"""


class BenchError(Exception):
    """Something that is measured did not work."""


class Told(NamedTuple):
    """What a watcher has seen: when (seconds of CLOCK_MONOTONIC), which generation is in force, what the flag gives (None on the ops host)."""

    at: float
    generation: int
    value: bool | None


class Watcher:
    """The program that watches one host."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.told: queue.Queue[Told | None] = queue.Queue()
        # What it complains about comes after what it has told.
        self.last = ""
        self.process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.told.put(Told(*json.loads(line)))
            except (ValueError, TypeError):
                self.last = line.strip()
        self.told.put(None)

    def after(self, generation: int, until: float) -> Told | None:
        """What it tells of a later generation than this one; None where it tells nothing before then. Raises BenchError where it has ended."""
        while True:
            try:
                found = self.told.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if found is None:
                raise BenchError(f"{self.name}: the program that watches it has ended: {self.last or 'it said nothing'}")
            if found.generation > generation:
                return found

    def stop(self) -> None:
        """Have it end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.listener.join()
        self.process.stdout.close()


class Run(NamedTuple):
    """One switch, in seconds since Enter: when Ansible's first play began, the ops host had decided, the first and the last application answered
    with the new value, and the command had ended. ``behind`` names the hosts whose application never did."""

    started: float
    decided: float
    first: float
    last: float
    ended: float
    behind: tuple[str, ...] = ()


def parts(run: Run) -> dict[str, float]:
    """What the time went to; the first three add up to what counts."""
    return {
        "start": run.started,
        "decision": run.decided - run.started,
        "hosts": run.last - run.decided,
        "all": run.last,
        "command": run.ended,
    }


#: The parts in words.
WORDS = {
    "start": "Ansible's start, to its first play",
    "decision": "the decision, kept on the ops host",
    "hosts": "from there to the last application",
    "all": "from Enter to the last application",
    "command": "until the command has ended",
}


def figures(cold: Run, warm: Sequence[Run], hosts: int) -> dict[str, Any]:
    """What is written to build/flag-bench.json; seconds."""
    told = [parts(run) for run in warm]
    lasts = [run.last for run in warm]
    return {
        "hosts": hosts,
        "runs": len(warm),
        "median": round(statistics.median(lasts), 3),
        "worst": round(max(lasts), 3),
        "cold": round(cold.last, 3),
        "target": TARGET,
        "seconds": [round(last, 3) for last in lasts],
        "median_parts": {name: round(statistics.median(one[name] for one in told), 3) for name in WORDS},
        "worst_parts": {name: round(max(one[name] for one in told), 3) for name in WORDS},
        "cold_parts": {name: round(seconds, 3) for name, seconds in parts(cold).items()},
        "first_median": round(statistics.median(run.first for run in warm), 3),
    }


def shown(found: Mapping[str, Any]) -> str:
    """The same as a table."""
    columns = ("median_parts", "worst_parts", "cold_parts")
    told = [(words, *(f"{found[column][name]:6.2f}" for column in columns)) for name, words in WORDS.items()]
    return table([("", "median", "worst", "cold"), *told])


def watched(known: Mapping[str, Any]) -> tuple[Watcher, list[Watcher]]:
    """A watcher on the ops host, and one on each application host, each of which has answered; raises BenchError where one has not."""
    made: list[Watcher] = []

    def watch(host: str, port: int) -> Watcher:
        command = ["podman", "exec", "--interactive", f"{LAB.name}-{host}", "python3", "-c", WATCH, FLAGS, str(port), FLAG]
        made.append(Watcher(host, command))
        return made[-1]

    (ops, *_others) = known["ops"]["hosts"]
    return watch(ops, 0), [watch(host, PORT) for host in known["app"]["hosts"]]


def alike(watchers: Sequence[Watcher]) -> Told:
    """What all of them have told first; raises BenchError where one tells nothing, something else, or of another clock."""
    began = time.monotonic()
    found: dict[str, Told] = {}
    for watcher in watchers:
        told = watcher.after(0, began + PATIENCE)
        if told is None:
            raise BenchError(f"{watcher.name} has told nothing within {PATIENCE:g} s")
        if not began - PATIENCE < told.at <= time.monotonic():
            raise BenchError(f"{watcher.name} has another clock than this machine: it says {told.at}, and it is {time.monotonic()}")
        found[watcher.name] = told
    values = {told.value for told in found.values() if told.value is not None}
    if len({told.generation for told in found.values()}) != 1 or len(values) != 1:
        raise BenchError(f"hosts differ before the first run: {found}")
    return next(told for told in found.values() if told.value is not None)


def typed(state: str, connections: str, reports: Path, log: Path) -> tuple[float, float, float]:
    """Type the command on a terminal and wait for its end: the moment of Enter, seconds to its first play, seconds to its end.

    Raises BenchError where it fails, after showing the end of what it has printed.
    """
    given = {**environment(), "TERM": "xterm-256color", "ANSIBLE_SSH_CONTROL_PATH_DIR": connections, "TOSSABLE_REPORT_FOLDER": str(reports)}
    # For those who read the output; an operator has neither.
    for name in ("ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_NOCOLOR", "NO_COLOR"):
        given.pop(name, None)
    command = LAB.play("playbooks/flag.yml", "-e", f"flag={FLAG}", "-e", f"state={state}")
    terminal, inside = pty.openpty()
    before = {path.name for path in reports.glob("*.json")}
    clock = time.time() - time.monotonic()
    entered = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL, stdout=inside, stderr=inside) as process:
        os.close(inside)
        reader = threading.Thread(target=_keep, args=(terminal, log), daemon=True)
        reader.start()
        code = process.wait()
        ended = time.monotonic() - entered
        reader.join(PATIENCE)
    if code:
        print(f"\n{tail(log, EVIDENCE_LINES)}\n", file=sys.stderr)
        raise BenchError(f"{' '.join(command)} ended with exit code {code}; all of its output: {log.relative_to(ROOT)}")
    (report,) = (path for path in reports.glob("*.json") if path.name not in before)
    began = datetime.fromisoformat(json.loads(report.read_text(encoding="utf-8"))["began"]).timestamp()
    return entered, began - clock - entered, ended


def _keep(terminal: int, log: Path) -> None:
    """Write down what is shown on a terminal; once nobody is left who could show something, reading is an error."""
    with log.open("wb") as out, contextlib.suppress(OSError):
        while data := os.read(terminal, 65536):
            out.write(data)
            out.flush()
    os.close(terminal)


def switch(state: str, generation: int, ops: Watcher, hosts: Sequence[Watcher], connections: str, reports: Path, log: Path) -> tuple[Run, int]:
    """Switch once and hear what everybody has seen; the run, and the generation that is live after it."""
    entered, started, ended = typed(state, connections, reports, log)
    until = time.monotonic() + PATIENCE
    decided = ops.after(generation, until)
    if decided is None:
        raise BenchError(f"{ops.name} holds no later generation than {generation} although the command ended well")
    answers = {watcher.name: watcher.after(generation, until) for watcher in hosts}
    times = [told.at - entered for told in answers.values() if told and told.value is (state == "on")]
    behind = tuple(name for name, told in answers.items() if not told or told.value is not (state == "on"))
    first, last = (min(times), max(times)) if times else (PATIENCE, PATIENCE)
    return Run(started, decided.at - entered, first, last, ended, behind), decided.generation


def measure(phases: Phases, known: Mapping[str, Any], count: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """One cold run and `count` warm ones, on and off in turn; the figures, and the hosts that were left behind, each with its run."""
    ops, hosts = watched(known)
    try:
        told = alike([ops, *hosts])
        generation, on = told.generation, bool(told.value)
        load_before = round(os.getloadavg()[0], 2)
        runs: list[Run] = []
        with tempfile.TemporaryDirectory(prefix="flags-") as folder:
            reports = Path(folder) / "reports"
            reports.mkdir()
            for number in range(count + 1):
                on = not on
                run, generation = switch("on" if on else "off", generation, ops, hosts, folder, reports, LOGS / f"flag-bench-{number:02}.log")
                runs.append(run)
                phases.say(f"run {number} of {count}{'' if number else ' (cold)'}: {run.last:.2f} s, the command {run.ended:.2f} s")
    finally:
        for watcher in (ops, *hosts):
            watcher.stop()
    found = figures(runs[0], runs[1:], len(hosts)) | {"cores": os.cpu_count(), "load_before": load_before}
    return found, tuple(f"run {number}: {name}" for number, run in enumerate(runs) for name in run.behind)


def bench(phases: Phases, hosts: int, runs: int) -> int:
    """Prepare, measure, report; return how many hosts were left behind."""
    LAB.prepare(phases, hosts, [VERSION], *ONE_WAVE)
    found, behind = measure(phases, inventory(LAB.inventory), runs)
    (BUILD / "flag-bench.json").write_text(json.dumps({**found, "behind": behind}, indent=1) + "\n", encoding="utf-8")
    print(f"\nSeconds, {found['hosts']} hosts, {runs} runs with open connections and one before them without (cold),")
    print(f"{found['cores']} cores shared by controller and hosts, load {found['load_before']} before the first run:\n\n{shown(found)}\n")
    print(f"Median {found['median']:.2f} s, worst {found['worst']:.2f} s (target: a median of {TARGET} s).")
    for words in behind:
        print(f"left behind: {words}", file=sys.stderr)
    return len(behind)


def main() -> int:
    """Read the command line, measure, and remove the lab."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=int(os.environ.get("APP_SERVERS") or 20), help="application hosts (default %(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="how often it is measured, after the cold run (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    given = parser.parse_args()
    if given.hosts < 1 or given.runs < 1:
        parser.error("at least one host, and one run, are needed")
    phases = Phases("flag-bench")
    try:
        return min(1, bench(phases, given.hosts, given.runs))
    except (PhaseError, BenchError) as error:
        print(f"flag-bench: {error}", file=sys.stderr)
        return 1
    finally:
        if not given.keep:
            LAB.remove(phases)


if __name__ == "__main__":
    sys.exit(main())
