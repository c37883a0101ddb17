#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the figures of the torture into docs/reliability.md: what ran, what came of it, and what did not run.

    TORTURE=all tools/test fleet     # runs every case, hours; each leaves a line in build/torture.jsonl
    tools/reliability.py             # the newest line of each case, between the two markers of the page

The list of cases comes from the tests themselves; one that left no line is named as not run. Exit code 1 where one failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from checkout import ROOT, environment

PAGE = ROOT / "docs" / "reliability.md"
RECORD = ROOT / "build" / "torture.jsonl"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
BAD = "bad release"
#: Kinds that have figures of their own beside those that all have.
FURTHER = {
    "slow_requests": "requests of 10 s",
    "slow_failed": "of them failed",
    "broken_by_the_restart": "broken by the restart",
    "rollouts": "rollouts",
    "stopped": "stopped",
    "seconds_each": "seconds each",
    "seen": "requests that saw it",
    "share": "share",
    "seconds": "seconds",
}

Record = dict[str, Any]


def newest(lines: Iterable[str]) -> dict[str, Record]:
    """The last record of each test."""
    found: dict[str, Record] = {}
    for line in lines:
        record: Record = json.loads(line)
        found[record["test"]] = record
    return found


def row(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |\n"


def figures(records: dict[str, Record], listed: Sequence[str]) -> str:
    """The tables and the sentence about what is missing."""
    done = [records[test] for test in listed if test in records and records[test]["outcome"] == "passed"]
    failed = [test for test in listed if test in records and records[test]["outcome"] != "passed"]
    missing = [test for test in listed if test not in records]
    kinds = sorted({record["kind"] for record in done})
    text = f"**{len(done)} of {len(listed)} cases passed, {len(failed)} failed, {len(missing)} were not run.**\n\n"
    text += row("case", "cases", "requests", "failed", "fewest of 4 hosts in service") + row("---", "--:", "--:", "--:", "--:")
    for kind in kinds:
        group = [record for record in done if record["kind"] == kind]
        counts = (sum(record[name] for record in group) for name in ("requests", "failed"))
        text += row(kind, len(group), *counts, min(record["lowest"] for record in group))
    if bad := [record for record in done if record["kind"] == BAD]:
        text += "\nBad releases, on the first of four hosts:\n\n"
        text += row("release", "requests that saw it", "share of all", "seconds from the first bad answer to the last host back")
        text += row("---", "--:", "--:", "--:")
        for record in bad:
            text += row(record["case"], record["seen"], f"{100 * record['share']:.1f} %", f"{record['seconds']:g}" if record["seen"] else "-")
    text += "\nEach of the other cases that is a story of its own:\n\n"
    text += row("case", "requests", "failed", "fewest in service", "and") + row("---", "--:", "--:", "--:", "---")
    for record in done:
        if "killed" not in record["kind"] and record["kind"] not in ("power cut on a host", BAD):
            more = ", ".join(f"{words}: {record[name]:g}" for name, words in FURTHER.items() if name in record)
            text += row(f"{record['kind']}: {record['case']}", record["requests"], record["failed"], record["lowest"], more)
    text += "".join(f"\nFailed: `{test}`\n" for test in failed)
    if missing:
        text += f"\nNot run, {len(missing)} of {len(listed)}:\n\n" + "".join(f"- {test.partition('::')[2]}\n" for test in missing)
    return text


def cases() -> list[str]:
    """The cases as the tests list them."""
    command = ["pytest", "--collect-only", "-q", "-m", "torture", "tests/fleet"]
    done = subprocess.run(command, cwd=ROOT, env=environment() | {"TORTURE": "all"}, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def main() -> int:
    """Replace what stands between the markers."""
    if not RECORD.exists():
        print(f"tools/reliability.py: {RECORD.relative_to(ROOT)} is not there: run make torture-release first.", file=sys.stderr)
        return 2
    records = newest(RECORD.read_text(encoding="utf-8").splitlines())
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = figures(records, cases())
    beside = PAGE.with_name(PAGE.name + ".new")
    beside.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    os.replace(beside, PAGE)
    print(text.splitlines()[0].strip("*"))
    return 1 if "\nFailed: " in text else 0


if __name__ == "__main__":
    sys.exit(main())
