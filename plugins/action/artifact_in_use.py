# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `artifact_in_use`: the artifact store knows which versions an environment runs or can go back to, in one exec."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

_SPEC = {
    "root": {"type": "path", "required": True},
    "app": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "versions": {"type": "list", "elements": "str", "required": True},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the note beside and rename it; nothing is done where it says so already."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "changed": False}
        folder = f"{given['root']}/{given['app']}/.in-use"
        path, text = shlex.quote(f"{folder}/{given['environment']}"), shlex.quote("\n".join(sorted(set(given["versions"]))))
        command = f'set -e; [ "$(cat {path} 2>/dev/null)" != {text} ] || {{ echo same; exit; }}; mkdir -p {shlex.quote(folder)}; '
        command += f"printf '%s\\n' {text} >{path}.part; mv {path}.part {path}"
        try:
            done = self._low_level_execute_command(command)
        except AnsibleConnectionFailure as error:
            # Left to itself Ansible would say that the application host is unreachable, for which this was asked.
            raise AnsibleActionFail(
                f"What is in use is not recorded in the artifact store, which cannot be reached ({str(error).strip()}). What was deployed is live; "
                "run the same command again when the store is back, with -e version= and the version that is live, and prune nothing there before."
            ) from None
        if done["rc"] != 0:
            said = done["stderr"].strip() or done["stdout"].strip()
            raise AnsibleActionFail(f"The artifact store could not note in {path} what is in use: {said}. Until it can, prune nothing there.")
        return {**result, "changed": "same" not in done["stdout"]}
