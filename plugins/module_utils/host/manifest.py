# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of an artifact: what it must look like, read before any byte of the archive is.

A manifest that passes here describes a tree that can be written below one folder and nowhere else: relative
paths, every parent a directory of its own, links that resolve inside, plain modes, sizes that add up.
Standard library only and no heavy import: this runs on the hosts, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import HostError

SCHEMA = 1
NAMESPACE = "artifact@tossable"
RESERVED = ".tossable"
"""Top-level name of a release in which its manifest is kept; an artifact must not bring it."""
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
MAX_LINKS_FOLLOWED = 40

FILE, LINK, DIRECTORY = "file", "link", "directory"
MODES = {FILE: ("0644", "0755"), LINK: ("0777",), DIRECTORY: ("0755",)}
KEYS_OF = {
    FILE: {"path", "type", "mode", "size", "sha256"},
    LINK: {"path", "type", "mode", "target"},
    DIRECTORY: {"path", "type", "mode"},
}
KEYS = {
    "schema",
    "app",
    "version",
    "commit",
    "built_at",
    "built_by",
    "archive",
    "files",
    "total",
    "hooks",
    "processes",
}
#: Keys that a manifest may leave out: one without migrations is written as it was before there were any.
OPTIONAL = {"migrations"}

#: When a migration runs: before the first switch of a deployment, or once no host can go back to a release that does not know it.
PHASES = ("expand", "contract")
#: Whether releases that do not know a migration may be gone back to once it has run.
REVERSIBLE, FORWARD_ONLY = "reversible", "forward-only"

