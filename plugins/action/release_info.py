# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `release_info`: what a host runs, in one exec."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the host's report; a host that cannot answer is reported, not failed."""
        _checked, given = self.validate_argument_spec(
            argument_spec={
                "app": {"type": "str", "required": True},
                "verify": {"type": "bool", "default": False},
                "migrations": {"type": "bool", "default": False},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        answer = self.call("info", given["app"], {"verify": given["verify"], "migrations": given["migrations"]})
        trouble = answer.pop("msg", None) if answer.pop("failed", False) else None
        return {**result, **answer, "changed": False, "trouble": trouble}
