# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a plan changes, compared with what runs: files, environment variables, and the seconds it will take. Pure functions.

A *report* is what `release_info` returned for a host, a *move* what `plan_id.place` says of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import DIRECTORY, Manifest

Report = Mapping[str, Any]
Move = Mapping[str, Any]

#: Paths of each kind of change that are named.
NAMED = 10


def files(old: Manifest, new: Manifest) -> dict[str, Any]:
    """How many files and links the new artifact adds, changes and removes, and the first of each by path."""
    before = {entry.path: entry for entry in old.files if entry.type != DIRECTORY}
    after = {entry.path: entry for entry in new.files if entry.type != DIRECTORY}
    found = {
        "added": [path for path in after if path not in before],
        "changed": [path for path, entry in after.items() if path in before and before[path] != entry],
        "removed": [path for path in before if path not in after],
    }
    return {kind: {"count": len(paths), "first": sorted(paths)[:NAMED]} for kind, paths in found.items()}


def configuration(reports: Mapping[str, Report]) -> list[dict[str, Any]]:
    """Names of the variables that a deployment changes (``+`` new, ``~`` other value, ``-`` gone), hosts that agree together.

    Hosts that report no configuration are left out.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for host, report in reports.items():
        if found := report.get("configuration"):
            groups.setdefault(tuple(found.get("changes") or ()), []).append(host)
    return [{"hosts": hosts, "changes": list(changes)} for changes, hosts in groups.items()]


def estimate(moves: Mapping[str, Move], reports: Mapping[str, Report], release: str, bake_seconds: float) -> dict[str, Any]:
    """How long the run will take on the hosts, by what the last switches took there.

    Each wave takes as long as its slowest host, and as long as it bakes, at most; staging, where it is needed, as long as on the slowest
    host. ``seconds`` is None where no host has any history; a host without counts as the slowest of the others (``without_history``).
    ``fewest`` and ``most`` are how many switches a host's figure is made of. Ansible's own time is not in it.
    """
    moving = {host: move for host, move in moves.items() if move["changes"]}
    counts = {host: len(reports[host].get("switch_seconds") or ()) for host in moving}
    typical = {host: median(reports[host]["switch_seconds"]) for host in moving if counts[host]}
    known = [count for count in counts.values() if count]
    slowest = max(typical.values(), default=0.0)
    waves = sorted({move["wave"] for move in moving.values()})
    switching = sum(max(typical.get(host, slowest) for host, move in moving.items() if move["wave"] == wave) for wave in waves)
    unstaged = [host for host, report in reports.items() if release not in report.get("staged", ())]
    staging = max((median(taken) for host in unstaged if (taken := reports[host].get("stage_seconds"))), default=0.0)
    baking = bake_seconds * len(waves)
    return {
        "seconds": round(switching + staging + baking, 1) if known or not moving else None,
        "switching": round(switching, 1),
        "staging": round(staging, 1),
        "baking": round(baking, 1),
        "fewest": min(known, default=0),
        "most": max(known, default=0),
        "without_history": [host for host, count in counts.items() if not count],
    }


def to_fetch(reports: Mapping[str, Report], release: str, size: int) -> dict[str, Any]:
    """The bytes that each of these hosts fetches: those that do not have the release yet."""
    return {"bytes": size, "hosts": [host for host, report in reports.items() if release not in report.get("staged", ())]}


def live_releases(moves: Mapping[str, Move]) -> dict[str, list[str]]:
    """The releases that hosts leave, each with these hosts, in the order of the hosts."""
    found: dict[str, list[str]] = {}
    for host, move in moves.items():
        if move["from"] and move["from"] != move["to"]:
            found.setdefault(move["from"], []).append(host)
    return found


def first_on(moves: Mapping[str, Move]) -> list[str]:
    """The hosts on which nothing is live yet."""
    return [host for host, move in moves.items() if move["changes"] and not move["from"]]


def shown(paths: Sequence[str], count: int) -> str:
    """The first paths in one line, and how many more there are."""
    return ", ".join(paths) + (f" and {count - len(paths)} more" if count > len(paths) else "")
