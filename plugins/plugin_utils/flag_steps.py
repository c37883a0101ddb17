# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout makes of a flag's switch, decided on what is live at that moment. Pure functions.

While a rollout is under way the switch bears its mark, ``rollout``: the ``run``, the ``step`` it has reached ``of`` how many, and what was live
``before`` (a switch, or None for what is declared). Whoever switches the flag otherwise makes a switch without that mark, or with another
run's: then the rollout has lost the flag, and does not touch it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from . import flag_set
from .flag_set import Flag, FlagError

Override = Mapping[str, Any]


def step(run: str, number: int, of: int, percent: float) -> dict[str, Any]:
    """The change that takes a step."""
    return {"rollout": {"do": "step", "run": run, "step": number, "of": of, "percent": percent}}


def first(change: Mapping[str, Any], found: Override | None) -> dict[str, Any]:
    """The same for the first step of a run, which is taken only where the switch is still what was ``found`` when it was planned."""
    return {"rollout": {**change["rollout"], "found": dict(found) if found else None}}


def done(run: str) -> dict[str, Any]:
    """The change that ends a rollout: what is live stays."""
    return {"rollout": {"do": "done", "run": run}}


def back(run: str) -> dict[str, Any]:
    """The change that takes a rollout back."""
    return {"rollout": {"do": "back", "run": run}}


def begins(change: Mapping[str, Any]) -> bool:
    """Whether a change is anything but the going on, or the end, of a rollout that is under way."""
    rollout = change.get("rollout")
    return not rollout or "found" in rollout


def words(percent: float) -> dict[str, Any]:
    """How a step would be typed."""
    return {"state": "on"} if percent == 100 else {"percent": percent}


def mark(override: Override | None) -> Mapping[str, Any]:
    """What a rollout that is under way has noted; empty where none is."""
    found = (override or {}).get("rollout")
    return found if isinstance(found, Mapping) else {}


def owned(override: Override | None, run: str) -> bool:
    """Whether the switch is still that run's."""
    return bool(run) and mark(override).get("run") == run


def before(override: Override | None) -> Override | None:
    """What was live before the rollout that is under way, else what is live now."""
    found: Override | None = mark(override)["before"] if mark(override) else override
    return found


def told(declared: str, override: Override | None) -> str:
    """A switch with who made it; without one what is ``declared``, in words."""
    if override is None:
        return f"{declared}, as declared"
    why = f" ({override['reason']})" if override.get("reason") else ""
    return f"{flag_set.told(override['state'])}, by {override['by']} at {override['at']}{why}"


def lost(key: str, declared: str, override: Override | None) -> str:
    """That somebody else has switched the flag."""
    return f"{key} was switched by somebody else meanwhile, it is {told(declared, override)}: the rollout ends and leaves it so"


def after(flag: Flag, override: Override | None, change: Mapping[str, Any], by: Mapping[str, Any], today: date) -> Override | None:
    """The switch after a change of a rollout, None for what is declared. ``by`` is who, when, why and until when.

    A step raises FlagError where the flag is not the rollout's any more, or cannot have that state; the end of a rollout, either way, leaves
    such a flag as it is. Going back asks for no permission and no date: what was live before was allowed then.
    """
    mine = owned(override, change["run"])
    if change["do"] == "step":
        if override != change["found"] if "found" in change else not mine:
            raise FlagError(lost(flag.key, flag_set.told(flag.state), override))
        note = {"run": change["run"], "step": change["step"], "of": change["of"], "before": before(override)}
        return {"state": flag_set.asked(flag, words(change["percent"]), today), **by, "rollout": note}
    if not mine or override is None:
        return override
    if change["do"] == "done":
        return {**{name: value for name, value in override.items() if name != "rollout"}, **by, "until": override.get("until")}
    was = before(override)
    return None if was is None else {**by, "state": was["state"], "until": was.get("until")}
