# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `balancer_info`: to whom a load balancer sends requests, in one exec."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import haproxy


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what HAProxy says; a load balancer that cannot answer is reported, not failed."""
        _checked, given = self.validate_argument_spec(
            argument_spec={
                "socket": {"type": "path", "default": "/run/haproxy/admin.sock"},
                "timeout": {"type": "int", "default": 5},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(changed=False, reachable=True, trouble=None, process={}, backends={}, frontends={}, maintenance={})
        try:
            done = self._low_level_execute_command(haproxy.command(given["socket"], given["timeout"]))
        except AnsibleConnectionFailure as error:
            return {**result, "reachable": False, "trouble": f"The host cannot be reached: {str(error).strip()}"}
        result["trouble"] = haproxy.trouble(done["rc"], done["stdout"], done["stderr"], given["socket"])
        try:
            return result if result["trouble"] else {**result, **haproxy.parse(done["stdout"])}
        except ValueError as error:
            return {**result, "trouble": str(error)}
