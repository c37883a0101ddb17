# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `host_program`: the transaction program lies on the host in this collection's version."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.plugin_utils import host_program
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return whether the program was put in place, and where."""
        self.validate_argument_spec(argument_spec={})
        result: dict[str, Any] = super().run(tmp, task_vars)
        return {**result, "changed": self.ensure_program(), "folder": host_program.program().folder}
