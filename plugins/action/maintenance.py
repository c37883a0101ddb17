# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `maintenance`: a load balancer answers for an application with a page, or lets it answer again; one exec an operation."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.module_utils.host.lease import iso
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, maintenance
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction

_SPEC: dict[str, Any] = {
    "app": {"type": "str", "required": True},
    "state": {"type": "str", "required": True, "choices": ["present", "absent", "drained", "shown"]},
    "message": {"type": "str", "default": maintenance.MESSAGE},
    "reason": {"type": "str", "default": ""},
    "by": {"type": "str"},
    "retry_after": {"type": "int", "default": 300},
    "deadline_seconds": {"type": "int", "default": 60},
    "entry": {"type": "dict"},
}
_OPERATIONS = {"present": "on", "absent": "off", "drained": "drain", "shown": "show"}


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return who has set what, or fail and leave the load balancer as it was."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        request: dict[str, Any] = {"operation": _OPERATIONS[given["state"]], "check": self._task.check_mode}
        if given["state"] == "present":
            request["entry"] = given["entry"] or {
                "since": iso(maintenance.now()),
                "by": deployment_lock.somebody(given["by"]),
                **{name: given[name] for name in ("reason", "message", "retry_after")},
            }
        elif given["state"] == "drained":
            request["deadline_seconds"] = 0 if self._task.check_mode else given["deadline_seconds"]
        answer = self.call("maintenance", given["app"], request)
        if answer.get("failed") or given["state"] in ("drained", "shown"):
            return {**result, "changed": False, **answer}
        return {**result, **answer, "diff": maintenance.diff(given["app"], answer)}
