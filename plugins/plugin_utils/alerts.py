# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a fleet at this moment, a line for each, in the words that people are woken with. Pure functions.

An *alert* has a name, by which it is known again at the next look, and a line: what was found, where, and what to type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import flag_view, planning

_STATUS = "playbooks/status.yml shows the fleet"
_RECONCILE = "playbooks/reconcile.yml brings it right"


def found(
    reports: Mapping[str, Mapping[str, Any]],
    balancers: Mapping[str, Mapping[str, Any]],
    app: str,
    busy: bool,
    flags: Mapping[str, Any],
    held: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """The alerts that there are now: name -> line, hosts first, then load balancers.

    ``reports`` and ``held``: what `release_info` and `feature_flag` (state=read) returned of each host; ``balancers``: what `balancer_info` did of
    each load balancer; ``flags``: what is live of `feature_flag` (state=live). ``busy``: somebody has the lock of the application, so that hosts
    that are out of service, or differ, are as they are meant to be.
    """
    common = planning.common_release(reports)
    said = {host: _host(report, common, busy) for host, report in reports.items()}
    alerts = {host: f"{host}: {line}" for host, line in said.items() if line}
    if not busy:
        # A host that is known to be wrong would only be told once more by each load balancer.
        well = [host for host, line in said.items() if not line]
        alerts |= {f"{host} out of service": f"{host}: {line}; {_STATUS}" for host in well if (line := _unserved(host, balancers, app))}
    alerts |= {name: f"{name}: {_first(balancer['trouble'])}; {_STATUS}" for name, balancer in balancers.items() if balancer.get("trouble")}
    if flags.get("generation"):
        answering = {host: one for host, one in held.items() if reports.get(host, {}).get("reachable")}
        for host, one in answering.items():
            # What is wrong with a file says by itself what repairs it.
            help_words = "" if one.get("trouble") else "; playbooks/flag.yml without a flag brings what is live"
            alerts |= {f"flags of {host}": line + help_words for line in flag_view.strays(flags, {host: one})}
    return alerts


def _host(report: Mapping[str, Any], common: str | None, busy: bool) -> str:
    """What is wrong with a host, with what to do about it; empty where nothing is."""
    if not report.get("reachable"):
        return f"out of reach: {_first(report.get('trouble') or report.get('msg') or 'it was not asked')}; {_STATUS}"
    if busy:
        return ""
    if report.get("trouble"):
        return f"{_first(report['trouble'])}; {_STATUS}"
    if report["drift"]:
        return f"{'; '.join(report['drift'])}; {_RECONCILE}"
    if report["live"] != common:
        return f"it runs {report['live'] or 'nothing'}, and the fleet runs {common}; {_RECONCILE}"
    if report["healthy"] is False:
        return f"its application is not healthy: {report.get('health_answer', 'no answer')}; {_STATUS}"
    return ""


def _unserved(host: str, balancers: Mapping[str, Mapping[str, Any]], app: str) -> str:
    """Which load balancers send a host no requests, though nobody has taken the application away there; empty where all do."""
    seen = {
        name: balancer.get("backends", {}).get(app, {}).get(host, {}).get("status", "absent")
        for name, balancer in balancers.items()
        if not balancer.get("trouble") and app not in balancer.get("maintenance", {})
    }
    found = [f"{name} sends it no requests ({status})" for name, status in seen.items() if not status.startswith("UP")]
    return ", ".join(found)


def lines(alerts: Mapping[str, str]) -> list[str]:
    """For a terminal."""
    return list(alerts.values()) or ["Nothing is wrong."]


def _first(text: object) -> str:
    return (str(text).strip().splitlines() or [""])[0].rstrip(".;")
