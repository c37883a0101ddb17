# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of feature flags: the state of each, and by whom it differs from what is declared. Pure functions but `load`.

Two files lie on the ops host: the flags as hosts have them, and the live state, which says who changed what. As with the ledger, what has
another type than expected is taken for missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from .ledger import Note, mapping_of, moment, number, text

#: Files in the folder of the live state.
FILES: Final = ("state.json", "flags.json")


class Flag(NamedTuple):
    """One flag. ``live`` tells whether its state differs from the declared one. ``by``, ``behalf``, ``at``, ``why`` and ``until`` are of the
    switch, where there is one. ``until`` and ``expires`` are Unix seconds; ``past`` and ``expired`` tell whether they are over. ``known`` is
    false where a switch is of a flag that is not declared any more.
    """

    name: str
    state: str
    live: bool = False
    known: bool = True
    by: str = ""
    behalf: str = ""
    at: float | None = None
    why: str = ""
    until: float | None = None
    past: bool = False
    owner: str = ""
    kind: str = ""
    expires: float | None = None
    expired: bool = False

    @property
    def remarkable(self) -> bool:
        """Whether somebody should look at it: it is not as declared, or its time is over."""
        return self.live or self.past or self.expired


class Flags(NamedTuple):
    """All flags of an environment, by name."""

    environment: str = ""
    generation: int = 0
    all: tuple[Flag, ...] = ()


NONE: Final = Flags()


def load(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The live state and the published flags; empty where there are none, or they cannot be read."""
    found = []
    for name in FILES:
        try:
            found.append(mapping_of(json.loads((folder / name).read_bytes())))
        except (OSError, ValueError, RecursionError):
            found.append({})
    return found[0], found[1]


def seen(folder: Path | None) -> list[list[int]]:
    """What changes when the flags do."""
    if folder is None:
        return []
    stats = []
    for name in FILES:
        try:
            one = (folder / name).stat()
        except OSError:
            continue
        stats.append([one.st_ino, one.st_size, one.st_mtime_ns])
    return stats


def read(state: Mapping[str, Any], published: Mapping[str, Any], now: float) -> Flags:
    """What both files say."""
    definitions, overrides = mapping_of(published.get("flags")), mapping_of(state.get("overrides"))
    changed, declared = mapping_of(state.get("changed")), mapping_of(state.get("declared"))
    flags = tuple(
        flag(name, definitions.get(name), mapping_of(overrides.get(name)), mapping_of(changed.get(name)), now, declared.get(name))
        for name in sorted({*definitions, *overrides})
    )
    return Flags(text(state, "environment"), int(number(state.get("generation")) or 0), flags)


def flag(name: str, definition: object, override: Mapping[str, Any], changed: Mapping[str, Any], now: float, declared: object = None) -> Flag:
    """One flag, from what is published of it, who switched it, who changed it last, and the state that is declared where it is switched."""
    about = mapping_of(definition)
    metadata = mapping_of(about.get("metadata"))
    who = override or changed
    until, expires = moment(override.get("until")), moment(metadata.get("expires"))
    return Flag(
        name=name,
        state=told(override["state"]) if "state" in override else resting(about),
        live=bool(override) and (declared is None or override.get("state") != declared),
        known=bool(about),
        by=text(who, "by"),
        behalf=text(who, "on_behalf_of"),
        at=moment(who.get("at")),
        why=text(who, "reason"),
        until=until,
        past=until is not None and until <= now,
        owner=text(metadata, "owner"),
        kind=text(metadata, "kind"),
        expires=expires,
        # The day on which it expires is still its own.
        expired=expires is not None and expires + 86400 <= now,
    )


def told(state: object) -> str:
    """A state in words."""
    about = mapping_of(state)
    if "to" in about:
        return str(about["to"])
    if "percent" in about:
        return f"{about['percent']} %"
    if "rule" in about:
        return f"rule: {about['rule']}"
    return "by rules" if about else "-"


def resting(definition: Mapping[str, Any]) -> str:
    """A state as it was published."""
    if not definition:
        return "not declared any more"
    return "by rules" if definition.get("targeting") else text(definition, "defaultVariant") or "-"


def switches(notes: Sequence[Note]) -> list[Note]:
    """Switches in the ledger, the newest first."""
    return [note for note in reversed(notes) if note.kind == "flag"]
