# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `migration_record`: what an environment has been migrated by, read or added to in one exec on the ops host."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, migrations
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction

_SPEC: dict[str, Any] = {
    "argument_spec": {
        "app": {"type": "str", "required": True},
        "environment": {"type": "str", "required": True},
        "state": {"type": "str", "default": "shown", "choices": ["shown", "begun", "done", "failed", "undone"]},
        "migration": {"type": "dict"},
        "release": {"type": "str"},
        "host": {"type": "str"},
        "deadline_seconds": {"type": "int"},
        "seconds": {"type": "float"},
        "error": {"type": "str"},
        "id": {"type": "str"},
        "run": {"type": "str", "default": "by-hand"},
        "by": {"type": "str"},
        "reason": {"type": "str", "default": ""},
        "lock": {"type": "dict"},
    },
    "required_if": [
        ("state", "begun", ("migration", "release", "host", "deadline_seconds")),
        ("state", "done", ("migration", "release", "host", "seconds")),
        ("state", "failed", ("migration", "release", "host", "seconds")),
        ("state", "undone", ("id",)),
    ],
}

_NOT_BEGUN = "The record of migrations cannot be read or added to, so nothing was migrated."
_NOT_ENDED = "The migration ran, and how it ended could not be noted: it counts as interrupted, and the next run runs it again."


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the record as it is after the event was added; check mode adds none."""
        _checked, given = self.validate_argument_spec(**_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        does = {"shown": self._ask, "undone": self._undo}.get(given["state"], self._note)
        answer = does(given)
        if answer.get("refused"):
            return {**result, **answer}
        if answer.get("failed"):
            head = _NOT_ENDED if given["state"] in ("done", "failed") else _NOT_BEGUN
            return {**result, **answer, "msg": f"{head} {answer['msg']}"}
        return {**result, **answer, "summary": migrations.table(answer)}

    def _ask(self, given: dict[str, Any], record: dict[str, Any] | None = None) -> dict[str, Any]:
        asked = {"environment": given["environment"], "record": None if self._task.check_mode else record}
        answer = self.call("migrations", given["app"], asked)
        return answer if answer.get("failed") else {**answer, "changed": record is not None}

    def _note(self, given: dict[str, Any]) -> dict[str, Any]:
        """How a migration ended is noted also by a run that has lost its lock meanwhile; that one begins, no more: it would keep others waiting."""
        if given["state"] == "begun" and given["lock"] and (trouble := deployment_lock.trouble(given["lock"], deployment_lock.uptime())):
            return {"failed": True, "refused": True, "msg": trouble}
        names = ("release", "host", "run", "reason", "deadline_seconds", "seconds", "error")
        told = {name: given[name] for name in names if given[name] not in (None, "")}
        return self._ask(given, {"event": given["state"], **given["migration"], **told, "by": deployment_lock.somebody(given["by"])})

    def _undo(self, given: dict[str, Any]) -> dict[str, Any]:
        seen = self._ask(given)
        if seen.get("failed"):
            return seen
        if said := migrations.undo_obstacle(seen, given["id"], given["reason"]):
            return {"failed": True, "refused": True, "msg": said}
        about = {name: seen["migrations"][given["id"]][name] for name in ("id", "phase", "class", "release", "host")}
        who = {"run": given["run"], "by": deployment_lock.somebody(given["by"]), "reason": given["reason"]}
        return self._ask(given, {"event": "undone", **about, **who})
