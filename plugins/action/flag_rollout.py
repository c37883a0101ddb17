# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `flag_rollout`: plan a flag's rollout in steps, judge it by what applications count, say how it ended. Changes nothing itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, flag_live, flag_rollout, flag_set, flag_steps

_SPEC: dict[str, Any] = {
    "argument_spec": {
        "state": {"type": "str", "required": True, "choices": ["planned", "judged", "ended"]},
        "flag": {"type": "str", "default": ""},
        "steps": {"type": "raw", "default": flag_rollout.STEPS},
        "environment": {"type": "str"},
        "declared": {"type": "path"},
        "live": {"type": "dict"},
        "counted": {"type": "dict"},
        "groups": {"type": "dict", "default": {}},
        "by": {"type": "str"},
        "on_behalf_of": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
        "bake_seconds": {"type": "int", "default": 60},
        "look_seconds": {"type": "int", "default": 5},
        "wait_seconds": {"type": "int", "default": 600},
        "on_inconclusive": {"type": "str", "choices": ["wait", "proceed", "stop"], "default": "proceed"},
        "error_tolerance": {"type": "float", "default": 0.2},
        "error_harm": {"type": "float", "default": 2.0},
        "min_requests": {"type": "int", "default": 100},
        "plan": {"type": "dict"},
        "now": {"type": "dict"},
        "step": {"type": "dict"},
        "look": {"type": "int", "default": 0},
        "summary": {"type": "str", "default": ""},
        "missed": {"type": "str", "default": ""},
    },
    "required_if": [
        ("state", "planned", ("environment", "declared", "live", "counted")),
        ("state", "judged", ("plan", "now", "step", "live", "counted")),
        ("state", "ended", ("plan", "now")),
    ],
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan, where the rollout stands, or what is said of its end."""
        _checked, given = self.validate_argument_spec(**_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        does = {"planned": _plan, "judged": _judge, "ended": _end}
        try:
            return {**result, **does[given["state"]](given)}
        except ValueError as error:
            return {**result, "failed": True, "msg": f"Nothing was changed. {str(error)[:1].upper()}{str(error)[1:]}"}


def _plan(given: dict[str, Any]) -> dict[str, Any]:
    if not given["flag"]:
        raise ValueError("which flag is to be rolled out? Say it with -e flag=NAME")
    now = datetime.now(tz=UTC)
    wish = flag_rollout.Wish(**{name: given[name] for name in flag_rollout.Wish._fields})
    order = flag_live.Order(deployment_lock.somebody(given["by"]), given["on_behalf_of"] or None, given["reason"], flag_live.utc(now))
    live = flag_live.Live(given["environment"], given["live"]["generation"], given["live"]["overrides"], {}, given["live"]["digest"])
    flags = flag_set.load(Path(given["declared"]))
    run = deployment_lock.new_run()
    return flag_rollout.plan(flags, live, wish, order, given["groups"], now.date(), run, given["counted"], now.timestamp())


def _judge(given: dict[str, Any]) -> dict[str, Any]:
    plan, lost = given["plan"], ""
    # An ops host that did not answer just now has not said that somebody else has switched.
    if "overrides" in given["live"]:
        override = given["live"]["overrides"].get(plan["flag"])
        lost = "" if flag_steps.owned(override, plan["run"]) else flag_steps.lost(plan["flag"], plan["declared"], override)
    # A clock that is set back must not end the watch.
    at = max(time.time(), given["now"]["readings"][-1]["at"])
    return {"now": flag_rollout.judged(plan, given["now"], given["step"], given["look"], given["counted"], lost, at)}


def _end(given: dict[str, Any]) -> dict[str, Any]:
    well, said = flag_rollout.ended(given["plan"], given["now"], given["summary"], given["missed"])
    return {"failed": not well, "msg": said}
