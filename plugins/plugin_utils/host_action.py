# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every action that calls the transaction program has in common: one exec, its answer as data."""

from __future__ import annotations

import json
import uuid
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from . import host_program


class NotShippedError(AnsibleError):
    """The program could not be put on a host that answers: its disk is full, or nothing can be written there."""


class HostAction(ActionBase):
    """Calls the program on the host through the connection and become of the task."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def ensure_program(self, wanted: host_program.Program) -> bool:
        """Put a program on the host unless it is there; returns whether it was not (check mode: would be)."""
        found = self._low_level_execute_command(host_program.check_command(wanted))
        if found["rc"] != host_program.NOT_THERE:
            return False
        if not self._task.check_mode:
            self._ship(wanted)
        return True

    def call(self, verb: str, app: str, given: dict[str, Any], own_unit: bool = False) -> dict[str, Any]:
        """Call the program once; where it is missing or of another version it is put in place first.

        What only looks, and check mode, leaves alone which version the host's own units run (`host_program.reads`).
        Returns the program's answer; a host that cannot be reached or does not take the program, or an answer that is none, is a failed result.
        """
        wanted = host_program.program()
        unit = f"tossable-{app}-{uuid.uuid4().hex[:12]}" if own_unit else None
        data = json.dumps(given).encode()
        long = len(data) > host_program.LONGEST_ARGUMENT
        current = not (self._task.check_mode or host_program.reads(verb, given))
        command = host_program.call_command(wanted, verb, app, None if long else given, unit, current)
        try:
            done = self._low_level_execute_command(command, in_data=data if long else None)
            if done["rc"] == host_program.NOT_THERE:
                self._ship(wanted, current)
                done = self._low_level_execute_command(command, in_data=data if long else None)
        except AnsibleConnectionFailure as error:
            return {"failed": True, "reachable": False, "msg": f"The host cannot be reached: {str(error).strip()}", "evidence": []}
        except NotShippedError as error:
            return {"failed": True, "reachable": True, "msg": str(error).strip(), "evidence": []}
        return self._answer(done)

    def _ship(self, wanted: host_program.Program, current: bool = True) -> None:
        done = self._low_level_execute_command(host_program.install_command(wanted, current), in_data=host_program.bundle(wanted))
        if done["rc"] != 0:
            said = done["stderr"].strip() or done["stdout"].strip()
            raise NotShippedError(f"The program could not be put into {wanted.folder}: {said}. Make room there (df), or make it writable.")

    @staticmethod
    def _answer(done: dict[str, Any]) -> dict[str, Any]:
        lines = done["stdout"].strip().splitlines()
        try:
            answer = json.loads(lines[-1])
        except (IndexError, ValueError):
            evidence = [*lines, *done["stderr"].strip().splitlines()][-15:]
            msg = f"The transaction program ended with exit code {done['rc']} and gave no answer."
            return {"failed": True, "reachable": True, "msg": msg, "evidence": evidence}
        return {"reachable": True, **answer}
