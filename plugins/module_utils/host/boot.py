# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back into the load balancers after a boot, but only with the feature flags and the release that the fleet runs by now.

The flags come first, because an application reads them when it starts. Where they cannot be had in time, or nobody who may has signed
them, the host keeps those that it has and serves. Both questions together wait no longer than each alone.

The desired state (`desired`) is asked for next. Where it cannot be had in time, or nobody who may has signed it, the host serves
what its own journal calls live: a store that is gone, or was broken into, takes no fleet down. Where it can be had and names another
release, the host stays out until it runs that one; systemd tries again after a failure.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from . import desired, fence, flag_file, journal, signed, stage, system, transaction
from .config import Config, DesiredSource
from .desired import Desired
from .errors import HostError

#: Seconds within which an application sees flags that were replaced while it ran: its provider looks for a newer file more often than that.
FLAGS_SEEN_SECONDS = 1.0
#: Levels that systemd reads off the front of a line (sd-daemon(3)).
ERROR, WARNING, NOTICE = 3, 4, 5
#: Who made the release live, as status.yml shows it.
BY = "the host itself, at boot"


def perform(config: Config) -> dict[str, Any]:
    """Bring the host to the flags and the release that the fleet runs, then into the load balancers; raises HostError while it has to stay out."""
    if config.desired and (mended := transaction.repair(config))["changed"]:
        # This program was killed in the middle of a switch; the processes are put right and this unit is started again.
        return mended
    began = time.monotonic()
    generation = _bring_flags(config, began)
    moved = _follow(config, config.desired, began) if config.desired else None
    told = {**({"moved": moved} if moved else {}), **({"flags": generation} if generation else {})}
    return {**transaction.enter(config), **({"changed": True, **told} if told else {})}


def _bring_flags(config: Config, began: float) -> int | None:
    """The generation of the flags that the host was brought to, None where it keeps those that it has. Keeps no host out."""
    try:
        source = flag_file.source(flag_file.SOURCE)
        offered = live_flags(config, source, began) if source else None
        if offered is None:
            return None
        what = flag_file.publish(flag_file.FOLDER, offered)
    except (HostError, OSError) as error:
        _say(ERROR, f"The feature flags were NOT brought up to date: {error}. This host goes on with those that it has.")
        return None
    if what == "write":
        _say(NOTICE, f"This host has missed a switch: it has the feature flags of generation {offered.generation} now.")
        time.sleep(FLAGS_SEEN_SECONDS)
        return offered.generation
    if what != "there":
        why = "older than those that this host has" if what == "older" else "of the same generation as those that this host has, and not the same"
        _say(WARNING, f"The feature flags beside the artifacts (generation {offered.generation}) are {why}: it goes on with its own. See flags.yml.")
    return None


def live_flags(config: Config, source: flag_file.Source, began: float) -> flag_file.Flags | None:
    """The flags beside the artifacts, their signature proved; None where there are none, or the store does not answer in time.

    Raises HostError where they are not to be trusted.
    """
    try:
        raw = signed.wait_for(source.url, flag_file.MAX_BYTES, began + source.wait_seconds)
    except OSError as error:
        _say(WARNING, f"{source.url} cannot be had within {source.wait_seconds:g} s ({error}): this host goes on with the feature flags that it has.")
        return None
    if raw is None:
        _say(WARNING, f"There is no {source.url}: this host goes on with the feature flags that it has. site.yml signs them.")
        return None
    try:
        return flag_file.parse(signed.prove(raw, config.state_dir, source.allowed_signers, flag_file.NAMESPACE), source.environment)
    except HostError as error:
        raise HostError(f"{source.url} is not to be trusted: {error.message}. Find out who wrote that file, then run site.yml") from None


def _follow(config: Config, source: DesiredSource, began: float) -> str | None:
    """The release that the host was brought to, None where it stays with what it has."""
    live = journal.fold(journal.read(config.journal)).live
    if live is None:
        return None
    try:
        found = wanted(config, source, began)
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


def wanted(config: Config, source: DesiredSource, began: float) -> Desired | None:
    """The desired state, its signature proved; None where there is none or the store does not answer in time.

    ``began`` is when the host began to ask the store, for whatever (monotonic seconds). Raises HostError where it is not to be trusted.
    """
    try:
        raw = signed.wait_for(source.url, desired.MAX_BYTES, began + source.wait_seconds)
    except OSError as error:
        _say(WARNING, f"{source.url} cannot be had within {source.wait_seconds:g} s ({error}): this host serves its own last release.")
        return None
    return prove(config, source, raw) if raw is not None else None


def prove(config: Config, source: DesiredSource, raw: bytes) -> Desired:
    """Check who signed it, then read it; raises HostError."""
    line = signed.prove(raw, config.state_dir, source.allowed_signers, desired.NAMESPACE)
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
