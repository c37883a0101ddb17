# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run did, as lines for the terminal; which hosts it lost on the way. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Results that a host's tasks registered, and when a host that could not be reached then died.
_MOMENTS = {"release_staged": "while it was staged", "release_switch": "in its wave"}


def died(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The hosts that could not be reached any more, each with when and what was found.

    Only these: a host that was reached and whose release failed has an answer, which says ``reachable``.
    """
    found = {}
    for host in hosts:
        for name, moment in _MOMENTS.items():
            result = hostvars[host].get(name) or {}
            if result.get("reachable") is False:
                found[host] = f"{moment}: {_first_line(result.get('msg'))}"
    return found


def not_back(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The hosts that a deployment which was taken back has switched, or tried to, and could not bring back, each with why."""
    found = {}
    for host in hosts:
        switch = hostvars[host].get("release_switch") or {"skipped": True}
        if hostvars[host].get("release_stranded"):
            found[host] = str(hostvars[host]["release_stranded"])
        elif not switch.get("skipped") and "release_recovered" not in hostvars[host]:
            found[host] = "the run ended before it came to this host"
    return found


def left_out(lost: Mapping[str, str], app: str) -> list[str]:
    """A line for each host that was left out, and one with what brings them right."""
    if not lost:
        return []
    lines = [f"{host} was left out, it was dead {_first_line(why)}" for host, why in lost.items()]
    return [*lines, f"Once they are back they are brought right by: ansible-playbook playbooks/reconcile.yml -e app={app}"]


def ended_well(kind: str, plan: Mapping[str, Any], lost: Mapping[str, str], signed: str, hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the run brought about, who ordered it and why; the hosts that it left out come last.

    A host has moved to the release; or it had that, and was put right: it was out of service, or something of it differed.
    """
    hosts = {host: move for host, move in plan["hosts"].items() if host not in lost}
    confirmed = f", plan confirmed ({plan['id']})" if plan.get("confirmed") else ""
    ordered = f", by {plan['ordered']}" if plan.get("ordered") else ""
    lines = [f"{kind} {plan['app']} {plan['version']}: {plan['release']} on {len(hosts)} hosts{confirmed}{ordered}"]
    if kind == "reconcile":
        changed = [_brought_right(host, move, hostvars[host]) for host, move in hosts.items()]
        lines += [line for line in changed if line] or ["Every host that can be reached was right already."]
    return [*lines, *([signed] if signed else []), *left_out(lost, plan["app"])]


def _brought_right(host: str, move: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What a reconciliation did to a host; empty where it was right. ``found`` are the host's variables."""
    if move["changes"]:
        return f"{host}: {move['from'] or 'nothing'} -> {move['to']}"
    if not (found.get("release_switch") or {}).get("changed"):
        return ""
    report = found.get("release_report") or {}
    word = report.get("balancer_word")
    wrong = [*report.get("drift", []), *([f"it told the load balancers {word}"] if word not in (None, "ready") else [])]
    return f"{host}: {move['to']}, which it had, was put right: {'; '.join(wrong) or 'it was not healthy'}"


def _first_line(text: object) -> str:
    return str(text or "no reason known").strip().splitlines()[0]
