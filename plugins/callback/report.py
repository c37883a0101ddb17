# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine-readable report of every run, as JSON and JUnit XML. It only watches."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
type: notification
short_description: Write a report of every run, as JSON and as JUnit XML
version_added: 0.1.0
description:
  - Writes two files for every run, C(<utc time>-<playbook>-<id>.json), as C(docs/report.schema.json) describes it, and C(.xml) for
    what reads test results. They are written when a play begins, as those of a run that was interrupted, and replaced at the end. So a run that was
    cut short has a report, too, as far as it came where it was interrupted (C(^C)), and as far as the begin of its last play where it was killed
    (SIGTERM, as CI cancels, or SIGKILL).
  - Told are the playbook, its options, seconds by play and host, counts, failed tasks with their message, changed tasks, how it ended and its
    last words.
  - Values that C(no_log) hides are never in it, nor are arguments of tasks. Of extra variables only the names are, with the values of
    V(version), V(app), V(target), V(reason), V(by), V(force), V(state) and V(flag).
  - It never changes or fails a run. A folder that cannot be written is one warning.
requirements:
  - enabled in C(callbacks_enabled)
author:
  - Tossable Fleet maintainers (@tossable)
options:
  folder:
    description:
      - Where reports are written. Relative to the folder of C(ansible.cfg), or to the current one where there is none.
    type: str
    default: build/reports
    env:
      - name: TOSSABLE_REPORT_FOLDER
    ini:
      - section: callback_report
        key: folder
  keep:
    description: How many reports are kept; older ones are removed. With V(0) none is written.
    type: int
    default: 200
    env:
      - name: TOSSABLE_REPORT_KEEP
    ini:
      - section: callback_report
        key: keep
"""

import atexit
import functools
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ansible import constants, context
from ansible.plugins.callback import CallbackBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import run_report, watching


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    """A defect in the report ends the report, not the run, and is told once."""

    @functools.wraps(method)
    def guarded(self: CallbackModule, *args: Any, **more: Any) -> None:
        try:
            method(self, *args, **more)
        except Exception as error:
            self.give_up(f"{type(error).__name__}: {error}")

    return guarded


class CallbackModule(CallbackBase):
    """See the documentation above."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "tossable.fleet.report"
    CALLBACK_NEEDS_ENABLED = True
    disabled: bool

    def __init__(self) -> None:
        super().__init__()
        self._report: run_report.Report | None = None
        self._folder, self._keep, self._name = "", 0, ""
        self._zero = time.monotonic()
        self._started: dict[tuple[str, str], float] = {}

    def give_up(self, why: str) -> None:
        """Say once that there will be no report, and watch no longer."""
        if not self.disabled:
            self.disabled = True
            self._report = None
            self._display.warning(f"No report of this run: {why}. The run itself goes on as it would.")

    @_guarded
    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Read the options."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        beside = os.path.dirname(constants.CONFIG_FILE) if constants.CONFIG_FILE else os.getcwd()
        self._folder = os.path.join(beside, os.path.expanduser(self.get_option("folder")))
        self._keep = self.get_option("keep")
        self.disabled = self._keep < 1

    def _now(self) -> float:
        return time.monotonic() - self._zero

    @_guarded
    def v2_playbook_on_start(self, playbook: Any) -> None:
        """A run begins."""
        now = datetime.now(tz=UTC)
        self._zero = time.monotonic()
        path = watching.place(playbook._file_name)
        self._report = run_report.Report(path, now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}Z")
        self._name = run_report.stem(now.strftime("%Y%m%dT%H%M%SZ"), path, secrets.token_hex(4))
        # Where the run is interrupted, Ansible tells a callback nothing. Its workers leave without this, by os._exit.
        atexit.register(self._cut_short)

    @_guarded
    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play begins, or its next batch."""
        if self._report:
            if not self._report.plays:
                self._report.options = watching.options(context.CLIARGS, play.get_variable_manager().extra_vars)
            self._report.play(play.get_name().strip(), self._now())
            # A run that is killed tells nobody: this stands until the next play begins, or the end replaces it.
            self._report.seconds = self._now()
            self._put(self._report)

    @_guarded
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A task begins on a host."""
        self._started[host.name, task._uuid] = self._now()

    def _ended(self, result: Any, status: str) -> None:
        if self._report and self._report.plays:
            task, now = result.task, self._now()
            began = self._started.pop((result.host.name, task._uuid), now)
            ended = watching.ended(
                result.host.name, result.task_name.strip(), task.resolved_action or task.action, status, now - began, result.result
            )
            self._report.plays[-1].tasks.append(ended)

    @_guarded
    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well on a host."""
        self._ended(result, "changed" if result.is_changed() else "ok")

    @_guarded
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._ended(result, "ignored" if ignore_errors else "failed")

    @_guarded
    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was skipped on a host."""
        self._ended(result, "skipped")

    @_guarded
    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._ended(result, "ignored" if result.task.ignore_unreachable else "unreachable")

    @_guarded
    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The run came to its end."""
        if self._report:
            counts = {host: stats.summarize(host) for host in sorted(stats.processed)}
            self._report.end(
                {host: {("failed" if word == "failures" else word): count for word, count in found.items()} for host, found in counts.items()},
                self._now(),
            )
            self._write()

    @_guarded
    def _cut_short(self) -> None:
        if self._report:
            self._report.stop(self._now())
            self._write()

    def _write(self) -> None:
        report, self._report = self._report, None
        if report:
            self._put(report)

    def _put(self, report: run_report.Report) -> None:
        try:
            run_report.write(self._folder, self._name, report, self._keep)
        except OSError as error:
            self.give_up(f"{self._folder} cannot be written ({error.strerror or error}), callback_report folder says where reports go")
