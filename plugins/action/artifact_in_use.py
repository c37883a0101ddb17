# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `artifact_in_use`: the artifact store knows which versions an environment runs or can go back to, in one exec."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
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
        """Write the note beside and rename it. Never fails: the run has done its work by now, and what could not be noted is said."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False, "said": []}
        if self._task.check_mode:
            return result
        path = shlex.quote(f"{given['root']}/{given['app']}/.in-use/{given['environment']}")
        try:
            done = self._low_level_execute_command(command(given))
        except AnsibleConnectionFailure as error:
            return {**result, "said": [_unnoted(path, f"the artifact store cannot be reached: {str(error).strip()}")]}
        if done["rc"] != 0:
            return {**result, "said": [_unnoted(path, f"the artifact store could not write it: {done['stderr'].strip() or done['stdout'].strip()}")]}
        return {**result, "changed": "same" not in done["stdout"]}


def _unnoted(path: str, why: str) -> str:
    """What is not noted, why, and what to do."""
    return (
        f"What is in use is not noted in {path}, {' '.join(why.split()).rstrip('.')}. What was deployed is live. Prune nothing there before it is: "
        "run the same command again when the store is well, with -e version= and the version that is live."
    )
