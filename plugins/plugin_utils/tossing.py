# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that is about to be tossed: whether the others can do without it, and what it is to run when it is back. Pure functions.

A *report* is what `release_info` returned for a host, a *balancer* what `balancer_info` returned for a load balancer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from . import planning, waves


def obstacle(
    reports: Mapping[str, planning.Report], target: str, balancers: Mapping[str, Mapping[str, Any]], backend: str, min_healthy: int | str
) -> str:
    """Why the fleet cannot do without ``target`` now, and what to do; empty where it can.

    ``reports`` are those of all its hosts. A host that is out of service as it is can always go: that takes nothing away. Each load balancer is
    judged by itself, as each has requests of its own; one that cannot be asked has no say. Raises ValueError, in words, where ``min_healthy`` is no
    number of hosts and no share of them.
    """
    dead = planning.dead_hosts(reports)
    alive = {host: report for host, report in reports.items() if host not in dead}
    answering = {name: balancer for name, balancer in balancers.items() if not balancer.get("trouble")}
    others = {host: report for host, report in alive.items() if host != target}
    lefts = []
    for asked in [[balancer] for balancer in answering.values()] or [[]]:
        fleet, serving = planning.in_service(alive, asked, backend, dead)
        _fleet, left = planning.in_service(others, asked, backend, {*dead, target})
        kept = waves.healthy(min_healthy, fleet)
        if left < kept and left != serving:
            lefts.append((left, fleet, kept))
    if not lefts:
        return ""
    left, fleet, kept = min(lefts)
    missing = [line for host, report in reports.items() if host != target for line in _missing(host, report, answering, backend)]
    return (
        f"{target} was not touched: without it {left} of {fleet} hosts would be in service, and rollout_min_healthy {min_healthy!r} keeps {kept} "
        f"there. Not in service: {'; '.join(missing) or 'none of the others'}. Bring these back first (playbooks/status.yml shows them; "
        f"playbooks/reconcile.yml brings right what is alive), or toss one of them instead. To toss {target} all the same: -e \"force='why'\"."
    )


def _missing(host: str, report: planning.Report, balancers: Mapping[str, Mapping[str, Any]], backend: str) -> list[str]:
    """Why a host is not in service, in one line; none where it is."""
    if report.get("trouble"):
        word = "" if report.get("reachable") else "down, "
        return [f"{host} ({word}{str(report['trouble']).splitlines()[0]})"]
    said = {name: str(balancer.get("backends", {}).get(backend, {}).get(host, {}).get("status", "absent")) for name, balancer in balancers.items()}
    wrong = [f"{name} says {status}" for name, status in said.items() if not status.startswith("UP")]
    if not balancers and report.get("balancer_word") != "ready":
        wrong = [f"it says {report.get('balancer_word')}"]
    return [f"{host} ({', '.join(wrong)})"] if wrong else []


def before(reports: Mapping[str, planning.Report], release: str) -> str | None:
    """The release that a rollback from ``release`` goes to, as most hosts have it that run it; None where none of them knows one."""
    named = Counter(report["previous"] for report in reports.values() if report.get("live") == release and report.get("previous"))
    return str(named.most_common(1)[0][0]) if named else None


def alike(reports: Mapping[str, planning.Report], release: str | None) -> list[str]:
    """The hosts that run ``release`` (None: none at all), with which one that runs it can be compared."""
    return [host for host, report in reports.items() if not report.get("trouble") and report.get("live") == release]
