# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `ledger`: write down what a run is about and what came of it, or show what was written; one exec a record."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.tossable.fleet.plugins.module_utils.host.ledger_runs import Record
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, ledger, ledger_spool, ledger_view
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction

_KINDS = ["deploy", "rollback", "reconcile", "contract", "unlock", "maintenance", "flag", "refused", "toss"]
_SPEC: dict[str, Any] = {
    "argument_spec": {
        "state": {"type": "str", "required": True, "choices": ["started", "ended", "noted", "shown", "last"]},
        "host": {"type": "str", "required": True},
        "spool": {"type": "path", "required": True},
        "environment": {"type": "str", "required": True},
        "app": {"type": "str", "default": ""},
        "kind": {"type": "str", "choices": _KINDS},
        "run": {"type": "str"},
        "by": {"type": "str"},
        "on_behalf_of": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
        "text": {"type": "str", "default": ""},
        "flags": {"type": "list", "elements": "dict", "default": []},
        "plan": {"type": "dict"},
        "lock": {"type": "dict", "default": {}},
        "hosts": {"type": "list", "elements": "str", "default": []},
        "forced": {"type": "str", "default": ""},
        "began": {"type": "dict"},
        "results": {"type": "dict", "default": {}},
        "aborted": {"type": "dict", "default": {}},
        "lost": {"type": "dict", "default": {}},
        "judged": {"type": "dict", "default": {}},
        "readings": {"type": "list", "elements": "dict", "default": []},
        "wanted": {"type": "dict", "default": {}},
        "locks_here": {"type": "bool", "default": False},
        "database": {"type": "str", "default": ""},
    },
    "required_if": [
        ("state", "started", ("app", "kind", "plan")),
        ("state", "ended", ("app", "kind", "plan", "began")),
        ("state", "noted", ("app", "kind", "text")),
        ("state", "last", ("app",)),
    ],
}


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what could not be recorded and where it is kept; only V(shown) fails, where there is nothing to show."""
        _checked, given = self.validate_argument_spec(**_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        if given["state"] == "shown":
            return {**result, **self._show(given)}
        if given["state"] == "last":
            return {**result, **self._last(given)}
        if self._task.check_mode:
            return {**result, "said": []}
        at, clock = time.time(), deployment_lock.uptime()
        record = ledger.writable(_assembled(given, at, clock))
        began = {"began": given["lock"].get("since", clock), "accepted": clock}
        return {**result, **self._deliver(given, record), "record": record, "clock": began}

    def _deliver(self, given: dict[str, Any], record: Record | None) -> dict[str, Any]:
        """Append what waits for this ops host, oldest first, and the record; what could not be appended waits for the next run.

        The record is kept before the ledger is asked: a call that never comes back loses nothing.
        """
        folder, host = os.path.join(given["spool"], given["environment"]), given["host"]
        said: list[str] = []
        waiting, kept = ledger_spool.Waiting([], [], []), ""
        try:
            waiting = ledger_spool.waiting(folder, host)
            said += [f"ledger: {path} held no record and was set aside." for path in waiting.unreadable]
            kept = ledger_spool.put(folder, host, record) if record else ""
        except OSError as error:
            said.append(f"ledger: records cannot wait in {folder} ({error.strerror or error}).")
        records = [*waiting.records, *([record] if record else [])]
        if not records:
            return {"recorded": True, "said": said}
        answer = self._ask(given["app"], {"operation": "append", "records": records, "again": bool(waiting.records)})
        if answer.get("failed"):
            return {"recorded": False, "said": [*said, *_unrecorded(host, answer, record, kept, folder, len(waiting.records))]}
        ledger_spool.drop([*waiting.paths, *([kept] if kept else [])])
        if waiting.records:
            said.append(f"ledger on {host}: brought up to date with {_number(len(waiting.records))} that had waited in {folder}.")
        if answer["torn"]:
            said.append(f"ledger on {host}: its end was torn and was moved to ledger.torn beside it, it began with {answer['torn'][0]!r}.")
        # A record is no change of the fleet: a second run of a deployment says that it changed nothing, and is on record all the same.
        return {"recorded": True, "said": said}

    def _ask(self, app: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The program's answer; an ops host that is too full to be given the program is one that cannot be asked, too."""
        try:
            return self.call("ledger", app or "all", asked)
        except AnsibleError as error:
            return {"failed": True, "msg": str(error).strip()}

    def _show(self, given: dict[str, Any]) -> dict[str, Any]:
        said = [] if self._task.check_mode else self._deliver(given, None)["said"]
        try:
            wanted = ledger_view.wanted(given["wanted"], time.time())
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
        how = {"brief": not wanted["run"], "recent": bool(wanted["last"])}
        answer = self._ask("", {"operation": "show", "wanted": wanted, **how, **_locks(given)})
        if answer.get("failed"):
            return {"failed": True, "msg": f"The ledger cannot be read. {answer['msg']}", "said": said}
        if why := "" if answer["runs"] else ledger_view.nothing(wanted, answer["known"]):
            return {"failed": True, "msg": why, "said": said}
        runs = answer["runs"]
        lines = [line for run in runs for line in ledger_view.whole(run)] if wanted["run"] else ledger_view.table(runs, answer["more"])
        unreadable = [f"{answer['unreadable']} lines of the ledger are no records and were left out."] if answer["unreadable"] else []
        shown = {"runs": runs, "lines": lines + unreadable, "csv": ledger_view.as_csv(runs)}
        return {**shown, "said": said}

    def _last(self, given: dict[str, Any]) -> dict[str, Any]:
        """Never fails: the status shows what it can."""
        asked = {"operation": "show", "wanted": {"app": given["app"]}, "brief": True, "recent": True, **_locks(given)}
        answer = self._ask(given["app"], asked)
        if answer.get("failed"):
            return {"summary": f"last run: unknown. {answer['msg']}"}
        return {"summary": ledger_view.last_line(answer["runs"])}


