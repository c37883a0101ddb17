# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks as phases of something longer: progress on the terminal, the whole output in a log, seconds for a table."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkout import LOGS, ROOT, environment, tail

HEARTBEAT_SECONDS = 10.0
EVIDENCE_LINES = 30
# How long an interrupted playbook may take to leave its hosts in order.
ENDING_SECONDS = 60.0


class PhaseError(Exception):
    """A phase failed; its evidence has been shown, and `output` is all that it printed, its line breaks and indents folded."""

    def __init__(self, name: str, output: str = "") -> None:
        super().__init__(name)
        self.output = " ".join(output.split())


@dataclass
class Phase:
    """One command that ran: seconds in all, and for a playbook the seconds at which each play began."""

    name: str
    seconds: float = 0.0
    plays: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Phases:
    """Runs commands one after the other; `log_prefix` begins the names of their logs in build/logs."""

    log_prefix: str
    began: float = field(default_factory=time.monotonic)
    done: list[Phase] = field(default_factory=list)

    def say(self, words: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self.began:6.0f} s  {words}", flush=True)

    def run(self, name: str, command: Sequence[str], quiet: bool = False) -> Phase:
        """Run a command to its end; raises PhaseError, after showing the end of its output, where it fails."""
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{self.log_prefix}-{re.sub(r'[^a-z0-9.]+', '-', name.lower())}.log"
        phase = Phase(name)
        began = time.monotonic()
        if not quiet:
            self.say(f"{name} ...")
        ended = threading.Event()
        now_at = ""

        def heartbeat() -> None:
            while not ended.wait(HEARTBEAT_SECONDS):
                self.say(f"{name}: {now_at}")

        speaker = threading.Thread(target=heartbeat, daemon=True)
        if not quiet:
            speaker.start()
        try:
            with (
                log.open("w", encoding="utf-8") as out,
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                ) as process,
                ended_with(process),
            ):
                assert process.stdout is not None
                for line in process.stdout:
                    out.write(line)
                    if found := re.match(r"(PLAY|TASK) \[(.*?)\] \*", line):
                        now_at = found[2]
                        if found[1] == "PLAY":
                            phase.plays.append((found[2], time.monotonic() - began))
        finally:
            ended.set()
        phase.seconds = time.monotonic() - began
        if process.returncode:
            print(
                f"\n{tail(log, EVIDENCE_LINES)}\n\n{name} failed with exit code {process.returncode}; all of its output: {log.relative_to(ROOT)}",
                file=sys.stderr,
            )
            raise PhaseError(name, log.read_text(encoding="utf-8"))
        if not quiet:
            self.say(f"{name}: {phase.seconds:.1f} s")
        self.done.append(phase)
        return phase


@contextlib.contextmanager
def ended_with(process: subprocess.Popen[str]) -> Iterator[None]:
    """An exception in the block, ^C among them, interrupts the command and all that it has started, and waits for its end."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.communicate(timeout=ENDING_SECONDS)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        raise


def end_cleanly() -> None:
    """From now on SIGTERM is what ^C is: KeyboardInterrupt, so that nothing that was started runs on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def inventory(path: str) -> dict[str, Any]:
    """What Ansible knows about an inventory: groups, and the variables of each host in ["_meta"]["hostvars"]."""
    listed = subprocess.run(["ansible-inventory", "-i", path, "--list"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(listed.stdout)
    return found


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of words in columns; the last column stands to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [word.ljust(width) for word, width in zip(row[:-1], widths[:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1].rjust(widths[-1])]))
    return "\n".join(lines)
