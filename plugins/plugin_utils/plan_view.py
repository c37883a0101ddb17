# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as lines for the terminal: what lies between the live release and the wanted one, how long it takes, and how to apply it.

Pure functions over the data that `release_plan` returns. A label stands in the first column, so that an eye finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .plan_changes import shown

#: Width of the labels.
LABEL = 13
#: Lines that the commits of all comparisons share, so that a plan stays on a screen.
COMMIT_LINES = 18
#: Variables of one kind of host that are named.
NAMED = 12


def lines(plan: Mapping[str, Any], run: str | None = None) -> list[str]:
    """What stands between the table of hosts, which `planning.summary` makes, and the plan's name; ``run`` is the one that has begun, if any."""
    hosts = list(plan["hosts"])
    found = [line for one in plan["changes"] for line in _comparison(one, hosts, len(plan["changes"]))]
    if first := plan["first_on"]:
        found.append(_labelled("files", f"all of {plan['files']}, the first release on {_who(first, hosts)}"))
    if plan["fetch"]:
        found.append(_labelled("to fetch", _fetch(plan["fetch"], hosts)))
    found += [_labelled("environment", _environment(group, hosts)) for group in plan["configuration"]]
    if plan["estimate"]:
        found.append(_labelled("takes", duration(plan["estimate"])))
    if plan["capacity"]:
        found.append(_labelled("at a time", f"at most {_number(plan['capacity'], 'host')} out of service"))
    if run:
        found.append(_labelled("run", run))
        found.append(_labelled("by", plan["ordered"]))
    count = len(plan["obstacles"])
    found.append(_labelled("in the way", f"{_number(count, 'thing')}, listed at the end" if count else "nothing"))
    return found


def ordered(by: str, reason: str) -> str:
    """Who ordered a run and why, in the words of chat and ledger, on one line."""
    return f"{by}, because: {' '.join(reason.split())}" if reason.strip() else f"{by}, no reason given"


def unplanned(kind: str, app: str, reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What can be said where it is not known yet where the fleet is to go: what each host runs."""
    wide = max(map(len, reports), default=0)
    rows = [f"  {host:<{wide}}  {report.get('live') or ('nothing' if 'live' in report else 'unknown')}" for host, report in reports.items()]
    return [f"{kind} {app}: no plan yet; what {len(reports)} hosts run now:", *rows]


def closing(plan: Mapping[str, Any], only_shown: bool) -> list[str]:
    """The plan's name, and the command that applies it where the plan is only shown."""
    if plan["obstacles"] or not plan["id"]:
        return []
    if plan["confirmed"]:
        return [f"{plan['id']}, as confirmed"]
    if not only_shown:
        return [plan["id"]]
    return [f"{plan['id']}; to apply exactly this:", f"  {plan['command']}"]


def duration(estimate: Mapping[str, Any]) -> str:
    """The estimate in words, and what it is made of."""
    baking = f"up to {estimate['baking']:.0f} s of it baking" if estimate["baking"] else ""
    if estimate["seconds"] is None:
        return "no history yet" + (f"; bakes up to {estimate['baking']:.0f} s" if baking else "")
    if not estimate["most"]:
        return "nothing to switch"
    few, many = estimate["fewest"], estimate["most"]
    switches = "the last switch" if many == 1 else f"the last {many} switches" if few == many else f"the last {few} to {many} switches"
    rest = estimate["without_history"]
    unlike = f"; {', '.join(rest)}: no history yet, counted as the slowest other" if rest else ""
    return f"about {max(round(estimate['seconds']), 1)} s{', ' + baking if baking else ''} (from {switches} of each host{unlike})"


def _comparison(one: Mapping[str, Any], hosts: Sequence[str], among: int) -> list[str]:
    """Commits and files between one live release and the target; where several are live, these share the lines there are."""
    since = f"against {one['from']}{'' if among == 1 else ' on ' + _who(one['hosts'], hosts)}"
    if one["unknown"]:
        return [_labelled("commits", f"unknown {since}: {one['unknown']}"), _labelled("files", "unknown, for the same reason")]
    commits, files = one["commits"], one["files"]
    counted = ", ".join(f"{files[kind]['count']} {kind}" for kind in ("added", "changed", "removed"))
    named = [
        f"{'':{LABEL}}{mark} {shown(files[kind]['first'], files[kind]['count'])}"
        for kind, mark in (("added", "+"), ("changed", "~"), ("removed", "-"))
        if files[kind]["count"]
    ]
    return [*_commits(commits, since, max(COMMIT_LINES // among, 3)), _labelled("files", f"{counted} {since}"), *named]


def _commits(commits: Mapping[str, Any], since: str, most: int) -> list[str]:
    old, new = commits["from"], commits["to"]
    if not old or not new:
        return [_labelled("commits", f"unknown {since}: {commits['unknown']}")]
    span = f"{old[:10]}..{new[:10]}"
    if commits["unknown"]:
        return [_labelled("commits", f"{span} {since} ({commits['unknown']})")]
    if old == new:
        return [_labelled("commits", f"none {since}: both are {new[:10]}")]
    added, removed = commits["added"], commits["removed"]
    told = [f"{found['count']} {word}" for found, word in ((added, "new"), (removed, "taken away")) if found["count"]]
    head = _labelled("commits", f"{', '.join(told) or 'none that touches build_source'} {since} ({span})")
    return [head, *_listed(added, "+", most), *_listed(removed, "-", most)]


def _listed(found: Mapping[str, Any], mark: str, most: int) -> list[str]:
    named = [f"{'':{LABEL}}{mark} {line}" for line in found["first"][:most]]
    left = found["count"] - len(named)
    return [*named, *([f"{'':{LABEL}}{mark} and {left} more"] if left else [])]


def _fetch(fetch: Mapping[str, Any], hosts: Sequence[str]) -> str:
    if not fetch["hosts"]:
        return "nothing, every host has it"
    return f"{_bytes(fetch['bytes'])} on {_who(fetch['hosts'], hosts)}"


def _environment(group: Mapping[str, Any], hosts: Sequence[str]) -> str:
    changes = group["changes"]
    named = " ".join(changes[:NAMED]) + (f" and {len(changes) - NAMED} more" if len(changes) > NAMED else "")
    return f"{named or 'nothing changes'} on {_who(group['hosts'], hosts)}"


def _who(some: Sequence[str], hosts: Iterable[str]) -> str:
    return "every host" if set(some) == set(hosts) else ", ".join(some)


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 1024:.0f} KiB" if count >= 1024 else f"{count} bytes"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _labelled(label: str, text: str) -> str:
    return f"{label:<{LABEL}}{text}"
