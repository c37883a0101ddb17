# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures and names as people read them. Pure functions."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

#: What may be the name of a page without further ado: the ids that the lock gives out look like 20261125T100000Z-1a2b3c.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def page_name(run: str) -> str:
    """A run's id as the name of a file: as it is where that is one, else a name made of its digest."""
    return run if _NAME.fullmatch(run) else "run-" + hashlib.sha256(run.encode("utf-8", "replace")).hexdigest()[:20]


def utc(at: float) -> str:
    """2026-11-25 10:00:05 UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def minute(at: float) -> str:
    """2026-11-25 10:00 UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def date(at: float) -> str:
    """2026-11-25."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def iso(at: float) -> str:
    """2026-11-25T10:00:05Z, as the attribute `datetime` of an element `time` wants it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 20 s, 5 h 10 min, 3 d 4 h; a dash where it is not known."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, small, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def percent(share: float | None) -> str:
    """0.125 is 12.5 %."""
    return "-" if share is None else f"{100 * share:.1f} %".replace(".0 %", " %")


def rate(a_day: float) -> str:
    """A number a day with two digits that mean something."""
    return f"{a_day:.2f}" if a_day < 1 else f"{a_day:.1f}"


def initials(name: str) -> str:
    """One or two letters for a person: of the first and the last word of what stands before an @."""
    words = [word for word in re.split(r"[^\w]+|_", name.split("@")[0]) if word]
    if not words:
        return "?"
    return (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()


def hue(name: str) -> int:
    """Which of the style sheet's 12 colours is a person's, the same on every page."""
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()[0] % 12
