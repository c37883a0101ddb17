# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `release`: stage, switch or leave, one exec a host."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, release_request
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was done, step by step with its seconds; in check mode what would be done."""
        _checked, given = self.validate_argument_spec(**release_request.SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            report = self.call("info", given["app"], {})
            return {**result, **(report if report.get("failed") else release_request.foresee(given, report))}
        if given["lock"] and (trouble := deployment_lock.trouble(given["lock"], deployment_lock.uptime())):
            return {**result, "failed": True, "msg": trouble, "evidence": []}
        request = release_request.build(given)
        began = deployment_lock.uptime()
        answer = self.call(request.verb, given["app"], request.given, own_unit=request.own_unit)
        clock = {"began": began, "ended": deployment_lock.uptime()}
        return {**result, **answer, "clock": clock, "diff": release_request.diff(answer)}
