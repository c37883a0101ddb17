# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `declared_flags`: have the live state follow what is declared, and keep every switch; one exec, and one more where something changes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.module_utils.host import flag_file
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, flag_following, flag_set

_SPEC = {
    "folder": {"type": "path", "required": True},
    "environment": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "by": {"type": "str"},
    "reason": {"type": "str", "default": ""},
}
#: Switches that may come in between before this gives up; each takes some hundredths of a second.
_TIMES = 5


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compile what is declared before anything is asked, then read, decide and write; again where somebody switched a flag meanwhile."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        try:
            found, kept = self._follow(given)
        except flag_set.FlagError as error:
            return {**result, "failed": True, "msg": f"Nothing was published, because of what is declared:\n{error}"}
        except HostError as error:
            return {**result, "failed": True, "msg": f"Nothing was published: {error.message}."}
        answer = {**result, "changed": kept.changed, "generation": kept.generation, "content": kept.line.decode(), "gone": list(kept.gone)}
        if kept.changed and self._task.diff:
            header = {"before_header": "flags as they are live", "after_header": f"generation {kept.generation}"}
            answer["diff"] = [{"before": _shown(found.line), "after": _shown(kept.line), **header}]
        return answer

    def _follow(self, given: dict[str, Any]) -> tuple[flag_following.Found, flag_following.Kept]:
        folder = Path(given["folder"])
        declared = flag_set.load(folder) if folder.is_dir() else {}
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        who = {"at": at, "by": deployment_lock.somebody(given["by"]), "reason": given["reason"] or "what is declared has changed"}
        signed = f"{given['root']}/{flag_file.file_name(given['environment'])}"
        for _time in range(_TIMES):
            found = flag_following.parse(self._ask(flag_following.read_command(signed)))
            kept = flag_following.follow(
                found, declared, lambda live, number: flag_set.render(declared, live, given["environment"], number), given["environment"], who
            )
            if not kept.changed or self._task.check_mode:
                return found, kept
            said = self._ask(flag_following.write_command(found), flag_following.encode(kept.state) + kept.line)
            if said.strip() != flag_following.MOVED:
                return found, kept
        raise HostError(f"flags were switched {_TIMES} times while this run looked at them. Run it again")

    def _ask(self, command: str, data: bytes | None = None) -> str:
        done = self._low_level_execute_command(command, in_data=data)
        if done["rc"] != 0:
            raise AnsibleError(f"The live flags in {flag_file.FOLDER} cannot be read or written: {done['stderr'].strip() or done['stdout'].strip()}")
        return str(done["stdout"])


def _shown(line: bytes) -> str:
    """A line of flags as people compare it: a flag a line."""
    return line.decode(errors="replace").replace('},"', '},\n"')
