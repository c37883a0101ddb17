# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `desired_state`: sign which release the fleet runs, and keep that beside the artifacts, in one exec."""

from __future__ import annotations

import shlex
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.module_utils.host import desired
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, signed_file

_SPEC = {
    **{name: {"type": "str", "required": True} for name in ("app", "environment", "release", "version", "digest", "url", "run")},
    "root": {"type": "path", "required": True},
    "kind": {"type": "str", "choices": list(desired.KINDS), "default": "deploy"},
    "signing_key": {"type": "path", "no_log": False},
    "lock": {"type": "dict"},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file beside and rename it. Never fails: the deployment is done, and what could not be published is said."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        if self._task.check_mode:
            return {**result, "summary": ""}
        why = _hindrance(given)
        if why is None:
            try:
                why = self._write(given, _signed(given))
            except HostError as error:
                why = error.message
        if why is None:
            return {**result, "changed": True, "summary": f"Signed for hosts that come back later: the fleet runs {given['release']}."}
        return {**result, "summary": f"Not signed for hosts that come back later ({why}): bring each right with playbooks/reconcile.yml."}

    def _write(self, given: dict[str, Any], text: str) -> str | None:
        """Put the text in place; returns why that was not possible."""
        folder = f"{given['root']}/{given['app']}"
        name = desired.file_name(given["environment"])
        part, path = shlex.quote(f"{folder}/.{name}"), shlex.quote(f"{folder}/{name}")
        command = f"set -e; printf '%s' {shlex.quote(text)} >{part}; chmod 0644 {part}; sync {part}; mv {part} {path}"
        try:
            done = self._low_level_execute_command(command)
        except AnsibleConnectionFailure as error:
            return f"the artifact store cannot be reached: {str(error).strip()}"
        return None if done["rc"] == 0 else f"the artifact store could not write {path}: {done['stderr'].strip() or done['stdout'].strip()}"


def _hindrance(given: dict[str, Any]) -> str | None:
    """Why this run signs nothing, None where it may."""
    if not given["lock"]:
        return "without a lock no run is known to be the newest, see release_lock_host"
    if trouble := deployment_lock.trouble(given["lock"], deployment_lock.uptime()):
        return trouble
    return signed_file.key_trouble(given["signing_key"])


def _signed(given: dict[str, Any]) -> str:
    """The line and its signature; raises HostError."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    fields = {name: given[name] for name in desired.Desired._fields if name not in ("token", "at")}
    line = desired.encode(desired.Desired(**fields, token=given["lock"]["token"], at=at))
    return signed_file.sign(line, given["signing_key"], desired.NAMESPACE).decode()
