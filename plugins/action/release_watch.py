# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `release_watch`: whether a release stays healthy on a host, in one exec."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was seen; trouble is reported, not failed, as it concerns more than this host."""
        _checked, given = self.validate_argument_spec(
            argument_spec={
                "app": {"type": "str", "required": True},
                "release": {"type": "str", "required": True},
                "seconds": {"type": "float", "default": 0.0},
                "switched": {"type": "bool", "default": True},
            }
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        answer = self.call("watch", given["app"], {key: given[key] for key in ("release", "seconds", "switched")})
        if answer.pop("failed", False):
            answer["trouble"] = answer.pop("msg")
        return {**result, **answer, "changed": False}
