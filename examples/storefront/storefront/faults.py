"""Releases that are bad on purpose, for drills and tests of the machinery that releases them.

STOREFRONT_FAULT, or a file FAULT in the release, holds one or more of these, separated by commas:

    never-ready        starts, and says for ever that it is not ready
    crash-at-start     ends before it listens
    crash-after:20     ends without a word at the 20th page or order
    error-rate:0.05    answers every 20th page or order with an exception
    checkout-errors:0.5    does so with every second page or order that has the flag `checkout` on
    slow:500ms         takes so much longer for every page or order
    exit-after:20s     ends without a word so long after its start
    ready-for:3s       says so long that it is ready, then for ever that it is not
    flapping:1s        is ready and not ready by turns, so long each
    deaf-after:3s      answers nothing any more so long after its start, and does not end
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class InjectedError(Exception):
    """The exception that the fault error-rate raises."""


@dataclass(frozen=True)
class Faults:
    """`error_rate` and `checkout_errors` are shares of requests, `crash_after` a number of requests, the others are seconds (0: never)."""

    never_ready: bool = False
    crash_at_start: bool = False
    crash_after: int = 0
    error_rate: float = 0.0
    checkout_errors: float = 0.0
    slow: float = 0.0
    exit_after: float = 0.0
    ready_for: float = 0.0
    flapping: float = 0.0
    deaf_after: float = 0.0

    def fails(self, number: int) -> bool:
        """Whether the request of this number (from 1) is one that fails: evenly spread, and the same in every run."""
        return int(number * self.error_rate) > int((number - 1) * self.error_rate)

    def fails_in_checkout(self, number: int) -> bool:
        """The same, counted over pages and orders with the new checkout alone: what a flag can be switched off for, and the release stays."""
        return int(number * self.checkout_errors) > int((number - 1) * self.checkout_errors)

    def unready(self, age: float) -> str | None:
        """Why it is not ready so many seconds after its start, None when it is."""
        if self.never_ready:
            return "this release was built never to be ready (fault never-ready)"
        if self.ready_for and age >= self.ready_for:
            return f"this release was built to be ready for {self.ready_for:g} s only (fault ready-for)"
        if self.flapping and int(age / self.flapping) % 2:
            return f"this release was built not to be ready every other {self.flapping:g} s (fault flapping)"
        return None


def parse(text: str) -> Faults:
    """Read the text of STOREFRONT_FAULT; raises ValueError for what it does not know."""
    found: dict[str, bool | int | float] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = word.partition(":")
        if word in ("never-ready", "crash-at-start"):
            found[word.replace("-", "_")] = True
        elif name == "crash-after" and value.isdecimal():
            found["crash_after"] = int(value)
        elif name in ("error-rate", "checkout-errors") and re.fullmatch(r"0(\.\d+)?|1(\.0+)?", value):
            found[name.replace("-", "_")] = float(value)
        elif name == "slow" and (match := re.fullmatch(r"(\d+)ms", value)):
            found["slow"] = int(match[1]) / 1000
        elif name in ("exit-after", "ready-for", "flapping", "deaf-after") and (match := re.fullmatch(r"(\d+)s", value)):
            found[name.replace("-", "_")] = float(match[1])
        else:
            raise ValueError(f"unknown fault {word!r}: expected one of those in {__name__}, such as never-ready, error-rate:0.05 or slow:500ms")
    return Faults(**found)  # type: ignore[arg-type]  # each value was read as what its field takes
