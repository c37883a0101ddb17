# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether what an inventory says of the gate can be meant: a word misspelt there would else be noticed once the first host has switched, or never.

Pure functions. Values may be numbers or text, as `-e` and templates make it of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

ANSWERS: Final = ("wait", "proceed", "stop")
#: Whole numbers, each with the least that makes sense.
_LEAST: Final = {
    "rollout_bake_seconds": 0,
    "rollout_hold_seconds": 0,
    "rollout_look_seconds": 1,
    "rollout_wait_seconds": 0,
    "rollout_min_requests": 0,
}
#: What is tolerated and what is harm, and the most that either may be.
_PAIRS: Final = (
    ("rollout_error_tolerance", "rollout_error_harm", 100.0),
    ("rollout_latency_tolerance", "rollout_latency_harm", math.inf),
)
#: Measures that the gate has by itself.
_OWN: Final = ("errors", "latency")
_WORDS: Final = ("name", "command", "prometheus", "events", "total", "label", "tolerance", "harm")
#: In percentage points, where a measure does not say it: what is harm is what is tolerated, where that is more.
TOLERANCE: Final = 0.2
HARM: Final = 2.0


def obstacles(given: Mapping[str, Any]) -> list[str]:
    """A line for each setting that cannot be meant; ``given`` are those that an inventory has, by their names there."""
    found = [
        f"{name} is {given[name]!r}: it has to be a whole number, at least {least}."
        for name, least in _LEAST.items()
        if name in given and not _whole(given[name], least)
    ]
    if (answer := given.get("rollout_on_inconclusive", ANSWERS[0])) not in ANSWERS:
        found.append(f"rollout_on_inconclusive is {answer!r}: it has to be {', '.join(ANSWERS[:-1])} or {ANSWERS[-1]}.")
    for tolerance, harm, most in _PAIRS:
        if tolerance in given and harm in given:
            found += _pair(tolerance, given[tolerance], harm, given[harm], most)
    return found + _measures(given.get("rollout_measures", []))


def bake_seconds(given: Mapping[str, Any]) -> float:
    """How long a wave bakes at most; 0 where that cannot be read."""
    return _number(given.get("rollout_bake_seconds", 0)) or 0.0


def harm(measure: Mapping[str, Any]) -> float:
    """What is harm by a measure of the inventory's own, in percentage points."""
    return float(measure["harm"]) if measure.get("harm") is not None else max(HARM, _number(measure.get("tolerance", TOLERANCE)) or 0.0)


def _measures(measures: Any) -> list[str]:
    if not isinstance(measures, Sequence) or not all(isinstance(measure, Mapping) for measure in measures):
        return [f"rollout_measures is {measures!r}: it has to be a list of measures, each with a name."]
    found, names = [], [str(measure.get("name", "")) for measure in measures]
    for number, (name, measure) in enumerate(zip(names, measures, strict=True), 1):
        head = f"rollout_measures, {name or f'number {number}'}"
        if not name:
            found.append(f"{head}: it has no name.")
        elif name in _OWN or names.index(name) + 1 < number:
            found.append(f"{head}: another measure of the gate is called so. Each needs a name of its own.")
        if unknown := [word for word in measure if word not in _WORDS]:
            found.append(f"{head}: it has {', '.join(map(str, unknown))}; a measure knows {', '.join(_WORDS)}.")
        found += [f"{head}: {wrong}" for wrong in _source(measure)]
        found += _pair(f"{head}: tolerance", measure.get("tolerance", TOLERANCE), f"{head}: harm", measure.get("harm", harm(measure)), 100.0)
    return found


def _source(measure: Mapping[str, Any]) -> list[str]:
    """What is wrong with where a measure has its counters from."""
    if bool(measure.get("command")) == bool(measure.get("prometheus")):
        return ["it needs either command or prometheus, where its counters come from."]
    if measure.get("prometheus"):
        missing = [word for word in ("events", "total") if not measure.get(word)]
        return [f"with prometheus it needs {' and '.join(missing)}, a query each."] if missing else []
    command = measure["command"]
    right = isinstance(command, list) and all(isinstance(word, str) for word in command)
    return [] if right else [f"command is {command!r}: it has to be a list, the program and its arguments."]


def _pair(tolerance: str, tolerated: Any, harm: str, harmful: Any, most: float) -> list[str]:
    numbers = {name: _number(value) for name, value in ((tolerance, tolerated), (harm, harmful))}
    limit = "" if math.isinf(most) else f" and at most {most:g}"
    wrong = [
        f"{name} is {value!r}: it has to be a number, at least 0{limit}."
        for (name, number), value in zip(numbers.items(), (tolerated, harmful), strict=True)
        if number is None or not 0 <= number <= most
    ]
    low, high = numbers.values()
    if not wrong and low is not None and high is not None and high < low:
        return [f"{harm} ({harmful}) is less than {tolerance} ({tolerated}): what is tolerated cannot be harm."]
    return wrong


def _number(value: Any) -> float | None:
    """The value as a number, None where it is none."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any, least: int) -> bool:
    number = _number(value)
    return number is not None and number.is_integer() and number >= least
