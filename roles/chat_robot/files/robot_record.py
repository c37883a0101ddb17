# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the robot may do as root, which is little: write down that it refused somebody, and read who has the lock.

Started by systemd for one connection from the robot's account: a JSON line comes in, a JSON line goes out. What it writes it composes itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MOST_BYTES = 4096
LONGEST = 200


def refused(asked: dict[str, Any], settings: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The ledger's record of a refusal."""
    return {
        "schema": 1,
        "event": "noted",
        "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "run": "",
        "kind": "refused",
        "environment": settings["environment"],
        "application": settings["app"],
        "by": settings["by"],
        "on_behalf_of": str(asked.get("who", ""))[:LONGEST],
        "reason": str(asked.get("what", ""))[:LONGEST],
    }


def append(path: Path, record: dict[str, Any]) -> None:
    """Add one line, whole, after whatever others have added."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        torn = False
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(record, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lock(path: Path) -> dict[str, Any]:
    """The lease, None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"lease": None}
    except (OSError, ValueError) as error:
        return {"trouble": f"{path}: {type(error).__name__}"}
    return {"lease": found.get("lease") if isinstance(found, dict) else None}


def answer(line: str, settings: dict[str, Any], now: datetime) -> dict[str, Any]:
    """What becomes of one question."""
    try:
        asked = json.loads(line)
        if asked["do"] == "refused":
            append(Path(settings["ledger"]), refused(asked, settings, now))
            return {"done": True}
        if asked["do"] == "lock":
            return lock(Path(settings["locks"], settings["environment"], f"{settings['app']}.json"))
    except OSError as error:
        return {"trouble": f"{settings['ledger']}: {error.strerror}"}
    except (ValueError, KeyError, TypeError):
        pass
    return {"trouble": "that is no question"}


if __name__ == "__main__":
    print(json.dumps(answer(sys.stdin.readline(MOST_BYTES), json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), datetime.now(tz=UTC))))
