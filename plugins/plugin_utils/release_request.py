# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a task's arguments to the call of the transaction program, and what check mode says instead. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

#: Arguments of the action, as `validate_argument_spec` takes them.
SPEC: dict[str, Any] = {
    "argument_spec": {
        "app": {"type": "str", "required": True},
        "state": {
            "type": "str",
            "required": True,
            "choices": ["staged", "active", "rolled_back", "restarted", "retired", "pruned", "given_up", "drained", "ready"],
        },
        "release": {"type": "str"},
        "version": {"type": "str"},
        "digest": {"type": "str"},
        "url": {"type": "str"},
        "run": {"type": "str", "default": "by-hand"},
        "by": {"type": "str", "default": "unknown"},
        "reason": {"type": "str", "default": ""},
        "blame": {"type": "bool", "default": True},
        "configuration": {"type": "str", "choices": ["wanted", "kept"], "default": "wanted"},
        "lock": {"type": "dict"},
    },
    "required_if": [("state", "staged", ("version", "digest", "url")), ("state", "active", ("release",)), ("state", "given_up", ("release",))],
}
_KINDS = {"active": "activate", "rolled_back": "rollback", "restarted": "restart", "retired": "retire"}
_VERBS = {"staged": "stage", "pruned": "prune", "drained": "leave", "ready": "return"}


class Call(NamedTuple):
    """A verb of the program and its input; ``own_unit`` where it must survive a dropped connection."""

    verb: str
    given: dict[str, Any]
    own_unit: bool


def build(given: dict[str, Any]) -> Call:
    """The call for the wanted state."""
    who: dict[str, Any] = {"run": given["run"], "by": given["by"]}
    if given["lock"]:
        who["token"] = given["lock"]["token"]
    if kind := _KINDS.get(given["state"]):
        asked = {name: given[name] for name in ("release", "reason", "blame", "configuration")}
        return Call("transact", {**who, "kind": kind, **asked}, own_unit=True)
    if given["state"] == "staged":
        return Call("stage", {**who, "version": given["version"], "digest": given["digest"], "url": given["url"]}, own_unit=False)
    if given["state"] == "given_up":
        return Call("give_up", {**who, "release": given["release"], "reason": given["reason"]}, own_unit=False)
    return Call(_VERBS[given["state"]], who, own_unit=given["state"] != "pruned")


def foresee(given: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """What the wanted state would change on a host that reports ``report`` (see `release_info`)."""
    state, live = given["state"], report["live"]
    after: str | None = live
    changed = False
    if state == "staged":
        changed = f"{given['version']}-{given['digest'][:8]}" not in report["staged"]
    elif state == "active":
        after, changed = given["release"], live != given["release"] or reconfigures(report)
    elif state == "rolled_back":
        after = given["release"] or report["previous"]
        changed = after != live
    elif state == "retired":
        after, changed = None, live is not None
    elif state == "given_up":
        changed = given["release"] in report["staged"]
    elif state == "restarted":
        changed = live is not None
    elif state in ("drained", "ready"):
        word = {"drained": "maint", "ready": "ready"}[state]
        changed = report["balancer_word"] not in (None, word)
    return {"changed": changed, "release": after, "previous": live, "diff": diff({"previous": live, "release": after})}


def reconfigures(report: Mapping[str, Any]) -> bool:
    """Whether another configuration is wanted on the host than the one that its live release runs with."""
    configuration = report.get("configuration", {})
    return configuration.get("wanted") not in (None, configuration.get("live"))


def diff(answer: dict[str, Any]) -> dict[str, str]:
    """The change of the live release as Ansible's diff."""
    before, after = answer.get("previous"), answer.get("release")
    return {"before": f"release: {before}\n" if before else "", "after": f"release: {after}\n" if after else ""}
