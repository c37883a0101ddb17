# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `migration`: run one migration of a staged release on one host, in one exec."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction

_SPEC: dict[str, Any] = {
    "app": {"type": "str", "required": True},
    "release": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "deadline_seconds": {"type": "int", "default": 600},
    "run": {"type": "str", "default": "by-hand"},
    "lock": {"type": "dict"},
}


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return how long it took, or how it ended with its last lines; check mode runs nothing."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": True}
        if self._task.check_mode:
            return result
        if given["lock"] and (trouble := deployment_lock.trouble(given["lock"], deployment_lock.uptime())):
            return {**result, "changed": False, "failed": True, "msg": trouble, "evidence": []}
        asked = {"release": given["release"], "migration": given["id"], "seconds": given["deadline_seconds"], "run": given["run"]}
        token = {"token": given["lock"]["token"]} if given["lock"] else {}
        began = deployment_lock.uptime()
        answer = self.call("migrate", given["app"], {**asked, **token}, own_unit=True)
        return {**result, **answer, "clock": {"began": began, "ended": deployment_lock.uptime()}}