_APP = re.compile(r"[a-z][a-z0-9-]{0,30}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+~-]{0,63}")
#: As the role app has it (roles/app/vars/main.yml): what names a unit, and a key of variables.
_PROCESS = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_HOOK = re.compile(r"[a-z][a-z0-9_]{0,30}")
_MIGRATION = re.compile(r"[0-9a-z][0-9a-z._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BUILT_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ArtifactError(HostError):
    """An artifact that must not be used; the text names what was found, what was expected and where."""


class ManifestError(ArtifactError):
    """The manifest itself is not one."""


class Archive(NamedTuple):
    """The archive that a manifest vouches for; `size` in bytes, `sha256` as 64 hex digits."""

    name: str
    sha256: str
    size: int


class Entry(NamedTuple):
    """One member: `type` is file, link or directory; `size`/`sha256` only of files, `target` only of links."""

    path: str
    type: str
    mode: str
    size: int = 0
    sha256: str = ""
    target: str = ""


class Migration(NamedTuple):
    """A change of what outlives a release, such as a database: run once for the whole fleet, in the release's folder.

    `phase` is one of PHASES, `class_` REVERSIBLE or FORWARD_ONLY, `command` the words of the command.
    """

    id: str
    phase: str
    class_: str
    command: tuple[str, ...]

    def told(self) -> dict[str, str]:
        """What a plan needs to know of it."""
        return {"id": self.id, "phase": self.phase, "class": self.class_}


class Manifest(NamedTuple):
    """A checked manifest; `total` is the sum of the files' sizes in bytes."""

    app: str
    version: str
    commit: str | None
    built_at: str
    built_by: str
    archive: Archive
    files: tuple[Entry, ...]
    total: int
    hooks: Mapping[str, tuple[str, ...]]
    processes: tuple[str, ...]
    migrations: tuple[Migration, ...] = ()

    @property
    def release_id(self) -> str:
        """The folder name of this artifact on a host: `<version>-<first 8 digits of the archive's sha256>`."""
        return f"{self.version}-{self.archive.sha256[:8]}"


def parse_manifest(raw: bytes) -> Manifest:
    """Read and check a manifest; raises ManifestError with the first thing that is wrong."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"the manifest has {len(raw)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ManifestError(f"the manifest is {_kind(found)}, expected an object")
    if found.get("schema") != SCHEMA or isinstance(found["schema"], bool):
        raise ManifestError(
            f"the manifest has schema {found.get('schema')!r}, this program reads schema {SCHEMA}: "
            "build the artifact with the version of tossable.fleet that is installed on the hosts"
        )
    _same_keys("the manifest", found, KEYS | (OPTIONAL & set(found)))
    app = _matching("app", found["app"], _APP)
    version = _matching("version", found["version"], _VERSION)
    files = tuple(_entry(item, number) for number, item in enumerate(_list("files", found["files"])))
    check_tree(files)
    total = _natural("total", found["total"])
    added = sum(entry.size for entry in files)
    if total != added:
        raise ManifestError(f"the manifest's total is {total} bytes, its files add up to {added}")
    commit = found["commit"]
    return Manifest(
        app=app,
        version=version,
        commit=None if commit is None else _matching("commit", commit, _COMMIT),
        built_at=_matching("built_at", found["built_at"], _BUILT_AT),
        built_by=_text("built_by", found["built_by"]),
        archive=_archive(found["archive"], f"{app}-{version}.tar.zst"),
        files=files,
        total=total,
        hooks=_hooks(found["hooks"]),
        processes=_processes(found["processes"]),
        migrations=parse_migrations(found.get("migrations", [])),
    )


def render_manifest(manifest: Manifest) -> bytes:
    """The bytes that are signed: sorted keys, indent 1, final newline."""
    document: dict[str, Any] = dict(manifest._asdict(), schema=SCHEMA)
    document["archive"] = manifest.archive._asdict()
    document["files"] = [{key: value for key, value in entry._asdict().items() if key in KEYS_OF[entry.type]} for entry in manifest.files]
    document["hooks"] = {name: list(argv) for name, argv in manifest.hooks.items()}
    document["processes"] = list(manifest.processes)
    del document["migrations"]
    if manifest.migrations:
        document["migrations"] = [{**migration.told(), "command": list(migration.command)} for migration in manifest.migrations]
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def expect(manifest: Manifest, app: str, version: str | None = None) -> None:
    """Refuse a manifest, however well signed, of another application or another version."""
    if manifest.app != app:
        raise ManifestError(f"this artifact is of the application {manifest.app!r}, expected {app!r}")
    if version is not None and manifest.version != version:
        raise ManifestError(f"this artifact of {app} is version {manifest.version!r}, expected {version!r}")


def parse_migrations(found: object) -> tuple[Migration, ...]:
    """Migrations in the order in which they run, from a list of `{id, phase, class, command}`; raises ManifestError."""
    migrations: list[Migration] = []
    for number, item in enumerate(_list("migrations", found)):
        where = f"migrations[{number}]"
        if not isinstance(item, dict):
            raise ManifestError(f"{where} is {_kind(item)}, expected an object")
        _same_keys(where, item, {"id", "phase", "class", "command"})
        name = _matching(f"{where}.id", item["id"], _MIGRATION)
        if name in (known.id for known in migrations):
            raise ManifestError(f"{where} has the id {name!r} of one before it: every migration has an id of its own, for ever")
        phase = _one_of(f"{where}.phase", item["phase"], PHASES)
        class_ = _one_of(f"{where}.class", item["class"], (REVERSIBLE, FORWARD_ONLY))
        migrations.append(Migration(name, phase, class_, _command(f"{where}.command", item["command"])))
    return tuple(migrations)


def check_app(name: object) -> str:
    """The name if it may name an application; raises ManifestError otherwise."""
    return _matching("app", name, _APP)


def check_version(name: object) -> str:
    """The name if it may name a version; raises ManifestError otherwise."""
    return _matching("version", name, _VERSION)


def check_path(path: object) -> str:
    """The path if it stays below its root as written, in one spelling only; raises ManifestError otherwise."""
    if not isinstance(path, str) or not path:
        raise ManifestError(f"a path of the artifact is {path!r}, expected text")
    if path.startswith("/"):
        raise ManifestError(f"the path {path!r} is absolute, expected one relative to the release")
    if _CONTROL.search(path):
        raise ManifestError(f"the path {path!r} holds a control character")
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        raise ManifestError(f"the path {path!r} is not UTF-8") from None
    parts = path.split("/")
    if ".." in parts:
        raise ManifestError(f"the path {path!r} leaves the release by '..'")
    if "" in parts or "." in parts:
        raise ManifestError(f"the path {path!r} is not in its shortest form")
    if len(encoded) > 3072 or any(len(part.encode("utf-8")) > 255 for part in parts):
        raise ManifestError(f"the path {path[:80]!r}... is too long")
    if parts[0] == RESERVED:
        raise ManifestError(f"the path {path!r} is reserved: releases keep their own manifest in {RESERVED}/")
    return path


def check_tree(entries: Sequence[Entry]) -> None:
    """Entries sorted by path, none twice, every parent a directory among them, every link inside.

    Raises ManifestError. That a parent is never a link is what makes writing the tree safe.
    """
    types: dict[str, str] = {}
    links: dict[str, str] = {}
    before = ""
    for entry in entries:
        if entry.path <= before:
            raise ManifestError(f"the manifest lists {entry.path!r} twice or out of order, after {before!r}")
        before = entry.path
        parent = entry.path.rpartition("/")[0]
        if parent and types.get(parent) != DIRECTORY:
            raise ManifestError(f"{entry.path!r} lies in {parent!r}, which the manifest does not list as a directory")
        types[entry.path] = entry.type
        if entry.type == LINK:
            links[entry.path] = entry.target
    for path in links:
        check_link(path, links)


def check_link(path: str, links: Mapping[str, str]) -> None:
    """Follow the link at `path` as the kernel would, through the other links; raises ManifestError if it leaves.

    `links` maps the path of every link of the tree to its target. Following is needed: `a/up/../x` looks inside as
    text, and is outside when `a/up` is itself a link to the root of the tree.
    """
    target = links[path]
    if not target or _CONTROL.search(target) or len(target) > 3072:
        raise ManifestError(f"the link {path!r} has the target {target[:80]!r}, which is no path")
    here = path.split("/")[:-1]
    todo = target.split("/")[::-1]
    followed = 1
    if target.startswith("/"):
        raise ManifestError(f"the link {path!r} points to the absolute path {target!r}, expected one inside the release")
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise ManifestError(f"the link {path!r} -> {target!r} leaves the release")
            here.pop()
            continue
        here.append(part)
        next_target = links.get("/".join(here))
        if next_target is None:
            continue
        followed += 1
        if followed > MAX_LINKS_FOLLOWED:
            raise ManifestError(f"the link {path!r} -> {target!r} goes through more than {MAX_LINKS_FOLLOWED} links")
        if next_target.startswith("/"):
            raise ManifestError(f"the link {path!r} -> {target!r} leads to the absolute path {next_target!r}")
        here.pop()
        todo.extend(next_target.split("/")[::-1])


def _entry(item: Any, number: int) -> Entry:
    if not isinstance(item, dict):
        raise ManifestError(f"files[{number}] is {_kind(item)}, expected an object")
    path = check_path(item.get("path"))
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in KEYS_OF:
        raise ManifestError(f"{path!r} has the type {kind!r}, expected one of {', '.join(KEYS_OF)}")
    _same_keys(repr(path), item, KEYS_OF[kind])
    if item["mode"] not in MODES[kind]:
        raise ManifestError(f"{path!r} has the mode {item['mode']!r}, a {kind} may have {' or '.join(MODES[kind])}")
    if kind == FILE:
        size = _natural(f"size of {path!r}", item["size"])
        digest = _matching(f"sha256 of {path!r}", item["sha256"], _SHA256)
        return Entry(path, kind, item["mode"], size=size, sha256=digest)
    if kind == LINK:
        if not isinstance(item["target"], str):
            raise ManifestError(f"the link {path!r} has the target {item['target']!r}, expected text")
        return Entry(path, kind, item["mode"], target=item["target"])
    return Entry(path, kind, item["mode"])


def _archive(found: Any, name: str) -> Archive:
    if not isinstance(found, dict):
        raise ManifestError(f"archive is {_kind(found)}, expected an object")
    _same_keys("archive", found, {"name", "sha256", "size"})
    if found["name"] != name:
        raise ManifestError(f"the manifest names the archive {found['name']!r}, expected {name!r}")
    return Archive(name, _matching("archive.sha256", found["sha256"], _SHA256), _natural("archive.size", found["size"]))


def _hooks(found: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        raise ManifestError(f"hooks is {_kind(found)}, expected an object")
    hooks: dict[str, tuple[str, ...]] = {}
    for name, argv in found.items():
        _matching("the name of a hook", name, _HOOK)
        hooks[name] = _command(f"hooks.{name}", argv)
    return hooks


def _command(what: str, found: object) -> tuple[str, ...]:
    words = _list(what, found)
    if not words or not words[0] or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ManifestError(f"{what} is {words!r}, expected the words of a command")
    return tuple(words)


def _processes(found: Any) -> tuple[str, ...]:
    names = tuple(_matching("a name in processes", name, _PROCESS) for name in _list("processes", found))
    if not names or len(set(names)) != len(names):
        raise ManifestError(f"processes is {list(names)!r}, expected one or more names, none of them twice")
    return names


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ManifestError(f"the manifest has the key {key!r} twice in one object")
        document[key] = value
    return document


def _no_constant(name: str) -> Any:
    raise ManifestError(f"the manifest holds {name}, which is not JSON")


def _same_keys(where: str, found: Mapping[str, Any], expected: set[str]) -> None:
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected)
    if missing or unknown:
        told = [f"lacks {', '.join(missing)}"] if missing else []
        told += [f"has the unknown {', '.join(map(repr, unknown))}"] if unknown else []
        raise ManifestError(f"{where} {' and '.join(told)}")


def _matching(what: str, found: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise ManifestError(f"{what} is {found!r}, expected text like {pattern.pattern}")
    return found


def _one_of(what: str, found: object, known: Sequence[str]) -> str:
    if not isinstance(found, str) or found not in known:
        raise ManifestError(f"{what} is {found!r}, expected {' or '.join(known)}")
    return found


def _text(what: str, found: object) -> str:
    if not isinstance(found, str) or not found or len(found) > 200 or _CONTROL.search(found):
        raise ManifestError(f"{what} is {found!r}, expected one short line of text")
    return found


def _natural(what: str, found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**53:
        raise ManifestError(f"{what} is {found!r}, expected a number of bytes")
    return found


def _list(what: str, found: object) -> list[Any]:
    if not isinstance(found, list):
        raise ManifestError(f"{what} is {_kind(found)}, expected a list")
    return found


def _kind(found: object) -> str:
    return f"of type {type(found).__name__}"
