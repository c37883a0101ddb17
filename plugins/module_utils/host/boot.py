# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back into the load balancers after a boot, but only with the release that the fleet runs by now.

The desired state (`desired`) is asked for first. Where it cannot be had in time, or nobody who may has signed it, the host serves
what its own journal calls live: a store that is gone, or was broken into, takes no fleet down. Where it can be had and names another
release, the host stays out until it runs that one; systemd tries again after a failure.
"""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from . import desired, fence, journal, signature, stage, system, transaction
from .config import Config, DesiredSource
from .desired import Desired
from .errors import HostError

#: Seconds that one question may take, and seconds between two.
ANSWER_SECONDS, PAUSE_SECONDS = 5.0, 1.0
#: Levels that systemd reads off the front of a line (sd-daemon(3)).
ERROR, WARNING, NOTICE = 3, 4, 5
#: Who made the release live, as status.yml shows it.
BY = "the host itself, at boot"

Fetch = Callable[[str], "bytes | None"]


def perform(config: Config) -> dict[str, Any]:
    """Bring the host to the release that the fleet runs, then into the load balancers; raises HostError while it has to stay out."""
    if config.desired and (mended := transaction.repair(config))["changed"]:
        # This program was killed in the middle of a switch; the processes are put right and this unit is started again.
        return mended
    moved = _follow(config, config.desired) if config.desired else None
    return {**transaction.enter(config), **({"changed": True, "moved": moved} if moved else {})}


def _follow(config: Config, source: DesiredSource) -> str | None:
    """The release that the host was brought to, None where it stays with what it has."""
    live = journal.fold(journal.read(config.journal)).live
    if live is None:
        return None
    try:
        found = wanted(config, source, fetch)
        what = desired.decide(found, live, fence.newest(config)["token"]) if found else "stay"
    except HostError as error:
        _say(ERROR, f"The desired state at {source.url} is NOT obeyed: {error.message}.")
        _say(ERROR, f"This host serves {live}, its own last release. Find out who wrote that file, then run playbooks/reconcile.yml.")
        return None
    if found is None or what == "stay":
        return None
    if what == "older":
        _say(WARNING, f"The desired state of run {found.run} is older than a run that this host has seen since: it goes on with {live}.")
        return None
    _say(NOTICE, f"This host runs {live}, the fleet {found.release} since run {found.run}: it stays out of the load balancers until it runs that.")
    _obey(config, found)
    return found.release


def wanted(
    config: Config, source: DesiredSource, ask: Fetch, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
) -> Desired | None:
    """The desired state, its signature proved; None where there is none or the store does not answer in time.

    Raises HostError where it is not to be trusted. A store that says that there is none is not asked again.
    """
    until = clock() + source.wait_seconds
    while True:
        try:
            raw = ask(source.url)
            break
        except OSError as error:
            if clock() + PAUSE_SECONDS > until:
                _say(WARNING, f"{source.url} cannot be had within {source.wait_seconds:g} s ({error}): this host serves its own last release.")
                return None
            pause(PAUSE_SECONDS)
    return prove(config, source, raw) if raw is not None else None


def fetch(url: str) -> bytes | None:
    """What lies at the address, None where the store says that there is nothing; raises OSError where it does not answer."""
    try:
        with urllib.request.build_opener().open(url, timeout=ANSWER_SECONDS) as answer:
            return bytes(answer.read(desired.MAX_BYTES))
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return None
        raise
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def prove(config: Config, source: DesiredSource, raw: bytes) -> Desired:
    """Check who signed it, then read it; raises HostError."""
    line, signed = desired.split(raw)
    with tempfile.NamedTemporaryFile(dir=config.state_dir, prefix=".desired-") as file:
        file.write(signed)
        file.flush()
        signature.verify_signature(line, os.fspath(file.name), source.allowed_signers, desired.NAMESPACE)
    return desired.parse(line, config.app, source.environment)


def _obey(config: Config, found: Desired) -> None:
    """Stage the release and switch to it; where it does not become healthy the host stays out."""
    # systemd tries again and again, each time with a dozen records.
    with system.host_lock(f"{config.state_dir}/lock", transaction.LOCK_SECONDS):
        journal.rotate(config.journal)
    stage.perform(config, stage.Artifact(found.version, found.digest, found.url), found.run, BY, found.token)
    history = journal.fold(journal.read(config.journal)).history
    kind = "rollback" if found.kind == "rollback" and found.release in history else "activate"
    request = transaction.Request(kind, found.release, found.run, BY, "The fleet runs it", blame=False, token=found.token, fall_back=False)
    transaction.perform(config, request)


def _say(level: int, line: str) -> None:
    """A line for the system journal."""
    sys.stderr.write(f"<{level}>{line}\n")
