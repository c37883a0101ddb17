# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a release that was found healthy stay so? Looks only: whoever asks decides what follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import health, system
from .config import Config

#: Seconds between two looks.
BETWEEN_SECONDS = 0.5
#: Bad answers that make a release unhealthy, in a row or not; a single one may be a busy host's.
TOO_MANY = 2
#: Seconds before the watch of which log lines are shown.
LOG_SECONDS = 60


def perform(config: Config, release: str, seconds: float, switched: bool) -> dict[str, Any]:
    """Look at the release for so long, at least once; ``trouble`` is None or says what is wrong, ``evidence`` holds the last log lines then.

    ``switched`` is whether it was started for this: then a process that systemd had to start again is trouble, however healthy it is now.
    """
    began = time.time()

    def ask() -> tuple[bool, str]:
        return health.ask(config.health) if config.health else (True, "")

    def dead() -> str | None:
        return health.process_trouble(config, release, just_started=switched)

    trouble = hold(ask, dead, seconds)
    return {
        "changed": False,
        "trouble": f"{release} did not stay healthy: {trouble}" if trouble else None,
        "evidence": system.last_log_lines(config.units, began - LOG_SECONDS) if trouble else [],
    }


def hold(
    ask: Callable[[], tuple[bool, str]],
    dead: Callable[[], str | None],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> str | None:
    """Ask until the time is over; returns what is wrong, in words, as soon as something is.

    ``ask`` tells whether the answer was good, and what it was; ``dead`` names a process that is not as it should be. A last answer that is
    bad is asked for once more.
    """
    began, bad = clock(), 0
    while True:
        if trouble := dead():
            return trouble
        good, said = ask()
        bad += not good
        if bad >= TOO_MANY:
            return f"{bad} answers were bad, the last one {clock() - began:.1f} s after the first look: {said}"
        if good and clock() - began >= seconds:
            return None
        pause(min(BETWEEN_SECONDS, max(seconds - (clock() - began), 0.0)) if good else BETWEEN_SECONDS)
