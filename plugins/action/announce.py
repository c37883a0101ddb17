# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `announce`: hand what a run did to a process that tells chat services of it. Runs on the controller and waits for none of them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import announce_spool, announcements, deployment_lock

_SPEC: dict[str, Any] = {
    "announce": {"type": "list", "elements": "raw", "required": True, "no_log": True},
    "state": {"type": "str", "choices": ["checked", "handed_over"], "default": "handed_over"},
    "strict": {"type": "bool", "default": True},
    "folder": {"type": "path"},
    "story": {"type": "dict", "default": {}},
    "events": {"type": "list", "elements": "dict", "default": []},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was announced, and what could not be sent before; refuse only while nothing has been changed, and only where that is wanted."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        folder = Path(given["folder"]) if given["folder"] else announce_spool.default_folder()
        announced: list[str] = []
        troubles: list[str] = []
        if given["state"] == "checked":
            if mistakes := _mistakes(given["announce"]):
                if given["strict"]:
                    raise AnsibleActionFail(announcements.refusal(mistakes))
                troubles.append(announcements.left_aside(mistakes))
        elif not self._task.check_mode:
            announced, troubles = _hand_over(folder, given)
        unsent = [] if self._task.check_mode else _unsent(folder)
        warnings = [*troubles, *(f"Announcement {one}" for one in unsent)]
        return {**result, "changed": False, "announced": announced, "unsent": [*troubles, *unsent], **({"warnings": warnings} if warnings else {})}


def _mistakes(announce: list[Any]) -> str:
    """Why it could not be sent as it stands, a line each; empty where it could."""
    try:
        found = announcements.targets(announce)
        wrong = [announcements.unreadable(number) for number, well in enumerate(announce_spool.readable([target.to for target in found])) if not well]
    except ValueError as error:
        return str(error)
    except ImportError:
        wrong = ["the Python library apprise is not there: install it beside Ansible (pip install apprise), or take `announce` out of the inventory"]
    except (OSError, subprocess.SubprocessError) as error:
        wrong = [f"the addresses could not be checked: {type(error).__name__}"]
    return announcements.listed(wrong)


def _hand_over(folder: Path, given: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Queue the lines for everybody who wants to hear them; what goes wrong is told and stops nothing."""
    announced, warnings = [], []
    try:
        targets = announcements.targets(given["announce"])
        queues = []
        now = datetime.now(tz=UTC)
        for event in (announcements.whole(given["story"], one, now, deployment_lock.uptime()) for one in given["events"]):
            line = announcements.line(given["story"], event)
            announced.append(line)
            told = {"run": given["story"]["run"], "event": event["event"], "line": line}
            queues += [announce_spool.put(folder, one.label, one.to, told) for one in targets if event["event"] in one.events]
        for queue in dict.fromkeys(queues):
            announce_spool.send_beside(queue)
    except OSError as error:
        warnings.append(f"Not announced: {error.strerror or error} ({folder}). The run goes on.")
    except (ValueError, KeyError, TypeError) as error:
        warnings.append(f"Not announced: {type(error).__name__}: {error}. The run goes on.")
    return announced, warnings


def _unsent(folder: Path) -> list[str]:
    try:
        return announce_spool.untold(folder)
    except OSError as error:
        return [f"not known to be sent: {folder} cannot be read ({error.strerror})"]
