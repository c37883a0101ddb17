# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stage: fetch an artifact, verify it, unpack it beside the live release. Nothing that serves is touched."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import archive, fence, journal, manifest, room, signature, system
from .config import Config
from .errors import HostError

#: Free bytes that stay on the file system whatever is unpacked.
RESERVE_BYTES = 64 * 1024 * 1024


class Artifact(NamedTuple):
    """Which artifact: ``url`` is its folder in the store, ``digest`` the archive's whole sha256 (64 hex digits)."""

    version: str
    digest: str
    url: str

    @property
    def release(self) -> str:
        """The release id."""
        return f"{self.version}-{self.digest[:8]}"


def perform(config: Config, artifact: Artifact, run: str, by: str, token: int | None = None) -> dict[str, Any]:
    """Bring the artifact onto the host as a release; a release that is there and whole is left alone.

    The fencing token is remembered here already: once a run has staged, no run before it can switch any of its hosts.
    """
    began = time.monotonic()
    room.hold(config.state_dir)
    fence.admit(config, token, run)
    with system.host_lock(f"{config.state_dir}/stage.lock", 300.0):
        home = f"{config.releases}/{artifact.release}"
        staged = journal.fold(journal.read(config.journal)).staged
        if artifact.release in staged and os.path.isfile(f"{home}/.tossable/manifest.json"):
            return {"changed": False, "release": artifact.release, "seconds": round(time.monotonic() - began, 3)}
        _clear_parts(config)
        part = f"{config.releases}/.staging-{artifact.release}"
        try:
            size = _bring(config, artifact, part)
            shutil.rmtree(home, ignore_errors=True)
            os.rename(part, home)
        except OSError as error:
            if error.errno not in room.FULL:
                raise
            raise HostError(
                f"{artifact.release} could not be unpacked below {config.releases}: {error.strerror}. What was unpacked is removed again. Make room "
                "(bytes: df; names: df --inodes), or lower app_keep_releases and run site.yml."
            ) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
        system.run(["sync", "--file-system", home])
        seconds = round(time.monotonic() - began, 3)
        journal.append(config.journal, {"kind": "stage", "step": "done", "release": artifact.release, "run": run, "by": by, "seconds": seconds})
    return {"changed": True, "release": artifact.release, "bytes": size, "seconds": seconds}


def _clear_parts(config: Config) -> None:
    """Remove what a stage that was cut short left behind."""
    for name in os.listdir(config.releases):
        if name.startswith(".staging-"):
            shutil.rmtree(f"{config.releases}/{name}", ignore_errors=True)


def _bring(config: Config, artifact: Artifact, part: str) -> int:
    """Fetch, verify, unpack and install into ``part``; returns the bytes fetched."""
    folder = f"{part}/.tossable"
    os.makedirs(folder, mode=0o755)
    os.chmod(part, 0o755)
    stem = f"{config.app}-{artifact.version}"
    for name in ("manifest.json", "manifest.json.sig"):
        _fetch(f"{artifact.url}/{stem}.{name}", f"{folder}/{name}", limit=64 * 1024 * 1024)
    with open(f"{folder}/manifest.json", "rb") as file:
        raw = file.read()
    signature.verify_signature(raw, f"{folder}/manifest.json.sig", config.allowed_signers)
    found = manifest.parse_manifest(raw)
    _check_identity(config, artifact, found)
    _check_space(part, found)
    bundle = f"{part}/.archive"
    _fetch(f"{artifact.url}/{found.archive.name}", bundle, limit=found.archive.size)
    _unpack(config, artifact, found, part, bundle)
    os.unlink(bundle)
    _install(config, found.hooks.get("install", ()), part)
    _seal(part)
    return found.archive.size


def _unpack(config: Config, artifact: Artifact, found: manifest.Manifest, part: str, bundle: str) -> None:
    """Unpack what was fetched; where it is not what the manifest describes, say from where it came and what to do."""
    try:
        archive.unpack(bundle, found, part)
    except archive.ArchiveError as error:
        raise HostError(
            f"{artifact.url}/{found.archive.name} is not what was signed: {error.message}. Nothing of it is kept on this host. Find out who "
            f"changed it in the artifact store; then remove the folder of {artifact.version} there and upload it anew (build.yml -e app={config.app} "
            f"-e version={artifact.version}), or deploy another version.",
            error.evidence,
        ) from None


def _fetch(url: str, path: str, limit: int) -> None:
    """Store what the URL answers, at most ``limit`` bytes."""
    size = 0
    try:
        with urllib.request.build_opener().open(url, timeout=30) as answer, open(path, "wb") as file:
            while block := answer.read(1024 * 1024):
                size += len(block)
                if size > limit:
                    raise HostError(f"{url} is larger than the {limit} bytes that its manifest promises: the artifact was altered.")
                file.write(block)
    except urllib.error.HTTPError as error:
        raise HostError(
            f"{url} answered {error.code} {error.reason}. Is that version in the store? Build and upload it with build.yml -e version=..."
        ) from None
    except OSError as error:
        raise HostError(f"{url} could not be fetched: {error}. Does the artifact store run, and does its firewall let this host in?") from None


def _check_identity(config: Config, artifact: Artifact, found: manifest.Manifest) -> None:
    manifest.expect(found, config.app, artifact.version)
    if found.archive.sha256 != artifact.digest:
        raise HostError(
            f"{artifact.url} holds {found.app} {found.version} with the sha256 {found.archive.sha256}, but the plan chose {artifact.digest}: "
            "the artifact was replaced since. Find out by whom, then run deploy.yml again."
        )


def _check_space(folder: str, found: manifest.Manifest) -> None:
    status = os.statvfs(folder)
    free, needed = status.f_bavail * status.f_frsize, found.total + found.archive.size + RESERVE_BYTES
    if free < needed:
        raise HostError(
            f"{folder} has {free // 2**20} MiB free, staging needs {needed // 2**20} MiB (archive, release and a reserve of "
            f"{RESERVE_BYTES // 2**20} MiB). "
            "Make room, or lower app_keep_releases and run site.yml."
        )


def _install(config: Config, hook: Sequence[str], part: str) -> None:
    """Run the artifact's install hook in the unpacked folder as the application's own user."""
    if not hook:
        return
    account = pwd.getpwnam(config.user)
    _chown_tree(part, account.pw_uid, account.pw_gid)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            list(hook),
            cwd=part,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            env=environment,
            umask=0o022,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"The install hook {' '.join(hook)} could not run: {error}") from None
    if done.returncode != 0:
        raise HostError(f"The install hook {' '.join(hook)} failed with {done.returncode}.", (done.stdout + done.stderr).strip().splitlines()[-15:])


def _chown_tree(folder: str, uid: int, gid: int) -> None:
    os.chown(folder, uid, gid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(f"{parent}/{name}", uid, gid, follow_symlinks=False)


def _seal(folder: str) -> None:
    """Give the release to root and take every write and setuid bit away from others."""
    _chown_tree(folder, 0, 0)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = f"{parent}/{name}"
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & 0o755)
    with contextlib.suppress(FileNotFoundError):
        os.chmod(folder, 0o755)
