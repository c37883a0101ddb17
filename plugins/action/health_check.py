# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `health_check`: whether an application is fit to serve, asked on its host in one exec."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return whether it is healthy, and why not; a host that cannot answer is not healthy, and not failed."""
        _checked, given = self.validate_argument_spec(
            argument_spec={"app": {"type": "str", "required": True}, "deadline_seconds": {"type": "float"}},
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        answer = self.call("health", given["app"], {"deadline_seconds": given["deadline_seconds"]})
        if answer.pop("failed", False):
            answer |= {"healthy": False, "why": answer.pop("msg")}
        return {**result, **answer, "changed": False}
