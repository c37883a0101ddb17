# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the robot understands of feature flags, and tells of them. Pure functions but `read`.

Two files lie on the ops host: the flags as hosts have them, and the live state, which says who switched what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from robot_words import Order, ago, clean, moment, reason

NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
PERCENT = re.compile(r"(?:percent=)?(100|[0-9]{1,2}(?:\.[0-9]{1,3})?)%?")
#: How long ago a flag may have changed: minutes, or with their unit.
SPAN = re.compile(r"[1-9][0-9]{0,4}(m|min|h|d|w)?")
#: Flags that are told each on a line of its own; the answer begins and ends with a line of its own.
_LISTED = 4


def order(words: Sequence[str], nick: str, channel: str) -> Order | str:
    """The order in a line such as ``flag checkout off because ...`` or ``panic 30 because ...``, or what is wrong with it."""
    verb, rest = words[0], list(words[1:])
    at = rest.index("because") if "because" in rest else len(rest)
    told, why = rest[:at], reason(" ".join(rest[at + 1 :]) or f"asked by {nick} in {channel}")
    return _panic(told, why) if verb == "panic" else _switch(told, why)


def _switch(told: Sequence[str], why: str) -> Order | str:
    if len(told) != 2 or not NAME.fullmatch(told[0]):
        return "Which flag, and how? Say for example: flag checkout off because ... (or on, reset, 10%)"
    name, state = told[0], told[1].lower()
    if state in ("on", "off", "reset"):
        return Order("flag", f"{name} {state}", why, (("flag", name), ("state", state)))
    if (share := PERCENT.fullmatch(state)) and (state.endswith("%") or state.startswith("percent=")):
        return Order("flag", f"{name} {share[1]}%", why, (("flag", name), ("percent", share[1])))
    return f"I can switch a flag on, off, to a share such as 10%, or back to what is declared (reset), and not to {clean(state)[:40]}"


def _panic(told: Sequence[str], why: str) -> Order | str:
    # The playbook asks whether it is meant; the robot has asked.
    confirmed = ("confirm", "panic")
    if not told:
        return Order("panic", "", why, (confirmed,))
    if len(told) == 1 and (span := SPAN.fullmatch(told[0])):
        return Order("panic", told[0] if span[1] else f"{told[0]} minutes", why, (confirmed, ("minutes", told[0])))
    if len(told) == 1 and NAME.fullmatch(told[0]):
        return Order("panic", f"group {told[0]}", why, (confirmed, ("group", told[0])))
    return "Of how many minutes, or of which group of flags? Say for example: panic 30 because ..."


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The live state and the published flags; empty where there are none, or they cannot be read."""
    found = []
    for name in ("state.json", "flags.json"):
        try:
            one = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            one = {}
        found.append(one if isinstance(one, dict) else {})
    return found[0], found[1]


def answer(state: Mapping[str, Any], published: Mapping[str, Any], now: datetime) -> list[str]:
    """The state of each flag; those that differ from what is declared with who switched them, when and why."""
    definitions, overrides, declared = _mapping(published.get("flags")), _mapping(state.get("overrides")), _mapping(state.get("declared"))
    if not definitions and not overrides:
        return ["No feature flags are live."]
    head = f"{len(definitions)} flags in {state.get('environment')}, generation {state.get('generation')}: "
    differing = [name for name in sorted(overrides) if name not in declared or _mapping(overrides[name]).get("state") != declared[name]]
    head += f"{len(differing)} not as declared" if differing else "each as it is declared"
    listed = [switched(name, _mapping(overrides[name]), name in definitions, now) for name in differing[:_LISTED]]
    if rest := differing[_LISTED:]:
        listed[-1] = clean(f"{len(rest) + 1} more: {', '.join(differing[_LISTED - 1 :])}")
    by_state: dict[str, list[str]] = {}
    for name in sorted(definitions):
        if name not in differing:
            by_state.setdefault(_resting(_mapping(definitions[name])), []).append(name)
    as_declared = "; ".join(f"{word}: {', '.join(names)}" for word, names in sorted(by_state.items()))
    return [head, *listed, *([clean(f"as declared: {as_declared}")] if as_declared else [])]


def switched(name: str, override: Mapping[str, Any], declared: bool, now: datetime) -> str:
    """A flag that somebody switched, in one line."""
    who = f"{override.get('by')} on behalf of {override['on_behalf_of']}" if override.get("on_behalf_of") else str(override.get("by"))
    until = moment(str(override["until"])) if override.get("until") else None
    ends = f", until {override['until']}{', which is over' if until and until <= now else ''}" if override.get("until") else ""
    gone = "" if declared else " (not declared any more)"
    since = ago({"began": override.get("at", "")}, now)
    return clean(f"{name}{gone}: {told(override.get('state'))}, {since} by {who}, because: {override.get('reason') or 'no reason given'}{ends}")


def told(state: object) -> str:
    """A state in words."""
    about = _mapping(state)
    if "to" in about:
        return str(about["to"])
    if "percent" in about:
        return f"{about['percent']} %"
    return f"rule {about['rule']}" if "rule" in about else "by rules"


def _resting(definition: Mapping[str, Any]) -> str:
    return "by rules" if definition.get("targeting") else str(definition.get("defaultVariant"))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def made(records: Sequence[Mapping[str, Any]], before: int, robot: str) -> str:
    """What the ledger says that an order did, of the records after those ``before``; empty where it says nothing."""
    texts = [str(one["text"]) for one in records[before:] if one.get("kind") == "flag" and one.get("by") == robot and one.get("text")]
    return "; ".join(texts)
