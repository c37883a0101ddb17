"""Makes archives, honest and otherwise, and the manifests that vouch for them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import (
    DIRECTORY,
    FILE,
    LINK,
    Archive,
    Entry,
    Manifest,
)

Content = tuple[Entry, bytes]
TYPES = {FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE, DIRECTORY: tarfile.DIRTYPE}


def file(path: str, content: bytes = b"", mode: str = "0644") -> Content:
    return Entry(path, FILE, mode, len(content), hashlib.sha256(content).hexdigest()), content


def folder(path: str) -> Content:
    return Entry(path, DIRECTORY, "0755"), b""


def link(path: str, target: str) -> Content:
    return Entry(path, LINK, "0777", target=target), b""


def member(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path)
    info.type, info.mode, info.size, info.linkname = TYPES[entry.type], int(entry.mode, 8), entry.size, entry.target
    return info


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A tar of exactly these members, however wrong they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def compress(path: Path, content: bytes) -> Path:
    path.write_bytes(subprocess.run(["zstd", "-q"], input=content, capture_output=True, check=True).stdout)
    return path


def describe(tree: Iterable[Content], archive: Path) -> Manifest:
    """The manifest of the tree that vouches for the archive as it lies there."""
    entries = tuple(sorted(entry for entry, _content in tree))
    raw = archive.read_bytes()
    return Manifest(
        app="shop",
        version="1.0.0",
        commit=None,
        built_at="2026-11-20T20:00:00Z",
        built_by="builder@lab",
        archive=Archive("shop-1.0.0.tar.zst", hashlib.sha256(raw).hexdigest(), len(raw)),
        files=entries,
        total=sum(entry.size for entry in entries),
        hooks={"install": ("true",)},
        processes=("web",),
    )


def bundle(folder: Path, tree: Iterable[Content]) -> tuple[Path, Manifest]:
    """An honest archive of the tree below the folder, with its manifest."""
    tree = list(tree)
    archive = compress(folder / "shop-1.0.0.tar.zst", tar((member(entry), content) for entry, content in tree))
    return archive, describe(tree, archive)
