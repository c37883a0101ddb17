# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the robot may do as root, which is little: write down that it refused somebody.

Started by systemd for one connection from the robot's account: a JSON line comes in, a JSON line goes out. What it writes it composes itself.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MOST_BYTES = 4096
LONGEST = 200
SECONDS = 8


def refused(asked: dict[str, Any], settings: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The ledger's record of a refusal."""
    return {
        "schema": 1,
        "event": "noted",
        "at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "run": f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        "kind": "refused",
        "environment": settings["environment"],
        "application": settings["app"],
        "by": settings["by"],
        "on_behalf_of": str(asked.get("who", ""))[:LONGEST],
        "reason": str(asked.get("what", ""))[:LONGEST],
    }


def append(settings: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Have the program that every run uses write it, under the lock of the ledger that every run takes."""
    asked = json.dumps({"operation": "append", "records": [record]})
    argv = ["/usr/bin/python3", "-I", settings["program"], "ledger", settings["app"], asked]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    said: dict[str, Any] = json.loads((done.stdout.splitlines() or ["{}"])[-1])
    if done.returncode == 0 and said.get("changed"):
        return {"done": True}
    return {"trouble": f"the ledger: {said.get('msg') or f'its program ended with {done.returncode}'}"}


def answer(line: str, settings: dict[str, Any], now: datetime) -> dict[str, Any]:
    """What becomes of one question."""
    try:
        asked = json.loads(line)
        if asked["do"] == "refused":
            return append(settings, refused(asked, settings, now))
    except (OSError, subprocess.SubprocessError) as error:
        return {"trouble": f"the ledger: {type(error).__name__}"}
    except (ValueError, KeyError, TypeError):
        pass
    return {"trouble": "that is no question"}


if __name__ == "__main__":
    print(json.dumps(answer(sys.stdin.readline(MOST_BYTES), json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), datetime.now(tz=UTC))))
