# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `artifact_in_use`: the artifact store knows which versions an environment runs or can go back to, in one exec."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

_SPEC = {
    "root": {"type": "path", "required": True},
    "app": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "versions": {"type": "list", "elements": "str", "required": True},
    "keep": {"type": "bool", "default": False},
}


def command(given: Mapping[str, Any]) -> str:
    """Shell text that makes the note, beside and then by a rename, or prints ``same``. With ``keep`` what is noted already stays."""
    folder = f"{given['root']}/{given['app']}/.in-use"
    path, part = shlex.quote(f"{folder}/{given['environment']}"), shlex.quote(f"{folder}/.{given['environment']}.part")
    versions = " ".join(shlex.quote(version) for version in given["versions"])
    noted = "$noted" if given["keep"] else ""
    return "; ".join(
        [
            "set -e",
            f"noted=$([ ! -e {path} ] || cat {path})",
            f"wanted=$(printf '%s\\n' {versions} {noted} | LC_ALL=C sort -u)",
            '[ "$noted" != "$wanted" ] || { echo same; exit; }',
            f"mkdir -p {shlex.quote(folder)}",
            f"printf '%s\\n' \"$wanted\" >{part}",
            f"mv {part} {path}",
        ]
    )


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
        path = shlex.quote(f"{given['root']}/{given['app']}/.in-use/{given['environment']}")
        try:
            done = self._low_level_execute_command(command(given))
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
