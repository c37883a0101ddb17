# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a callback sees of a run, as data of our own: the one place that knows the shape of Ansible's objects.

Nothing here keeps a value that `no_log` hides: Ansible has taken it out of the result before a callback sees it, and arguments are not read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import terminal

#: Extra variables whose values are told; of all others only the names are, because any of them may be a secret.
HARMLESS = ("version", "app", "target", "reason", "by", "force", "state", "flag")
#: Options of the command that are told, by the name that Ansible has for them.
_OPTIONS = {"check": "check", "diff": "diff", "subset": "limit", "tags": "tags", "skip_tags": "skip_tags", "start_at_task": "start_at_task"}
_FLEET = "tossable.fleet."
HIDDEN = "hidden by no_log"
#: Characters of a message that are kept.
LONGEST = 4000


@dataclass(frozen=True)
class Ended:
    """A task that ended on a host; `status` is ok, changed, skipped, failed, ignored or unreachable."""

    host: str
    task: str
    action: str
    status: str
    seconds: float
    message: str = ""
    evidence: tuple[str, ...] = ()
    #: What the fleet's own actions returned that a report is made of; nothing of other actions.
    told: Mapping[str, Any] = field(default_factory=dict)


def ended(host: str, task: str, action: str, status: str, seconds: float, result: Mapping[str, Any]) -> Ended:
    """From the result that Ansible hands to a callback."""
    hidden = "censored" in result
    wanted = not hidden and (status in ("failed", "ignored", "unreachable") or action.rpartition(".")[2] == "debug")
    evidence = result.get("evidence")
    return Ended(
        host,
        task,
        action,
        status,
        round(seconds, 3),
        message(result) if wanted and not (status in ("ok", "changed") and "results" in result) else HIDDEN if hidden else "",
        tuple(terminal.lines(str(line)) for line in evidence) if wanted and isinstance(evidence, list) else (),
        {} if hidden or not action.startswith(_FLEET) else terminal.harmless(_told(action.removeprefix(_FLEET), result)),
    )


def message(result: Mapping[str, Any]) -> str:
    """What a result says, without blanks at its ends and harmless to a terminal; for a loop, what each item that failed says."""
    items = result.get("results")
    if isinstance(items, list):
        said = [one for item in items if isinstance(item, Mapping) and (item.get("failed") or item.get("unreachable")) and (one := _item(item))]
        if said:
            return "\n".join(said)[:LONGEST]
    found = result.get("msg", "")
    text = "\n".join(str(line) for line in found) if isinstance(found, list) else str(found)
    trouble = str(result.get("stderr") or result.get("module_stderr") or result.get("stdout") or "").strip()
    if trouble and trouble not in text and result.get("rc"):
        text = f"{text}\n{trouble}"
    return terminal.lines(text.strip()[:LONGEST])


def _item(item: Mapping[str, Any]) -> str:
    said = HIDDEN if "censored" in item else message(item)
    return said if "censored" in item or not isinstance(item.get("item"), str) else f"{terminal.lines(item['item'])}: {said}"


def _told(action: str, result: Mapping[str, Any]) -> dict[str, Any]:
    if action == "release_plan":
        return {word: result.get(word) for word in ("run", "kind", "app", "version", "release", "environment", "waves", "estimate", "hosts")}
    if action == "deployment_lock":
        lock = result.get("lock")
        return {"run": lock.get("run")} if isinstance(lock, Mapping) and lock.get("run") else {}
    if action == "ledger":
        return _recorded(_each(result))
    if action == "artifact_in_use":
        return {"unrecorded": [line for one in _each(result) for line in one.get("said") or ()]}
    if action == "announce":
        return {"unsent": list(result.get("unsent") or ())}
    if action == "feature_flag":
        return {"run": result["run"]} if result.get("changed") and result.get("run") else {}
    if action == "release_gate":
        return {word: result[word] for word in ("verdict", "line") if word in result}
    if action == "release":
        return {word: result[word] for word in ("release", "previous", "steps", "notes") if word in result}
    return {}


def _each(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The result, and those of its items: what is asked for each host that keeps a ledger comes as a loop."""
    return [one for one in (result, *(result.get("results") or ())) if isinstance(one, Mapping)]


def _recorded(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the record, of which all were told the same, the run and how it ended; and what is not in the ledger, with why and where it is."""
    records = [record for one in answers if isinstance(record := one.get("record"), Mapping)]
    found = next((record for record in records if record.get("event") == "ended"), {})
    words = {word: found[word] for word in ("run", "kind", "outcome", "cause") if word in found}
    noted = next(({"run": record["run"]} for record in records if record.get("event") == "noted" and record.get("run")), {})
    return {**noted, **words, "unrecorded": [line for one in answers if one.get("recorded") is False for line in one.get("said") or ()]}


def place(path: str) -> str:
    """A path as people write it: from the current folder where it is in there. May have a line number at its end."""
    near = os.path.relpath(path) if path else ""
    return path if near.startswith("..") else near


def options(given: Mapping[str, Any], extra_vars: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the command that decide what it does; of extra variables the names, and the values of those that are harmless."""
    found: dict[str, Any] = {}
    for name, told in _OPTIONS.items():
        value = given.get(name)
        if value and not (name == "tags" and list(value) == ["all"]):
            found[told] = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    values = {name: str(extra_vars[name]) for name in HARMLESS if isinstance(extra_vars.get(name), (str, int, float, bool))}
    return {**found, "extra_vars": sorted(map(str, extra_vars)), "values": values}
