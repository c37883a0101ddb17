# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run one migration of a staged release on this host. Nothing that serves is touched.

The command is a systemd unit of a name that is the same for every migration of the application: systemd starts no second one, it lives on when the
connection or this program dies, and it is stopped, with all that it started, at its deadline.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from . import fence, manifest, system
from .config import Config
from .errors import HostError

#: Seconds beyond its deadline that a migration has to end once it is told to.
STOP_SECONDS = 10
#: Seconds in which systemd has started and stopped a unit, however busy the host is.
SLACK_SECONDS = 60
#: What the command may not do: gain rights, write to the system, or see homes and devices. The processes of the application are held closer.
SANDBOX = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=full",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "RestrictSUIDSGID=yes",
    "UMask=0027",
)
_RESULT = re.compile(r"^Finished with result: (\S+)$", re.MULTILINE)


def perform(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Run the migration ``given["migration"]`` of ``given["release"]``, for at most ``given["seconds"]``.

    The answer has ``ended`` where the command ran and ended, well or not; without it, nobody knows (a HostError: it did not begin).
    """
    release, seconds = given["release"], int(given["seconds"])
    with system.host_lock(f"{config.state_dir}/migrate.lock", seconds + SLACK_SECONDS):
        fence.admit(config, given.get("token"), given["run"])
        found = read_manifest(config, release)
        migration = find(found, given["migration"], release)
        unit = f"tossable-migrate-{config.app}.service"
        _wait_ended(unit, seconds + SLACK_SECONDS)
        began = time.time()
        done = system.run(command(config, unit, release, found.version, migration, seconds), timeout_seconds=seconds + STOP_SECONDS + SLACK_SECONDS)
        took = round(time.time() - began, 3)
        answer = {"changed": True, "ended": True, "migration": migration.id, "release": release, "seconds": took}
        if done.returncode == 0:
            return answer
        system.run(["journalctl", "--sync"])
        evidence = system.last_log_lines([unit], began, 20) or done.stderr.strip().splitlines()[-10:]
        told = f"The migration {migration.id} of {release} {ending(done.stderr, done.returncode, seconds)}. {ADVICE}"
        return {**answer, "failed": True, "msg": told, "evidence": evidence}


ADVICE = (
    "No host was switched, but what it had done by then is still done. Mend what it lacked and run the same command again, which runs it again from "
    "its beginning; or mend it under the same id in a new version, and deploy that."
)


def command(config: Config, unit: str, release: str, version: str, migration: manifest.Migration, seconds: int) -> list[str]:
    """The words that run the migration as a unit and wait for its end; the exit code is the migration's."""
    properties = (
        f"User={config.user}",
        f"Group={config.group}",
        f"WorkingDirectory={config.releases}/{release}",
        f"EnvironmentFile={environment_file(config, release)}",
        f"SyslogIdentifier={config.app}-migrate",
        f"RuntimeMaxSec={seconds}",
        f"TimeoutStopSec={STOP_SECONDS}",
        *SANDBOX,
    )
    asked = ["systemd-run", "--wait", "--collect", "--service-type=exec", f"--unit={unit}", f"--description={config.app}: migration {migration.id}"]
    # env finds the program by the PATH of the environment, and its words win over the file. systemd would replace a $ in a word.
    words = ["/usr/bin/env", "--", f"MIGRATION_ID={migration.id}", f"VERSION={version}", *(word.replace("$", "$$") for word in migration.command)]
    return [*asked, *(f"--property={entry}" for entry in properties), *words]


def environment_file(config: Config, release: str) -> str:
    """The configuration that the release's processes get: the wanted one until it is live."""
    if config.etc and system.read_link(config.current) != release:
        return config.wanted
    return f"/etc/{config.app}/env"


def ending(said: str, code: int, seconds: int) -> str:
    """How the command ended, in words, from what ``systemd-run`` said and its exit code."""
    found = _RESULT.search(said)
    result = found[1] if found else "exit-code"
    if result == "timeout":
        return f"did not end within {seconds} s (release_migration_seconds) and was stopped"
    return f"ended with exit code {code}, expected 0" if result == "exit-code" else f"was ended by systemd: {result}"


def find(found: manifest.Manifest, name: str, release: str) -> manifest.Migration:
    """The migration of that id in a release's manifest; a HostError names those that are there."""
    for migration in found.migrations:
        if migration.id == name:
            return migration
    known = ", ".join(migration.id for migration in found.migrations) or "none"
    raise HostError(f"{release} has no migration {name} (it has: {known}). Run the same command again: its plan is made anew.")


def read_manifest(config: Config, release: str) -> manifest.Manifest:
    """The manifest of a release that was staged here, its signature proved at that time."""
    path = f"{config.releases}/{release}/.tossable/manifest.json"
    try:
        with open(path, "rb") as file:
            return manifest.parse_manifest(file.read())
    except FileNotFoundError:
        raise HostError(f"{release} is not staged on this host ({path} is missing). Run deploy.yml with its version again.") from None


def known(config: Config, releases: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """The migrations that each of the releases knows; one whose manifest cannot be read knows none."""
    told: dict[str, list[dict[str, str]]] = {}
    for release in releases:
        try:
            told[release] = [migration.told() for migration in read_manifest(config, release).migrations]
        except HostError:
            told[release] = []
    return told


def _wait_ended(unit: str, deadline_seconds: float) -> None:
    """Wait for a migration whose caller died, which may have been another one, and for systemd to forget it."""
    until = time.monotonic() + deadline_seconds
    while system.run(["systemctl", "show", "--property=LoadState", "--value", unit]).stdout.strip() != "not-found":
        if time.monotonic() > until:
            raise HostError(
                f"A migration that was started before still runs on this host after {deadline_seconds:g} s. Look at it with systemctl status {unit}, "
                "and run the same command again once it has ended."
            )
        time.sleep(0.05)
