# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `signed_flags`: sign the flags as they are live, and keep that beside the artifacts, in two execs."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.module_utils.host import flag_file
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import signed_file

_SPEC = {
    "root": {"type": "path", "required": True},
    "environment": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "signing_key": {"type": "path", "no_log": False},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file beside and rename it. Never fails: hosts have the flags, and what could not be published is said."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        try:
            changed, told = self._publish(given)
        except HostError as error:
            return {**result, "summary": _not_signed(error.message)}
        except AnsibleConnectionFailure as error:
            return {**result, "summary": _not_signed(f"the artifact store cannot be reached: {str(error).strip()}")}
        return {**result, "changed": changed, "summary": told}

    def _publish(self, given: dict[str, Any]) -> tuple[bool, str]:
        """Whether something changed, and what came of it; raises HostError or AnsibleConnectionFailure where nothing could be published."""
        line = given["content"].rstrip("\n").encode() + b"\n"
        generation = flag_file.parse(line, given["environment"]).generation
        if trouble := signed_file.key_trouble(given["signing_key"]):
            raise HostError(trouble)
        made = signed_file.sign(line, given["signing_key"], flag_file.NAMESPACE)
        path = f"{given['root']}/{flag_file.file_name(given['environment'])}"
        said = self._low_level_execute_command(f"cat {shlex.quote(path)} 2>/dev/null || true")["stdout"]
        # Where nothing is sent along, ssh gives the command a terminal, which ends lines in its own way.
        kept = said.replace("\r\n", "\n").encode()
        if signed_file.as_good(kept, made, flag_file.NAMESPACE):
            return False, f"Signed for hosts that come back later: flags of generation {generation}, as before."
        if not self._task.check_mode:
            done = self._low_level_execute_command(signed_file.write_command(path, generation), in_data=made)
            if done["rc"] != 0:
                raise HostError(f"the artifact store could not write {path}: {done['stderr'].strip() or done['stdout'].strip()}")
            if done["stdout"].strip() == signed_file.NEWER:
                return False, f"Signed for hosts that come back later: not generation {generation}, because a later one is there already."
        return True, f"Signed for hosts that come back later: flags of generation {generation}."


def _not_signed(why: str) -> str:
    return f"Not signed for hosts that come back later ({why}): they keep the flags that they have until site.yml or a switch signs again."
