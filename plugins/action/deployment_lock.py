# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `deployment_lock`: one run at a time for an application in an environment, one exec an operation."""

from __future__ import annotations

import time
from typing import Any

from ansible.utils.display import Display
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.lease import Owner
from ansible_collections.tossable.fleet.plugins.module_utils.host.lease_postgres import connection_words
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction

_SPEC: dict[str, Any] = {
    "argument_spec": {
        "app": {"type": "str"},
        "environment": {"type": "str"},
        "database": {"type": "str", "default": ""},
        "state": {"type": "str", "required": True, "choices": ["held", "renewed", "free", "broken", "shown"]},
        "what": {"type": "str", "default": "a deployment"},
        "by": {"type": "str"},
        "reason": {"type": "str", "default": ""},
        "lease_seconds": {"type": "int", "default": 900},
        "wait_seconds": {"type": "int", "default": 0},
        "above": {"type": "int", "default": 0},
        "lock": {"type": "dict"},
    },
    "required_if": [
        *(("state", state, ("app", "environment")) for state in ("held", "broken", "shown")),
        *(("state", state, ("lock",)) for state in ("renewed", "free")),
    ],
}
#: Seconds between two questions while another run has the lock.
POLL_SECONDS = 2.0


class ActionModule(HostAction):
    """See the documentation of the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the lock as this run carries it, or who has it."""
        _checked, given = self.validate_argument_spec(**_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        given |= {name: given["lock"][name] for name in ("app", "environment", "database")} if given["lock"] else {}
        state = "shown" if self._task.check_mode else given["state"]
        does = {"held": self._take, "renewed": self._renew, "free": self._free, "broken": self._break, "shown": self._show}
        return {**result, **does[state](given)}

    def _ask(self, given: dict[str, Any], operation: str, **more: Any) -> dict[str, Any]:
        try:
            where = {"database": connection_words(given["database"])} if given["database"] else {}
        except HostError as error:
            return {"failed": True, "msg": error.message, "evidence": []}
        return self.call("lock", given["app"], {"environment": given["environment"], **where, "operation": operation, **more})

    def _take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Ask until the lock is had or the time to wait is over; a holder found dead loses it at once."""
        me = deployment_lock.owner(deployment_lock.new_run(), given["by"], given["reason"], given["what"])
        began, told = time.monotonic(), ""
        dead: int | None = None
        while True:
            if deployment_lock.orphaned():
                # Nobody would free it, and nobody could see that its owner is dead.
                return {"failed": True, "msg": "Nothing was changed: ansible-playbook has ended, so nobody is there to take the lock for."}
            asked = deployment_lock.uptime()
            answer = self._ask(given, "acquire", owner=me._asdict(), seconds=given["lease_seconds"], take_over=dead)
            if answer.get("failed"):
                return _unanswered("The deployment lock could not be taken, so nothing was changed.", answer)
            if answer["held"]:
                lock = deployment_lock.carried(given["app"], given["environment"], me.run, answer, asked)
                lock |= {"database": given["database"], "continues": deployment_lock.continues(answer, given["what"])}
                lock |= {"unfinished": deployment_lock.unfinished(answer, given["what"])}
                lock |= {"took_over": deployment_lock.took_over(answer), "since": asked, "broken": deployment_lock.broken(answer)}
                return {"lock": lock, "summary": answer["said"] and f"The lock was {answer['said']}"}
            holder = Owner(**answer["lease"]["owner"])
            if dead != answer["token"] and deployment_lock.is_dead(holder, me, deployment_lock.process_start(holder.pid)):
                dead = answer["token"]
                continue
            waited = time.monotonic() - began
            if waited >= given["wait_seconds"]:
                return {"failed": True, "msg": deployment_lock.refusal(given["app"], given["environment"], answer, int(waited))}
            if told != holder.run:
                told = holder.run
                who = deployment_lock.holder_words(answer["lease"])
                Display().display(f"Waiting for the lock, {given['wait_seconds'] - waited:.0f} s at most. It is held by {who}")
            time.sleep(min(POLL_SECONDS, given["wait_seconds"] - waited))

    def _renew(self, given: dict[str, Any]) -> dict[str, Any]:
        """Never fails, because a task that runs once and fails takes hosts of other waves out of the run: what acts under the lock refuses."""
        lock = given["lock"]
        asked = deployment_lock.uptime()
        answer = self._ask(given, "renew", run=lock["run"], token=lock["token"], above=given["above"])
        if answer.get("failed"):
            said = f"The lock could not be renewed: {answer['msg']}"
            if deployment_lock.trouble(lock, asked) is None:
                return {"lock": lock, "warnings": [f"{said} The run goes on for as long as its lease lasts."]}
            return {"lock": deployment_lock.lost(lock, f"{said} {deployment_lock.trouble(lock, asked)}")}
        if answer["held"]:
            return {"lock": {**lock, **deployment_lock.carried(lock["app"], lock["environment"], lock["run"], answer, asked)}}
        said = deployment_lock.loss(lock, answer)
        return {"lock": deployment_lock.lost(lock, said), "warnings": [said]}

    def _free(self, given: dict[str, Any]) -> dict[str, Any]:
        """Never fails: a lock that cannot be freed runs out."""
        answer = self._ask(given, "free", run=given["lock"]["run"], token=given["lock"]["token"])
        if answer.get("failed"):
            return {"warnings": [f"The lock could not be freed and becomes free by itself once its lease has run out: {answer['msg']}"]}
        return {"summary": deployment_lock.summary(given["app"], given["environment"], answer)}

    def _break(self, given: dict[str, Any]) -> dict[str, Any]:
        answer = self._ask(given, "break", by=deployment_lock.somebody(given["by"]), reason=given["reason"])
        if answer.get("failed"):
            return _unanswered("The lock was not broken.", answer)
        broken = answer["last"] if answer["changed"] else None
        what = f"broken, it was held by {broken['from']['by']} (run {broken['from']['run']})" if broken else "nothing to break, it was free"
        return {
            "changed": answer["changed"],
            "broken": broken and broken["from"],
            "summary": f"lock of {given['app']} in {given['environment']}: {what}",
        }

    def _show(self, given: dict[str, Any]) -> dict[str, Any]:
        """Never fails: the status shows what it can."""
        answer = self._ask(given, "show")
        if answer.get("failed"):
            return {"lock": {}, "summary": f"lock of {given['app']} in {given['environment']}: unknown. {answer['msg']}"}
        # What is said beside a lease is that it has run out: nobody is at work any more, whoever it was.
        holder = None if answer["said"] else answer["lease"]
        return {"lock": {}, "holder": holder, "summary": deployment_lock.summary(given["app"], given["environment"], answer)}


def _unanswered(head: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"failed": True, "msg": f"{head} {answer['msg']}", "evidence": answer.get("evidence", [])}
