# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Maintenance as the controller sees it: what load balancers said of it, in words. Pure functions.

An *entry* is what `module_utils/host/maintenance.Entry` holds, a dict; a *balancer* what `balancer_info` returned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

MESSAGE = "We are working on it. Please try again in a few minutes."

now = time.time


def words(entry: Mapping[str, Any]) -> str:
    """Since when, by whom and why."""
    return f"since {entry['since']} by {entry['by']}, {'because: ' + entry['reason'] if entry['reason'] else 'no reason given'}"


def diff(app: str, answer: Mapping[str, Any]) -> dict[str, str]:
    """What `--diff` shows of an answer of the program."""
    return {"before": _shown(app, answer["before"]), "after": _shown(app, answer["entry"] if answer["changed"] else answer["before"])}


def _shown(app: str, entry: Mapping[str, Any] | None) -> str:
    if not entry:
        return f"{app}: served\n"
    return f"{app}: maintenance {words(entry)}\nmessage: {entry['message']}\nretry after: {entry['retry_after']} s\n"


def everywhere(balancers: Mapping[str, Mapping[str, Any]], app: str) -> bool:
    """Whether every load balancer that answers is in maintenance for the application, and at least one is."""
    states = [app in balancer.get("maintenance", {}) for balancer in balancers.values() if not balancer.get("trouble")]
    return bool(states) and all(states)


def lines(balancers: Mapping[str, Mapping[str, Any]], app: str) -> list[str]:
    """What the status says of it: a line for all load balancers that agree, and one where some are not in maintenance; usually none."""
    found = {name: balancer["maintenance"][app] for name, balancer in balancers.items() if app in balancer.get("maintenance", {})}
    if not found:
        return []
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, entry in found.items():
        alike.setdefault(tuple(entry[word] for word in ("by", "reason", "message")), []).append(name)
    said = []
    for names in alike.values():
        entry = min((found[name] for name in names), key=lambda one: str(one["since"]))
        said.append(f'{app} is in maintenance at {", ".join(names)} {words(entry)}; clients read: "{entry["message"]}"')
    others = [name for name, balancer in balancers.items() if name not in found and not balancer.get("trouble")]
    if others:
        said.append(f"but NOT at {', '.join(others)}: run playbooks/maintenance.yml again, with state=on or state=off")
    return said


def plan_lines(balancers: Mapping[str, Mapping[str, Any]], app: str) -> list[str]:
    """What the plan of a deployment says of it; usually nothing."""
    judged = ["no wave is judged by the gate: no client reaches the application"] if everywhere(balancers, app) else []
    return [f"  {line}" for line in lines(balancers, app) + judged]


def troubles(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which load balancers gave no answer to an operation, and why: `lb2: The host cannot be reached`."""
    return [f"{name}: {answer.get('msg') or 'it was not asked'}" for name, answer in answers.items() if not {"entry", "in_flight"} & set(answer)]


def refusal(looks: Mapping[str, Mapping[str, Any]]) -> str:
    """Why nothing is switched: which load balancers could not be asked, and how to go on without them; empty where all can."""
    wrong = troubles(looks)
    if not wrong:
        return ""
    without = ":".join(f"!{line.partition(':')[0]}" for line in wrong)
    return "\n".join(
        [
            "Nothing was changed at any load balancer. In the way:",
            *(f"- {line}" for line in wrong),
            f"Mend that. Or, where no client reaches that load balancer, leave it out with --limit '{without}', and run this again once it is back.",
        ]
    )


def left_over(drains: Mapping[str, Mapping[str, Any]]) -> str:
    """Which requests were not answered in time, or where that is not known; empty where all were."""
    slow = [
        f"{name}: {', '.join(f'{count} at {server}' for server, count in drain['in_flight'].items())}"
        for name, drain in drains.items()
        if drain.get("in_flight")
    ]
    return "; ".join([*slow, *troubles(drains)])
