# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `signed_flags`: have the artifact store sign the flags as they are live, and keep that beside the artifacts, in one exec."""

from __future__ import annotations

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
    "signing_key": {"type": "path", "default": f"{flag_file.FOLDER}/{flag_file.KEY}", "no_log": False},
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
            return {**result, "signed": False, "anew": False, "summary": _not_signed(error.message)}
        except AnsibleConnectionFailure as error:
            return {**result, "signed": False, "anew": False, "summary": _not_signed(f"the artifact store cannot be reached: {str(error).strip()}")}
        return {**result, "changed": changed, "signed": True, "anew": changed, "summary": told}

    def _publish(self, given: dict[str, Any]) -> tuple[bool, str]:
        """Whether something changed, and what came of it; raises HostError or AnsibleConnectionFailure where nothing could be published."""
        line = given["content"].rstrip("\n").encode() + b"\n"
        generation = flag_file.parse(line, given["environment"]).generation
        path = f"{given['root']}/{flag_file.file_name(given['environment'])}"
        command = signed_file.sign_command(path, generation, given["signing_key"], flag_file.NAMESPACE, self._task.check_mode)
        done = self._low_level_execute_command(command, in_data=line)
        said = done["stdout"].split()
        word = said[-1] if said and done["rc"] == 0 else ""
        if word == signed_file.NO_KEY:
            raise HostError(f"it has no key {given['signing_key']}, which the role feature_flags makes: run site.yml")
        if word == signed_file.NEWER:
            return False, f"Signed for hosts that come back later: not generation {generation}, because a later one is there already."
        if word == signed_file.THERE:
            return False, f"Signed for hosts that come back later: flags of generation {generation}, as before."
        if word != signed_file.SIGNED:
            raise HostError(f"{path} could not be written: {' '.join(said) or done['stderr'].strip() or 'nothing was printed'}")
        return True, f"Signed for hosts that come back later: flags of generation {generation}."


def _not_signed(why: str) -> str:
    return f"Not signed for hosts that come back later ({why}): a host that boots goes on with the flags that it has."
