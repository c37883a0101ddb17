# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions as operators write them. Pure functions."""

from __future__ import annotations


def unquoted(value: object, name: str = "version") -> str:
    """Why ``value`` is no version: it was written without quotes, and YAML or JSON made a number (or a date) of it; empty where it is text.

    The text that was written cannot be had back: 1.10 and 1.1 are the same number.
    """
    if value is None or isinstance(value, str):
        return ""
    return (
        f"{name} is not text but {value}: without quotes 1.10 is the number 1.1, which is another version. Quote it, as in "
        f'-e \'{{"{name}": "1.10"}}\' or {name}: "1.10" in a file; or type -e {name}=1.10, which is text always.'
    )


def listed(value: object, name: str) -> list[str]:
    """The versions in a list, or in text with commas between them. Raises ValueError, in words, where one is no text."""
    given = value if isinstance(value, list) else [value]
    if wrong := [said for one in given if (said := unquoted(one, name))]:
        raise ValueError(wrong[0])
    return [version for one in given if one for version in (word.strip() for word in str(one).split(",")) if version]
