# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `contract_plan`: decide which contract migrations run, once no host can go back past them. Changes nothing."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, migrations, plan_view, planning, version_words

_SPEC: dict[str, Any] = {
    "app": {"type": "str", "required": True},
    "version": {"type": "str"},
    "reports": {"type": "dict", "required": True},
    "migrations": {"type": "dict", "required": True},
    "give_up": {"type": "list", "elements": "str", "default": []},
    "limited": {"type": "bool", "default": False},
    "migration_seconds": {"type": "int", "default": 600},
    "lock_seconds": {"type": "int", "default": 900},
    "run": {"type": "str"},
    "by": {"type": "str"},
    "reason": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan, or fail with everything that stands in its way."""
        # Before it is made text of: what was written is no longer known then.
        if wrong := version_words.unquoted(self._task.args.get("version")):
            raise AnsibleActionFail(f"Nothing was migrated. {wrong}")
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        reports, give_up = given["reports"], [version for version in given["give_up"] if version]
        plan, release, gone = migrations.contraction(
            reports, given["migrations"], given["version"], give_up, given["limited"], given["migration_seconds"], given["lock_seconds"]
        )
        unexplained = ["Giving releases up needs a reason, which every host keeps: -e \"reason='...'\""] if give_up and not given["reason"] else []
        if obstacles := [*plan.obstacles, *unexplained]:
            raise AnsibleActionFail("\n".join(["Nothing was migrated. In the way:", *(f"- {line}" for line in obstacles)]))
        run = given["run"] or deployment_lock.new_run()
        return {
            **result,
            "changed": False,
            "app": given["app"],
            "release": release,
            "run": run,
            "by": deployment_lock.somebody(given["by"]),
            "reason": given["reason"],
            "token": planning.newest_token(reports, run),
            "migrations": plan.told(),
            "give_up": gone,
            "summary": [*plan.lines, f"run {run}, by {plan_view.ordered(deployment_lock.somebody(given['by']), given['reason'])}"],
        }
