# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a run, of any playbook: gathered event by event, told as JSON (docs/report.schema.json) and as JUnit XML. Pure, but for `write`."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from .watching import HIDDEN, Ended

SCHEMA = 1
_FILE = re.compile(r"\d{8}T\d{6}Z-[\w.-]+-[0-9a-f]{8}\.(?:json|xml)")
#: What XML cannot hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Play:
    """One play, or one batch of a play with `serial`; its times are seconds of the run."""

    name: str
    batch: int
    began: float
    ended: float | None = None
    tasks: list[Ended] = field(default_factory=list)


@dataclass
class Report:
    """What was seen of a run so far."""

    playbook: str
    began: str
    options: dict[str, Any] = field(default_factory=dict)
    plays: list[Play] = field(default_factory=list)
    #: Ansible's own counts, by host.
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Whether the run came to its end.
    complete: bool = False
    seconds: float = 0.0

    def play(self, name: str, at: float) -> None:
        """A play begins, or its next batch."""
        last = self.plays[-1] if self.plays else None
        if last:
            last.ended = at
        self.plays.append(Play(name, last.batch + 1 if last and last.name == name else 1, at))

    def end(self, counts: Mapping[str, Mapping[str, int]], at: float) -> None:
        """The run came to its end."""
        self.counts = {host: dict(found) for host, found in counts.items()}
        self.complete = True
        self.stop(at)

    def stop(self, at: float) -> None:
        """Nothing more comes, whether or not the run came to its end."""
        self.seconds = at
        if self.plays:
            self.plays[-1].ended = at


def as_data(report: Report) -> dict[str, Any]:
    """The report as docs/report.schema.json describes it."""
    told = _merged(report)
    outcome = _outcome(report, told)
    return {
        "schema": SCHEMA,
        "playbook": report.playbook,
        "began": report.began,
        "seconds": round(report.seconds, 3),
        "options": report.options,
        "run": told.get("run"),
        "outcome": outcome,
        "cause": told.get("cause") or "",
        "last_words": _last_words(report),
        "unsent": _lines(report, "unsent"),
        "unrecorded": _lines(report, "unrecorded"),
        "plays": [
            {
                "name": play.name,
                "batch": play.batch,
                "seconds": round((play.ended if play.ended is not None else report.seconds) - play.began, 3),
                "hosts": list(dict.fromkeys(task.host for task in play.tasks)),
                "tasks": len({task.task for task in play.tasks}),
            }
            for play in report.plays
        ],
        "hosts": _hosts(report),
        "failed": [
            _failure(report, play, task) for play in report.plays for task in play.tasks if task.status in ("failed", "ignored", "unreachable")
        ],
        "changed": _changed(report),
    }


def _merged(report: Report) -> dict[str, Any]:
    """What the fleet's own actions told of the run; the lock and the plan name it, the ledger's record says how it ended."""
    found: dict[str, Any] = {}
    for play in report.plays:
        for task in play.tasks:
            found |= {word: task.told[word] for word in ("run", "kind", "outcome", "cause") if task.told.get(word)}
    return found


def _lines(report: Report, word: str) -> list[str]:
    """What the fleet's own actions told under this word, each line once."""
    return list(dict.fromkeys(str(line) for play in report.plays for task in play.tasks for line in task.told.get(word) or ()))


def _failed(report: Report) -> bool:
    return any(found.get("failed") or found.get("unreachable") for found in report.counts.values())


def _outcome(report: Report, told: Mapping[str, Any]) -> str:
    if told.get("outcome"):
        return str(told["outcome"])
    if not report.complete:
        return "interrupted"
    if _failed(report):
        return "failed"
    if report.options.get("check"):
        return "ok"
    return {"deploy": "deployed", "reconcile": "deployed", "rollback": "rolled_back"}.get(str(told.get("kind")), "ok")


def _last_words(report: Report) -> str:
    """What the run said last: its last failure where it failed, else its last message."""
    said = [task for play in report.plays for task in play.tasks if task.message not in ("", HIDDEN)]
    failures = [task for task in said if task.status in ("failed", "unreachable")]
    if failures and (_failed(report) or not report.complete):
        return failures[-1].message
    spoken = [task for task in said if task.action.rpartition(".")[2] == "debug" and task.status == "ok"]
    return spoken[-1].message if spoken else ""


def _hosts(report: Report) -> dict[str, dict[str, Any]]:
    seconds: dict[str, float] = {}
    seen: dict[str, dict[str, int]] = {}
    words = {"ok": ("ok",), "changed": ("ok", "changed"), "skipped": ("skipped",), "failed": ("failed",), "unreachable": ("unreachable",)}
    for play in report.plays:
        for task in play.tasks:
            seconds[task.host] = seconds.get(task.host, 0.0) + task.seconds
            counts = seen.setdefault(task.host, dict.fromkeys(("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored"), 0))
            for word in words.get(task.status, ("ok", "ignored")):
                counts[word] += 1
    # A run that was cut short has no counts of Ansible's.
    counted = report.counts or seen
    return {host: {"seconds": round(seconds.get(host, 0.0), 3), **counts} for host, counts in counted.items()}