def _locks(given: dict[str, Any]) -> dict[str, Any]:
    return {"locks_here": given["locks_here"], "database": given["database"] or None}


def _assembled(given: dict[str, Any], at: float, clock: float) -> Record:
    """The record that the task is about."""
    plan = given["plan"] or {}
    run = given["run"] or plan.get("run") or deployment_lock.new_run()
    by = deployment_lock.somebody(plan.get("by") or given["by"])
    account = deployment_lock.somebody(None)
    who = ledger.Who(run, given["kind"], given["environment"], given["app"], by, given["on_behalf_of"], given["reason"], account)
    if given["state"] == "noted":
        return ledger.noted(who, at, given["text"], given["flags"])
    if given["state"] == "started":
        return ledger.started(who, at, plan, given["lock"], given["hosts"], given["forced"])
    times = {**given["began"], "now": clock}
    if given["kind"] == "contract":
        return ledger.contracted(who, at, plan, given["results"], times)
    course = ledger.Course(given["aborted"], given["lost"], bool(given["lock"].get("held", True)), given["judged"], given["readings"])
    return ledger.ended(who, at, plan, given["results"], course, times)


def _unrecorded(host: str, answer: dict[str, Any], record: Record | None, kept: str, folder: str, before: int) -> list[str]:
    """What is not in the ledger, why, and where it is."""
    why = " ".join(str(answer["msg"]).split()).rstrip(".")
    if record is None:
        return [f"ledger on {host}: {_number(before)} in {folder} cannot be appended yet: {why}."]
    about = {"started": "the start of run", "ended": "the end of run", "noted": "what was noted in run"}[record["event"]]
    head = f"ledger on {host}: {about} {record['run']} could not be recorded: {why}."
    if not kept:
        return [f"{head} Keep this line, it is the record: {json.dumps(record)}"]
    older = f" {_number(before)} from before lie there, too." if before else ""
    return [f"{head} It is kept in {kept}.{older} The next run appends it, or playbooks/ledger.yml."]


def _number(records: int) -> str:
    return f"{records} record{'' if records == 1 else 's'}"
