# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this host runs, for status, plans and the comparison of machines. Reads only."""

from __future__ import annotations

import os
from typing import Any

from . import balancer, configuration, fence, health, journal, manifest, plan, system, tree
from .config import Config
from .errors import HostError


def collect(config: Config, verify: bool) -> dict[str, Any]:
    """Return the host's state as data; with ``verify`` every file of the live release is compared with its manifest.

    ``since``, ``by`` and ``run`` tell when, by whom and in which run the live release became live (UTC, ISO 8601),
    ``came_from`` what it took the host from: the same release where only the configuration was new.
    """
    records = journal.read(config.journal)
    state = journal.fold(records)
    link = system.read_link(config.current)
    trouble = health.process_trouble(config, state.live) if state.live else None
    live = state.live_record or {}
    healthy, said = health.ask(config.health) if config.health and state.live else (trouble is None, trouble or "")
    free = os.statvfs(config.base)
    broken = _broken_files(config, link) if verify and link else []
    differs = plan.configuration_drift(state.configuration, configuration.in_force(config)) if config.etc else []
    stale = [f"{unit}: its unit file changed since systemd read it" for unit, status in system.unit_status(config.units).items() if status.stale]
    return {
        "changed": False,
        "app": config.app,
        "release": link,
        "live": state.live,
        "previous": state.previous,
        "history": list(state.history[-10:]),
        "staged": list(state.staged),
        "bad": {release: {key: why.get(key) for key in ("at", "by", "run", "reason", "error")} for release, why in state.bad.items()},
        "since": live.get("at"),
        "by": live.get("by"),
        "run": live.get("run"),
        "came_from": live.get("previous"),
        "switch_seconds": journal.seconds(records, ("activate", "rollback")),
        "stage_seconds": journal.seconds(records, ("stage",)),
        "fence": fence.newest(config),
        "healthy": healthy if state.live else None,
        "health_answer": said,
        "balancer_word": balancer.read_word(config.drain.state_file) if config.drain else None,
        "free_bytes": free.f_bavail * free.f_frsize,
        "unfinished": state.flight._asdict() if state.flight else None,
        "configuration": configuration.report(config, state),
        "drift": plan.drift(state, link, broken, [*([trouble] if trouble else []), *stale, *differs]),
    }


def _broken_files(config: Config, release: str) -> list[str]:
    """Files of the release that are missing or differ from its manifest."""
    home = f"{config.releases}/{release}"
    try:
        with open(f"{home}/.tossable/manifest.json", "rb") as file:
            return tree.differences(home, manifest.parse_manifest(file.read()))
    except (OSError, HostError) as error:
        return [f".tossable/manifest.json ({error})"]
