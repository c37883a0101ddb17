# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is the application fit to serve? Asked on the host itself, before any load balancer is told."""

from __future__ import annotations

import http.client
import os
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from . import journal, system
from .config import Config, Health

#: Seconds between two looks at the processes while there is no good answer yet.
ALIVE_SECONDS = 0.5


def check(config: Config, deadline_seconds: float | None = None) -> dict[str, Any]:
    """Whether the live release can serve, as a switch finds out: ``why`` is None or says what is wrong; changes nothing.

    Good answers have to come within ``deadline_seconds`` (None: the application's own deadline).
    """
    began = time.monotonic()
    live = journal.fold(journal.read(config.journal)).live
    if live is None:
        why: str | None = f"Nothing of {config.app} is live on this host. Release it: deploy.yml"
    elif config.health is None:
        why = process_trouble(config, live)
    else:
        wanted = config.health if deadline_seconds is None else config.health._replace(deadline_seconds=deadline_seconds)
        why = wait_healthy(wanted, lambda: process_trouble(config, live))
    return {"changed": False, "app": config.app, "release": live, "healthy": why is None, "why": why, "seconds": round(time.monotonic() - began, 3)}


def ask(health: Health) -> tuple[bool, str]:
    """Ask once; returns whether the answer is the wanted one, and what it was in words."""
    url = urllib.parse.urlsplit(health.url)
    address = url._replace(scheme="", netloc="", path=url.path or "/").geturl()
    connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=health.timeout_seconds)
    try:
        connection.request("GET", address, headers={"Connection": "close", "User-Agent": "tossable"})
        answer = connection.getresponse()
        body = answer.read(200).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"{health.url}: {error or type(error).__name__}"
    finally:
        connection.close()
    return answer.status == health.status, f"{health.url}: {answer.status} {body}".rstrip()


def wait_healthy(
    health: Health, alive: Callable[[], str | None], clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
) -> str | None:
    """Wait until the application answers as it should, often enough in a row.

    ``alive`` names a reason why waiting is useless (a unit that failed) or returns None. Returns None when healthy, else the reason
    in words: what was asked, what came back last, for how long.
    """
    began, row, said = clock(), 0, "never asked"
    looked = began
    while True:
        good, said = ask(health)
        row = row + 1 if good else 0
        if row >= health.successes:
            return alive()
        spent = clock() - began
        if spent > health.deadline_seconds:
            return f"not healthy after {spent:.0f} s (wanted {health.successes} answers of {health.status} in a row); last answer: {said}"
        # An application that starts refuses a dozen times first; asking systemd each time would slow down what is waited for.
        if not good and clock() - looked >= ALIVE_SECONDS:
            if dead := alive():
                return f"{dead}; last answer: {said}"
            looked = clock()
        pause(health.interval_seconds if row else min(health.interval_seconds, 0.05))


def process_trouble(config: Config, release: str, just_started: bool = False) -> str | None:
    """Name the first unit that does not run ``release``, or None.

    A unit is right when systemd calls it active and its process works inside the release's folder. One that was ``just_started``
    may still be on its way up, but must not have needed a second start: a crash that systemd mends is no health.
    """
    folder = os.path.realpath(f"{config.releases}/{release}")
    for unit, status in system.unit_status(config.units).items():
        if just_started and status.restarts:
            return f"{unit} ended by itself and was started again {status.restarts} times"
        if status.active != "active" and not (just_started and status.active == "activating"):
            return f"{unit} is {status.active}"
        if status.active == "active" and (where := _working_folder(status.pid)) and where != folder:
            return f"{unit} (process {status.pid}) works in {where} instead of {folder}"
    return None


def _working_folder(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None
