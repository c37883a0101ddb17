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
    "rollout_min_requests": 1,
}
#: What is tolerated and what is harm, and the most that either may be.
_PAIRS: Final = (
    ("rollout_error_tolerance", "rollout_error_harm", 100.0),
    ("rollout_latency_tolerance", "rollout_latency_harm", math.inf),
)
#: Measures that the gate has by itself.
_OWN: Final = ("errors", "latency")


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
    return found + _measures(given.get("rollout_measures") or [])


def bake_seconds(given: Mapping[str, Any]) -> float:
    """How long a wave bakes at most; 0 where that cannot be read."""
    return _number(given.get("rollout_bake_seconds", 0)) or 0.0


def _measures(measures: Any) -> list[str]:
    if not isinstance(measures, Sequence) or not all(isinstance(measure, Mapping) for measure in measures):
        return [f"rollout_measures is {measures!r}: it has to be a list of measures, each with a name."]
    found, names = [], [str(measure.get("name", "")) for measure in measures]
    for number, (name, measure) in enumerate(zip(names, measures, strict=True), 1):
        if not name:
            found.append(f"rollout_measures: number {number} has no name.")
        elif name in _OWN or names.index(name) + 1 < number:
            found.append(f"rollout_measures: number {number} is called {name}, as another measure of the gate is. Each needs a name of its own.")
        found += _pair(
            f"rollout_measures, {name}: tolerance",
            measure.get("tolerance", 0.2),
            f"rollout_measures, {name}: harm",
            measure.get("harm", 2.0),
            100.0,
        )
    return found


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
