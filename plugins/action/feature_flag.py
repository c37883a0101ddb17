# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `feature_flag`: decide on the ops host which flags are live, bring them to a host, or look; one small shell command each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_live, flag_publish, flag_set, flag_steps, flag_view

_SPEC: dict[str, Any] = {
    "argument_spec": {
        "state": {"type": "str", "required": True, "choices": ["decided", "published", "read", "live", "counted"]},
        "environment": {"type": "str"},
        "declared": {"type": "path"},
        "changes": {"type": "dict", "default": {}},
        "groups": {"type": "dict", "default": {}},
        "by": {"type": "str"},
        "on_behalf_of": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
        "until": {"type": "str", "default": ""},
        "above": {"type": "int", "default": 0},
        "what_may": {"type": "bool", "default": False},
        "follow": {"type": "bool", "default": True},
        "samples": {"type": "list", "elements": "dict"},
        "content": {"type": "str"},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "requests_metric": {"type": "str", "default": "feature_flag_requests_total"},
        "evaluations_metric": {"type": "str", "default": "feature_flag_evaluations_total"},
    },
    "required_if": [
        ("state", "decided", ("environment", "declared")),
        ("state", "live", ("environment", "declared")),
        ("state", "published", ("content",)),
    ],
}
#: How often another one may be quicker: each time one of us has got its way, so more than a few mean that something else is wrong.
_TRIES = 10
#: What a fault begins with that has its place in a file.
_PLACE = re.compile(r"\S+\.yml:")
_UNKNOWN = (
    "It is not known whether anything was changed. {lost}. It could not be read again either: {unread}. Hosts got nothing yet. playbooks/flags.yml "
    "shows what is live; the same command again makes the switch where it is missing, and brings it to every host"
)
_UNTIL = "`until` is a word of Ansible itself: say it as -e ends=2h, or ends=2026-12-01"