def _handled(report: Report, task: Ended) -> str:
    """Why a failure is none of the run: ignored, or rescued where the host ends without one. Empty where it is."""
    if task.status == "ignored":
        return "ignored"
    counts = report.counts.get(task.host, {})
    return "rescued" if task.status == "failed" and counts.get("rescued") and not counts.get("failed") else ""


def _failure(report: Report, play: Play, task: Ended) -> dict[str, Any]:
    return {
        "play": play.name,
        "batch": play.batch,
        "task": task.task,
        "host": task.host,
        "unreachable": task.status == "unreachable",
        "handled": _handled(report, task),
        "message": task.message,
        "evidence": list(task.evidence),
    }


def _changed(report: Report) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[str]] = {}
    for play in report.plays:
        for task in play.tasks:
            if task.status == "changed":
                found.setdefault((play.name, task.task), []).append(task.host)
    return [{"play": play, "task": task, "hosts": list(dict.fromkeys(hosts))} for (play, task), hosts in found.items()]


def as_junit(report: Report) -> bytes:
    """The report for what reads test results: a suite for each play or batch, a case for each task on a host."""
    root = ET.Element("testsuites", {"name": _xml(report.playbook), "time": f"{report.seconds:.3f}"})
    totals = {"tests": 0, "failures": 0, "errors": 0}
    suites = [(play, f"{play.name} ({play.batch})" if play.batch > 1 else play.name) for play in report.plays]
    for play, name in suites:
        found = {"tests": len(play.tasks), "failures": 0, "errors": 0, "skipped": 0}
        ended = play.ended if play.ended is not None else report.seconds
        suite = ET.SubElement(root, "testsuite", {"name": _xml(name), "time": f"{ended - play.began:.3f}"})
        for task in play.tasks:
            case = ET.SubElement(suite, "testcase", {"name": _xml(task.task), "classname": _xml(task.host), "time": f"{task.seconds:.3f}"})
            if task.status == "skipped":
                found["skipped"] += 1
                ET.SubElement(case, "skipped")
            elif task.status in ("failed", "ignored", "unreachable"):
                _trouble(case, task, _handled(report, task), found)
        suite.attrib |= {word: str(number) for word, number in found.items()}
        totals = {word: number + found[word] for word, number in totals.items()}
    if not report.complete:
        suite = ET.SubElement(root, "testsuite", {"name": "the run", "tests": "1", "failures": "0", "errors": "1", "skipped": "0"})
        case = ET.SubElement(suite, "testcase", {"name": "the run comes to its end", "classname": _xml(report.playbook)})
        ET.SubElement(case, "error", {"message": "interrupted"})
        totals = {**totals, "tests": totals["tests"] + 1, "errors": totals["errors"] + 1}
    root.attrib |= {word: str(number) for word, number in totals.items()}
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _trouble(case: ET.Element, task: Ended, handled: str, found: dict[str, int]) -> None:
    text = _xml("\n".join([task.message, *task.evidence]))
    if handled:
        ET.SubElement(case, "system-out").text = f"{handled}: {text}"
        return
    kind = "error" if task.status == "unreachable" else "failure"
    found["errors" if kind == "error" else "failures"] += 1
    first = task.message.splitlines()[0] if task.message else task.status
    ET.SubElement(case, kind, {"message": _xml(first)}).text = text


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)


def stem(moment: str, playbook: str, short: str) -> str:
    """Name of a report's files without their endings; `moment` is as in 20261125T100000Z."""
    name = re.sub(r"[^\w.-]+", "_", os.path.splitext(os.path.basename(playbook))[0], flags=re.ASCII) or "playbook"
    return f"{moment}-{name}-{short}"


def write(folder: str, name: str, report: Report, keep: int) -> None:
    """Write both files, each whole or not at all, and remove the oldest reports beyond `keep`. Raises OSError."""
    os.makedirs(folder, exist_ok=True)
    text = json.dumps(as_data(report), indent=1, ensure_ascii=False) + "\n"
    for ending, content in ((".json", text.encode("utf-8", "replace")), (".xml", as_junit(report))):
        path = os.path.join(folder, name + ending)
        with open(f"{path}.new", "wb") as file:
            file.write(content)
        os.replace(f"{path}.new", path)
    for stale in expired(os.listdir(folder), keep):
        # A run beside this one removes the same.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, stale))


def expired(names: list[str], keep: int) -> list[str]:
    """The files of the oldest reports beyond `keep`, by the time in their names; nothing that is not a report."""
    ours = [name for name in names if _FILE.fullmatch(name)]
    reports = sorted({name.rpartition(".")[0] for name in ours}, reverse=True)
    gone = set(reports[keep:])
    return sorted(name for name in ours if name.rpartition(".")[0] in gone)
