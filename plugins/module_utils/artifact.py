# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artifact is made of and whether it may take its place: decisions only, no file is touched here."""

from __future__ import annotations

import fnmatch
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from .host.manifest import DIRECTORY, FILE, LINK, NAMESPACE, ArtifactError, Entry, Manifest, Migration

EARLIEST_EPOCH = 315532800
"""1980-01-01, the time of files that have none of their own: zip, and so every wheel, cannot hold an earlier one."""

_SPECIAL = {
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True)
class Request:
    """What to build: `source` and `output` are folders, `output` relative to the exported source."""

    app: str
    version: str
    source: str
    processes: tuple[str, ...]
    commit: str | None = None
    commands: tuple[str, ...] = ()
    output: str = "."
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    migrations: tuple[Migration, ...] = ()
    exclude: tuple[str, ...] = ()
    built_by: str = "unknown"


@dataclass(frozen=True)
class Origin:
    """Where the exported tree came from: `epoch` in seconds is the time that its files get, `built_at` the manifest's."""

    commit: str | None
    epoch: int
    built_at: str


@dataclass(frozen=True)
class Paths:
    """The three files of an artifact, `<root>/<app>/<version>/<app>-<version>.*`."""

    folder: str
    archive: str
    manifest: str
    signature: str


@dataclass(frozen=True)
class Node:
    """One thing in a tree as lstat sees it: `mode` with the type bits, `target` only of links."""

    path: str
    mode: int
    target: str = ""


def paths_of(root: str, app: str, version: str) -> Paths:
    """The same layout below `build/artifacts`, on the artifact store and in its URLs."""
    folder = f"{root.rstrip('/')}/{app}/{version}"
    stem = f"{folder}/{app}-{version}"
    return Paths(folder, f"{stem}.tar.zst", f"{stem}.manifest.json", f"{stem}.manifest.json.sig")


def iso(epoch: float) -> str:
    """Seconds since 1970 as the manifest writes them, UTC with a Z."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def excluded(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern keeps the path, or a folder above it, out of the artifact.

    A pattern without a slash fits a name at any depth (`__pycache__`, `*.md`), one with a slash a path from the top
    of the packed tree (`vendor/bin`, `docs/*`).
    """
    pure = PurePosixPath(path)
    above = [parent.as_posix() for parent in (pure, *pure.parents)][:-1]
    for pattern in patterns:
        wanted = pattern.strip("/")
        rooted = "/" in pattern.rstrip("/")
        for candidate in above:
            found = candidate if rooted else candidate.rpartition("/")[2]
            if fnmatch.fnmatchcase(found, wanted):
                return True
    return False


def refuse_special(node: Node) -> None:
    """Refuse what no release may hold; raises ArtifactError that names the path."""
    special = _SPECIAL.get(stat.S_IFMT(node.mode))
    if special:
        raise ArtifactError(
            f"{node.path!r} is {special}: an artifact holds files, folders and links only. Remove it in build_commands, or name it in build_exclude."
        )
    if stat.S_ISREG(node.mode) and node.mode & (stat.S_ISUID | stat.S_ISGID):
        raise ArtifactError(
            f"{node.path!r} has the mode {stat.S_IMODE(node.mode):04o}: setuid and setgid files are refused. "
            f"Take the bit away (chmod ug-s), in the source or in build_commands."
        )


def entry_of(node: Node, size: int = 0, sha256: str = "") -> Entry:
    """The manifest's entry: modes are normalised, so that a umask or a checkout makes no difference."""
    refuse_special(node)
    if stat.S_ISDIR(node.mode):
        return Entry(node.path, DIRECTORY, "0755")
    if stat.S_ISLNK(node.mode):
        return Entry(node.path, LINK, "0777", target=node.target)
    mode = "0755" if node.mode & stat.S_IXUSR else "0644"
    return Entry(node.path, FILE, mode, size=size, sha256=sha256)


def build_environment(request: Request, origin: Origin, inherited: Mapping[str, str], python: str) -> dict[str, str]:
    """The environment of the build commands: the caller's (registries, proxies), with what makes builds repeatable.

    `python` is the interpreter that runs Ansible: unlike a Debian machine's own, it has pip.
    """
    ours = {
        "APP": request.app,
        "VERSION": request.version,
        "COMMIT": origin.commit or "",
        "SOURCE_DATE_EPOCH": str(origin.epoch),
        "PYTHON": python,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    # The interpreter of Ansible itself must not lend its packages to the build.
    theirs = {key: value for key, value in inherited.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return {**theirs, **ours}


def same_artifact(existing: Manifest, built: Manifest, folder: str) -> None:
    """Whether the version that is there is what was built now; raises ArtifactError where it is another.

    Who built it, when and from which commit may differ: the bytes that hosts get, and what is done with them, may not.
    """
    advice = f"A version is built once: choose another one, or remove {folder} if no host and no store has it."
    if existing.archive != built.archive:
        changed = ", ".join(changed_paths(existing.files, built.files)[:5]) or "modification times only"
        raise ArtifactError(
            f"{folder} already holds {existing.app} {existing.version} with the sha256 {existing.archive.sha256} "
            f"({_origin(existing)}); this build has {built.archive.sha256} ({_origin(built)}); it differs in: {changed}. {advice}"
        )
    for name in ("hooks", "processes", "migrations"):
        before, after = getattr(existing, name), getattr(built, name)
        if before != after:
            raise ArtifactError(
                f"{folder} already holds {existing.app} {existing.version} with the {name} {before!r}; this build has {after!r}. {advice}"
            )


def changed_paths(before: Sequence[Entry], after: Sequence[Entry]) -> list[str]:
    """Paths that are in one tree only or not alike in both, sorted."""
    return sorted({entry.path for entry in set(before) ^ set(after)})


def describe(manifest: Manifest, paths: Paths) -> dict[str, Any]:
    """What a play needs to know of an artifact; sizes in bytes."""
    return {
        "app": manifest.app,
        "version": manifest.version,
        "release": manifest.release_id,
        "commit": manifest.commit,
        "built_at": manifest.built_at,
        "built_by": manifest.built_by,
        "sha256": manifest.archive.sha256,
        "size": manifest.archive.size,
        "total": manifest.total,
        "files": len(manifest.files),
        "hooks": {name: list(argv) for name, argv in manifest.hooks.items()},
        "processes": list(manifest.processes),
        "migrations": [migration.told() for migration in manifest.migrations],
        "folder": paths.folder,
        "archive": paths.archive,
        "manifest": paths.manifest,
        "signature": paths.signature,
    }


def allowed_signers_file(signers: Iterable[Mapping[str, str]], namespace: str = NAMESPACE) -> str:
    """OpenSSH's allowed_signers text for `[{principal, key}]`; each key counts for one namespace only, artifacts where none is named."""
    lines = []
    for signer in signers:
        principal, key = signer["principal"].strip(), signer["key"].strip()
        if not principal or any(character in principal for character in ' \t\n"') or "\n" in key or len(key.split()) < 2:
            raise ArtifactError(
                f"the allowed signer {principal!r} is not usable: expected a principal like builder@example.org without "
                f"spaces, and one line of a public key like 'ssh-ed25519 AAAA...', found {key[:60]!r}"
            )
        lines.append(f'{principal} namespaces="{namespace}" {key}\n')
    return "".join(lines)


def _origin(manifest: Manifest) -> str:
    return f"commit {manifest.commit[:12]}" if manifest.commit else f"no commit, built at {manifest.built_at}"
