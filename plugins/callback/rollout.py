# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The output of a run for people: an event a line, failures as evidence; on a terminal a live view below. It only watches."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: An event a line, failures as evidence, and a live view on a terminal
version_added: 0.1.0
description:
  - Shows plays and waves, what changed, each host's steps with their seconds, the gate's line, messages as plain text, and failures as what,
    where and the last log lines. What changed nothing is not shown. The recap at the end is Ansible's own.
  - On a terminal a live view below these lines shows phases, waves, hosts, the gate, the time that has passed and, by the plan's estimate, what
    is left. Below the wave at work it has a line for each of its hosts (up to six), with what it is at, or with the seconds of each step of its
    transaction once that has ended. A host goes through all steps in one call, and tells them with its answer. It needs the Python library
    C(rich) beside Ansible; without it there are only lines.
  - With C(-v), and for everything else, the output is that of P(ansible.builtin.default#callback).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
author:
  - Tossable Fleet maintainers (@tossable)
options:
  live:
    description: Whether there is a live view where the output is a terminal.
    type: bool
    default: true
    env:
      - name: TOSSABLE_ROLLOUT_LIVE
    ini:
      - section: callback_rollout
        key: live
  live_after:
    description: Seconds after which the live view begins. A run that is over before needs none, and is not slowed by it.
    type: float
    default: 3
    env:
      - name: TOSSABLE_ROLLOUT_LIVE_AFTER
    ini:
      - section: callback_rollout
        key: live_after
"""

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ansible import constants
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.tossable.fleet.plugins.plugin_utils import rollout, rollout_screen, watching

_COLORS = {
    "changed": constants.COLOR_CHANGED,
    "failed": constants.COLOR_ERROR,
    "unreachable": constants.COLOR_UNREACHABLE,
    "ignored": constants.COLOR_WARN,
}


def _debugs(result: Any) -> bool:
    return bool((result.task.resolved_action or result.task.action).rpartition(".")[2] == "debug")


def _asks(task: Any) -> bool:
    """Whether the task waits for what somebody types, and not only for a time."""
    return task.action.rpartition(".")[2] == "pause" and ("prompt" in task.args or not {"seconds", "minutes"} & set(task.args))


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    """Where this gave up, or is asked for detail, the default's method of the same name shows the event."""

    @functools.wraps(method)
    def guarded(self: CallbackModule, *args: Any, **more: Any) -> None:
        if self.watches:
            try:
                method(self, *args, **more)
                return
            except Exception as error:
                self.give_up(f"{type(error).__name__}: {error}")
        getattr(super(CallbackModule, self), method.__name__)(*args, **more)

    return guarded


class CallbackModule(Default):
    """See the documentation above."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "tossable.fleet.rollout"

    def __init__(self) -> None:
        super().__init__()
        self.watches = self._display.verbosity == 0
        self._course = rollout.Course()
        self._screen: rollout_screen.Screen | None = None
        self._zero = time.monotonic()

    def give_up(self, why: str) -> None:
        """Say once that the output is the default's from here on."""
        self.watches = False
        self._stop()
        self._display.warning(f"The callback tossable.fleet.rollout gave up ({why}); from here on the output is ansible.builtin.default's.")

    def _now(self) -> float:
        return time.monotonic() - self._zero

    def _stop(self) -> None:
        screen, self._screen = self._screen, None
        if screen:
            screen.stop()

    def _say(self, lines: list[str], status: str = "ok") -> None:
        bad = status in ("failed", "unreachable")
        for line in lines:
            self._display.display(line, color=_COLORS.get(status), stderr=bad and self.get_option("display_failed_stderr"))

    def _ended(self, result: Any, status: str) -> None:
        task, now = result.task, self._now()
        _name, began = self._course.running.get(result.host.name, ("", now))
        action = task.resolved_action or task.action
        ended = watching.ended(result.host.name, result.task_name.strip(), action, status, now - began, result.result)
        self._course.see(ended, now)
        self._handle_warnings(result.result)
        self._say(rollout.event(ended, watching.place(task.get_path() or "")), status)

    @_guarded
    def v2_playbook_on_start(self, playbook: Any) -> None:
        """The run begins."""
        self._zero = time.monotonic()
        self._course.plays = [play.get_name().strip() for play in playbook.get_plays()]
        # ansible-runner gives a terminal to a run and reads events out of what is written there, which a picture would tear.
        watched = "AWX_ISOLATED_DATA_DIR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
        if self.get_option("live") and sys.stdout.isatty() and watched:
            picture = functools.partial(rollout.picture, self._course)
            self._screen = rollout_screen.Screen(lambda: picture(self._now()), self._display._lock, self.get_option("live_after"))
            # A run that is interrupted tells a callback nothing.
            atexit.register(self._stop)

    @_guarded
    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play begins, or its next batch."""
        self._play = play
        self._say(self._course.begin(play.get_name().strip()))

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        """Keep what the default's banner is made of, for events that it shows."""
        if not self.watches:
            super()._task_start(task, prefix=prefix)
            return
        if prefix is not None:
            self._task_type_cache[task._uuid] = prefix
        self._last_task_name = task.get_name().strip()
        if self._screen and _asks(task):
            # The answer would be written into the picture.
            self._stop()

    @_guarded
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A task begins on a host."""
        self._course.running[host.name] = (task.get_name().strip(), self._now())

    @_guarded
    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well on a host."""
        said = result.result.get("msg")
        if _debugs(result) and not isinstance(said, str | list) and "censored" not in result.result:
            # Values, not a message.
            super().v2_runner_on_ok(result)
        self._ended(result, "changed" if result.is_changed() else "ok")

    @_guarded
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._ended(result, "ignored" if ignore_errors else "failed")

    @_guarded
    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._ended(result, "ignored" if result.task.ignore_unreachable else "unreachable")

    @_guarded
    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was skipped on a host."""
        self._ended(result, "skipped")

    @_guarded
    def v2_runner_item_on_ok(self, result: Any) -> None:
        """An item of a loop ended well: what it says, if it says something; that it changed is told once for the loop."""
        if not _debugs(result) or "censored" in result.result:
            return
        if isinstance(result.result.get("msg"), str | list):
            self._say(watching.message(result.result).splitlines())
        else:
            super().v2_runner_item_on_ok(result)

    @_guarded
    def v2_runner_item_on_failed(self, result: Any) -> None:
        """An item of a loop failed; all of them are told once for the loop."""

    @_guarded
    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """An item of a loop was skipped."""

    @_guarded
    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Files were included."""

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The run came to its end; the recap is the default's."""
        try:
            self._stop()
        except Exception as error:
            self.give_up(f"{type(error).__name__}: {error}")
        super().v2_playbook_on_stats(stats)
