# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where records of the ledger wait on the controller while it cannot be written: one file for each record and ops host.

A record is put there before the ledger is asked, and removed once it has been appended, so that a controller that dies in between loses none.
The names begin with the time of the record: they sort like their times.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ansible_collections.tossable.fleet.plugins.module_utils.host import ledger_runs, system
from ansible_collections.tossable.fleet.plugins.module_utils.host.ledger import encode
from ansible_collections.tossable.fleet.plugins.module_utils.host.ledger_runs import Record


class Waiting(NamedTuple):
    """What waits for a host, oldest first: paths and records; and the files that hold no record, which were set aside as ``*.unreadable``."""

    paths: list[str]
    records: list[Record]
    unreadable: list[str]


def put(folder: str, host: str, record: Record) -> str:
    """Keep the record until ``host`` has it; returns the file. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{record['at'].replace(':', '')}-{record['run']}-{record['event']}")
    path = os.path.join(folder, f"{name}@{host}.json")
    system.write_file(path, json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n", 0o600)
    return path


def waiting(folder: str, host: str) -> Waiting:
    """What waits for ``host``. Raises OSError, but not where there is no such folder, or where another run appends meanwhile what waits there."""
    found = Waiting([], [], [])
    for path in sorted(str(path) for path in Path(folder).glob(f"*@{_literal(host)}.json")):
        with contextlib.suppress(FileNotFoundError):
            record = _read(path)
            if record is None:
                os.replace(path, f"{path}.unreadable")
                found.unreadable.append(f"{path}.unreadable")
            else:
                found.paths.append(path)
                found.records.append(record)
    return found


def drop(paths: Iterable[str]) -> None:
    """Remove what has been appended; another run may have done so already."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _literal(host: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", host)


def _read(path: str) -> Record | None:
    data = Path(path).read_bytes()
    try:
        return ledger_runs.parse_line(encode(json.loads(data)))
    except (TypeError, ValueError):
        return None
