# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which migrations an environment has seen: append-only JSON lines on the ops host, ``<folder>/<environment>/<app>.jsonl``.

Asked as ``migrations <app> <json>``. A line is written before a migration begins and another one when it has ended, so that one which was cut
short is known. ``fold`` is pure: records in, the state of each migration out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from . import journal, lease_file, system
from .errors import HostError

Record = dict[str, Any]

FOLDER = "/var/lib/tossable/migrations"
#: What a record says: it was about to run; it ran well; it did not; what it had done is no longer there (a backup was restored).
BEGUN, DONE, FAILED, UNDONE = EVENTS = ("begun", "done", "failed", "undone")
#: Seconds that an operation waits for another one, which takes milliseconds.
WAIT_SECONDS = 20.0


def fold(records: Iterable[Record]) -> dict[str, Record]:
    """The record that counts for each migration, by its id: the last one, but what is done stays done until it is noted as undone."""
    state: dict[str, Record] = {}
    for record in records:
        known = state.get(record["id"])
        if known is None or known["event"] != DONE or record["event"] == UNDONE:
            state[record["id"]] = record
    return state


def perform(app: str, given: dict[str, Any], folder: str = FOLDER) -> dict[str, Any]:
    """Append ``given["record"]`` where there is one, and return ``migrations`` (see `fold`) and ``now``, the time here (UTC, ISO 8601)."""
    environment: str = given["environment"]
    lease_file.check_names(app, environment)
    path = f"{folder}/{environment}/{app}.jsonl"
    record: Record | None = given.get("record")
    if record is not None:
        if record["event"] not in EVENTS:
            raise HostError(f"The record of migrations knows no event {record['event']!r}, only {', '.join(EVENTS)}.")
        os.makedirs(f"{folder}/{environment}", mode=0o700, exist_ok=True)
        with system.host_lock(f"{folder}/{environment}/{app}.lock", WAIT_SECONDS):
            _read(path)
            journal.append(path, record)
    state = fold(_read(path))
    return {"changed": record is not None, "migrations": state, "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def _read(path: str) -> list[Record]:
    """The records; a line that a crash tore off at the end is not one, and is cut off by the next append."""
    try:
        records = journal.load(path)
        if all(isinstance(record["id"], str) and record["event"] in EVENTS for record in records):
            return records
        trouble = "a line without an id or with an unknown event"
    except (KeyError, ValueError) as error:
        trouble = f"{type(error).__name__}: {error}"
    raise HostError(
        f"{path} is no record of migrations ({trouble}): written by something else. Nothing runs while it is not known what has run: mend that line "
        "on the host that keeps it, or restore the file from a backup."
    )
