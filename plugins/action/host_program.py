# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `host_program`: a program lies on the host in this collection's version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.tossable.fleet.plugins.plugin_utils import host_program
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return whether the program was put in place, and where."""
        _checked, given = self.validate_argument_spec(
            argument_spec={"source": {"type": "path"}, "name": {"type": "str"}}, required_together=[["source", "name"]]
        )
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            wanted = host_program.program_of(Path(given["source"]), given["name"]) if given["source"] else host_program.program()
        except (OSError, ValueError) as error:
            raise AnsibleActionFail(str(error)) from None
        return {**result, "changed": self.ensure_program(wanted), "folder": wanted.folder}