class _UnknownError(Exception):
    """Whether a switch was made is not known, in words."""


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what is live, or what the host holds; a host that cannot be reached is a result, not an error."""
        _checked, given = self.validate_argument_spec(**_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        if given["state"] == "decided" and "until" in (task_vars or {}):
            return {**result, "failed": True, "msg": f"Nothing was changed. {_UNTIL}"}
        does = {"decided": self._decide, "published": self._publish, "read": self._read, "live": self._live, "counted": self._count}
        return {**result, **does[given["state"]](given)}

    def _decide(self, given: dict[str, Any]) -> dict[str, Any]:
        """Read, decide, replace unless somebody else was quicker; then again by what that one has made."""
        try:
            changes = flag_view.changes(given["changes"])
            order = _order(given, changes)
            flags, absent = flag_set.load(Path(given["declared"])), flag_set.absent(Path(given["declared"]))
            for _attempt in range(_TRIES):
                live, line = self._state(given["environment"])
                flag_live.keep_from_loss(given["declared"], absent, live, line)
                today = datetime.now(tz=UTC).date()
                how = (given["above"], given["what_may"], given["follow"])
                decision = flag_live.decide(flags, live, line, changes, order, given["groups"], today, *how)
                if self._task.check_mode or not decision.changed or self._made(live, decision):
                    return self._decided(given, decision, line)
        except _UnknownError as error:
            return {"failed": True, "msg": str(error)}
        except (ValueError, AnsibleConnectionFailure) as error:
            return {"failed": True, "msg": f"Nothing was changed. {_words(error)}"}
        return {"failed": True, "msg": f"Nothing was changed: others have changed flags {_TRIES} times meanwhile. Run the same command again."}

    def _decided(self, given: dict[str, Any], decision: flag_live.Decision, line: bytes) -> dict[str, Any]:
        # Read where it is needed: each host's worker reads this file anew, and most of them only bring the line.
        from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, flag_samples

        answer = {
            "changed": decision.changed,
            "generation": decision.live.generation,
            "digest": decision.live.digest,
            "content": decision.line.decode(),
            "summary": decision.summary,
            "flags": decision.rows,
            "refused": list(decision.refused),
            "run": deployment_lock.new_run(),
            "by": deployment_lock.somebody(given["by"]),
        }
        if self._task.diff:
            users = flag_samples.USERS if given["samples"] is None else given["samples"]
            answer["diff"] = flag_view.diff(
                decision.rows, *(flag_samples.lines(of, [row["flag"] for row in decision.rows], users) for of in (line, decision.line))
            )
        return answer

    def _state(self, environment: str) -> tuple[flag_live.Live, bytes]:
        return flag_live.parse_read(self._low_level_execute_command(flag_live.read_command())["stdout"], environment)

    def _swap(self, before: flag_live.Live, decision: flag_live.Decision) -> bool:
        command, data = flag_live.swap_command(before, decision.live, decision.line)
        return flag_live.parse_swap(self._low_level_execute_command(command, in_data=data)["stdout"])

    def _made(self, before: flag_live.Live, decision: flag_live.Decision) -> bool:
        """Replace the live state, or find that somebody else was quicker; where the answer is lost, what is live by then tells which."""
        try:
            return self._swap(before, decision)
        except (ValueError, AnsibleConnectionFailure) as error:
            lost = _words(error).rstrip(".")
        try:
            found, line = self._state(before.environment)
        except (ValueError, AnsibleConnectionFailure) as error:
            raise _UnknownError(_UNKNOWN.format(lost=lost, unread=_words(error).rstrip("."))) from None
        if found == before and (found, line) != (decision.live, decision.line):
            raise ValueError(f"{lost}. It was read again: what is live is what it was before. Run the same command again")
        return flag_live.holds(found, decision)

    def _publish(self, given: dict[str, Any]) -> dict[str, Any]:
        data = given["content"].rstrip("\n").encode() + b"\n"
        try:
            generation = int(json.loads(data)["metadata"]["generation"])
        except (ValueError, KeyError, TypeError):
            return {"failed": True, "msg": "`content` is no line of flags. It is what state=decided and state=live return as `content`."}
        if self._task.check_mode:
            found = self._ask(flag_publish.read_command())
            return {**found, "changed": found["reachable"] and found["digest"] != flag_publish.digest(data)}
        piped = len(data) > flag_publish.LONGEST_ARGUMENT
        return self._ask(flag_publish.command(data, generation, piped=piped), data if piped else None)

    def _read(self, _given: dict[str, Any]) -> dict[str, Any]:
        return self._ask(flag_publish.read_command())

    def _ask(self, command: str, data: bytes | None = None) -> dict[str, Any]:
        try:
            done = self._low_level_execute_command(command, in_data=data)
        except AnsibleConnectionFailure as error:
            trouble = f"it cannot be reached: {' '.join(str(error).split())}"
            return {"reachable": False, "generation": 0, "digest": "", "trouble": trouble}
        found = flag_publish.parse(done["stdout"] or done["stderr"])
        return {"reachable": True, **found._asdict()}

    def _count(self, given: dict[str, Any]) -> dict[str, Any]:
        from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_metrics

        if not given["addresses"]:
            trouble = "no address is known at which an application shows what it counts: name it with flag_metrics in the inventory"
            return {"reachable": True, "trouble": trouble, "counted": {}}
        names = flag_metrics.Names(given["requests_metric"], given["evaluations_metric"])
        try:
            done = self._low_level_execute_command(flag_metrics.ask_command(given["addresses"], names))
        except AnsibleConnectionFailure as error:
            return {"reachable": False, "trouble": f"it cannot be reached: {' '.join(str(error).split())}", "counted": {}}
        found, troubles = flag_metrics.parse_answer(done["stdout"] or done["stderr"], names)
        return {"reachable": True, "trouble": "; ".join(troubles), "counted": {address: counts._asdict() for address, counts in found.items()}}

    def _live(self, given: dict[str, Any]) -> dict[str, Any]:
        try:
            flags = flag_set.load(Path(given["declared"]))
            live, line = self._state(given["environment"])
            flag_live.keep_from_loss(given["declared"], flag_set.absent(Path(given["declared"])), live, line)
        except (ValueError, AnsibleConnectionFailure) as error:
            return {"failed": True, "msg": f"The flags cannot be told. {_words(error)}"}
        now = datetime.now(tz=UTC)
        rows = flag_view.rows(flags, live, now)
        return {"generation": live.generation, "digest": live.digest, "content": line.decode(), "flags": rows, "overrides": live.overrides}


def _order(given: dict[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> flag_live.Order:
    from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock

    now = datetime.now(tz=UTC)
    by, account = (deployment_lock.somebody(name) for name in (given["by"], None))
    ends = flag_live.until(given["until"], now, any(flag_steps.begins(words) for words in changes.values()) or not changes)
    return flag_live.Order(by, given["on_behalf_of"] or None, given["reason"], flag_live.utc(now), ends, account)


def _words(error: Exception) -> str:
    """The error as sentences that can follow another one."""
    said = str(error).strip()
    if isinstance(error, AnsibleConnectionFailure):
        return f"The ops host cannot be reached: {said}"
    return said if _PLACE.match(said) else said[:1].upper() + said[1:]
