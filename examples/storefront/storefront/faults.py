"""Releases that are bad on purpose, for drills and tests of the machinery that releases them.

STOREFRONT_FAULT, or a file FAULT in the release, holds one or more of these, separated by commas:

    never-ready        starts, and says for ever that it is not ready
    crash-at-start     ends before it listens
    crash-after:20     ends without a word at the 20th page or order
    error-rate:0.05    answers every 20th page or order with an exception
    slow:500ms         takes so much longer for every page or order
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class InjectedError(Exception):
    """The exception that the fault error-rate raises."""


@dataclass(frozen=True)
class Faults:
    """`error_rate` is a share of requests, `slow` in seconds, `crash_after` a number of requests (0: never)."""

    never_ready: bool = False
    crash_at_start: bool = False
    crash_after: int = 0
    error_rate: float = 0.0
    slow: float = 0.0

    def fails(self, number: int) -> bool:
        """Whether the request of this number (from 1) is one that fails: evenly spread, and the same in every run."""
        return int(number * self.error_rate) > int((number - 1) * self.error_rate)


def parse(text: str) -> Faults:
    """Read the text of STOREFRONT_FAULT; raises ValueError for what it does not know."""
    found: dict[str, bool | int | float] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = word.partition(":")
        if word in ("never-ready", "crash-at-start"):
            found[word.replace("-", "_")] = True
        elif name == "crash-after" and value.isdecimal():
            found["crash_after"] = int(value)
        elif name == "error-rate" and re.fullmatch(r"0(\.\d+)?|1(\.0+)?", value):
            found["error_rate"] = float(value)
        elif name == "slow" and (match := re.fullmatch(r"(\d+)ms", value)):
            found["slow"] = int(match[1]) / 1000
        else:
            raise ValueError(f"unknown fault {word!r}: expected never-ready, crash-at-start, crash-after:20, error-rate:0.05 or slow:500ms")
    return Faults(**found)  # type: ignore[arg-type]
