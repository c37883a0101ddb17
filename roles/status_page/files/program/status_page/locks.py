# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has which deployment lock: one small file for each application and environment, which everybody on the host may read.

A run that is under way has its lock until the moment that is written there, and later each time that it renews it. A lock that is kept elsewhere,
in a database or on another host, is not known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .ledger import FIRST, mapping_of, moment, text

#: As the lock has it: only these become names of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Place = tuple[str, str]


class Lock(NamedTuple):
    """The run that has a lock, and until when (Unix seconds); "" where nobody has it."""

    run: str
    until: float

    def is_held_by(self, run: str, now: float) -> bool:
        """Whether that run has it."""
        return self.run == run and now < self.until


def load(folder: Path | None) -> dict[Place, Lock]:
    """The lock of each place (environment, application) of which it is known here."""
    found = {}
    for path in sorted(folder.glob("*/*.json")) if folder else ():
        environment, application = path.parent.name, path.stem
        if _NAME.fullmatch(environment) and _NAME.fullmatch(application):
            try:
                record: Any = json.loads(path.read_bytes())
            except (OSError, ValueError):
                continue
            if isinstance(record, dict) and "lease" in record:
                found[environment, application] = lock(mapping_of(record["lease"]))
    return found


def lost(held: Mapping[Place, Lock], running: object, now: float) -> bool:
    """Whether one of these runs, each [environment, application, run], does not have its lock any more, as far as that is known here."""
    told = [one for one in running if isinstance(one, list) and len(one) == 3] if isinstance(running, list) else []
    runs = {(str(environment), str(application)): str(run) for environment, application, run in told}
    return any(not found.is_held_by(runs[place], now) for place, found in held.items() if place in runs)


def lock(lease: dict[str, Any]) -> Lock:
    """What a lease says, which is empty where there is none."""
    until = moment(lease.get("until"))
    return Lock(text(mapping_of(lease.get("owner")), "run"), FIRST if until is None else until)
