# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Anybody's text, a commit's subject or what an application answered, such that nothing of it may steer a terminal. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def printable(line: str) -> str:
    """One line of it."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def lines(text: str) -> str:
    """Several lines of it, which stay lines; tabs become blanks."""
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines())


def harmless(value: Any) -> Any:
    """Plain data with all texts in it as `lines` makes them; the names of its entries are as they were."""
    if isinstance(value, str):
        return lines(value)
    if isinstance(value, Mapping):
        return {name: harmless(one) for name, one in value.items()}
    return [harmless(one) for one in value] if isinstance(value, list | tuple) else value
