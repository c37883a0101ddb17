# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the archive of an artifact against its manifest; nothing is written that the manifest does not name.

Debian 12's Python 3.11.2 has no extraction filters in tarfile, so the checks are our own: the archive is a stream of
members, each must be the one entry of the manifest with its path, of the same type, mode, size, content or target.
Standard library only; the heavy imports make this a module of its own, loaded when a release is staged.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterable
from typing import IO, NamedTuple, cast

from .manifest import DIRECTORY, FILE, LINK, ArtifactError, Entry, Manifest

CHUNK = 1024 * 1024
# A member costs at most a header, a pax header with its path and target, and padding; the end of a tar is 10 KiB.
OVERHEAD_BYTES_PER_MEMBER = 16 * 1024
OVERHEAD_BYTES = 64 * 1024
MAX_MTIME = 2**33

_TYPES = {
    tarfile.REGTYPE: FILE,
    tarfile.AREGTYPE: FILE,
    tarfile.SYMTYPE: LINK,
    tarfile.DIRTYPE: DIRECTORY,
}
_REFUSED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a fifo",
}


class ArchiveError(ArtifactError):
    """The archive is not the one that its manifest describes."""


class Unpacked(NamedTuple):
    """What was read or written: number of members, and bytes of all files together."""

    members: int
    bytes: int


def check_digest(archive: IO[bytes], manifest: Manifest) -> None:
    """Compare size and sha256 of the open archive with the manifest and rewind it; raises ArchiveError."""
    expected = manifest.archive
    size = os.fstat(archive.fileno()).st_size
    if size != expected.size:
        raise ArchiveError(f"{expected.name} has {size} bytes, its manifest says {expected.size}: it was altered or is incomplete")
    digest = hashlib.sha256()
    while block := archive.read(CHUNK):
        digest.update(block)
    if digest.hexdigest() != expected.sha256:
        raise ArchiveError(f"{expected.name} has the sha256 {digest.hexdigest()}, its manifest says {expected.sha256}: it was altered")
    archive.seek(0)


def check_member(member: tarfile.TarInfo, entry: Entry | None) -> Entry:
    """The entry if the header of the member agrees with it in everything; raises ArchiveError otherwise."""
    name = member.name
    if name.startswith("/"):
        raise ArchiveError(f"the archive holds the absolute path {name!r}")
    if ".." in name.split("/"):
        raise ArchiveError(f"the archive holds {name!r}, which leaves the release by '..'")
    if entry is None:
        raise ArchiveError(f"the archive holds {name!r}, which is not in the manifest")
    kind = None if member.issparse() else _TYPES.get(member.type)
    if kind != entry.type:
        found = kind or _REFUSED.get(member.type, f"a member of type {member.type!r}")
        raise ArchiveError(f"{name!r} is {found} in the archive, the manifest says {entry.type}")
    mode = f"{member.mode & 0o7777:04o}"
    if mode != entry.mode:
        raise ArchiveError(f"{name!r} has the mode {mode} in the archive, the manifest says {entry.mode}")
    if member.size != entry.size:
        raise ArchiveError(f"{name!r} has {member.size} bytes in the archive, the manifest says {entry.size}")
    if kind == LINK and member.linkname != entry.target:
        raise ArchiveError(f"{name!r} points to {member.linkname!r} in the archive, the manifest says {entry.target!r}")
    if not 0 <= member.mtime <= MAX_MTIME:
        raise ArchiveError(f"{name!r} has the modification time {member.mtime} in the archive")
    return entry


def check_members(members: Iterable[tarfile.TarInfo], manifest: Manifest) -> None:
    """Check headers alone: every member once and after its folder, none too many, none missing."""
    check = _Checklist(manifest)
    for member in members:
        check.tick(member)
    check.finish()


def verify(archive_path: str | os.PathLike[str], manifest: Manifest) -> Unpacked:
    """Read the whole archive against the manifest, and write nothing; raises ArchiveError."""
    with open(archive_path, "rb") as archive:
        check_digest(archive, manifest)
        return _read(archive, manifest, None)


def unpack(archive_path: str | os.PathLike[str], manifest: Manifest, destination: str | os.PathLike[str]) -> Unpacked:
    """Write the archive below `destination`, a folder that only the caller may write to.

    The digest is checked before the first byte is unpacked, and what is unpacked is what was checked (one open file).
    Whatever fails, the caller throws the folder away. Nothing is synced: that is cheaper once, when all is in place.
    Raises ArchiveError, or OSError (a full disk, a name that exists).
    """
    with open(archive_path, "rb") as archive:
        check_digest(archive, manifest)
        return _read(archive, manifest, os.fspath(destination))


def _read(archive: IO[bytes], manifest: Manifest, destination: str | None) -> Unpacked:
    """Stream the open archive through zstd; `destination` None reads without writing."""
    limit = manifest.total + len(manifest.files) * OVERHEAD_BYTES_PER_MEMBER + OVERHEAD_BYTES
    check = _Checklist(manifest)
    process = subprocess.Popen(["zstd", "-dcq"], stdin=archive, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
    stream = _Bounded(stdout, limit)
    try:
        # Named beforehand, because a tar that cannot even be opened must not leave the process behind.
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8") as tar:  # type: ignore[call-overload]  # a stream needs no more than read
            for member in tar:
                _copy(tar, member, check.tick(member), destination)
        while stream.read(CHUNK):
            pass
        complaint = stderr.read().decode("utf-8", "replace").strip()
        if process.wait() != 0:
            raise ArchiveError(f"{manifest.archive.name} does not decompress: {complaint}")
    except (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError) as error:
        raise ArchiveError(f"{manifest.archive.name} is not a readable tar archive: {error}") from None
    finally:
        stdout.close()
        stderr.close()
        if process.poll() is None:
            process.kill()
            process.wait()
    check.finish()
    return Unpacked(len(manifest.files), manifest.total)


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, destination: str | None) -> None:
    """Write one checked member; `destination` None only reads it."""
    path = None if destination is None else f"{destination}/{entry.path}"
    if entry.type == FILE:
        source = cast(IO[bytes], tar.extractfile(member))
        if path is None:
            _write(source, entry, None)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(path, flags, 0o600)
            try:
                _write(source, entry, target)
                os.fchmod(target, int(entry.mode, 8))
                os.utime(target, (member.mtime, member.mtime))
            finally:
                os.close(target)
    elif path is not None and entry.type == LINK:
        os.symlink(entry.target, path)
    elif path is not None:
        os.mkdir(path, 0o755)
        # The umask of the caller has a say in mkdir, and must not.
        os.chmod(path, 0o755)


def _write(source: IO[bytes], entry: Entry, target: int | None) -> None:
    digest = hashlib.sha256()
    size = 0
    while block := source.read(CHUNK):
        size += len(block)
        digest.update(block)
        view = memoryview(block)
        while target is not None and view:
            view = view[os.write(target, view) :]
    if size != entry.size:
        raise ArchiveError(f"the archive ends within {entry.path!r}: {size} of {entry.size} bytes")
    if digest.hexdigest() != entry.sha256:
        raise ArchiveError(f"{entry.path!r} has the sha256 {digest.hexdigest()} in the archive, the manifest says {entry.sha256}")


class _Checklist:
    """Ticks off the entries of a manifest as members come by."""

    def __init__(self, manifest: Manifest) -> None:
        self.open = {entry.path: entry for entry in manifest.files}
        self.directories = {""}
        self.done: set[str] = set()

    def tick(self, member: tarfile.TarInfo) -> Entry:
        if member.name in self.done:
            raise ArchiveError(f"the archive holds {member.name!r} twice")
        entry = check_member(member, self.open.get(member.name))
        parent = entry.path.rpartition("/")[0]
        if parent not in self.directories:
            raise ArchiveError(f"the archive holds {entry.path!r} before its folder {parent!r}")
        del self.open[entry.path]
        self.done.add(entry.path)
        if entry.type == DIRECTORY:
            self.directories.add(entry.path)
        return entry

    def finish(self) -> None:
        if self.open:
            first = ", ".join(repr(path) for path in sorted(self.open)[:3])
            raise ArchiveError(f"the archive lacks {len(self.open)} entries of the manifest, first {first}")


class _Bounded:
    """A stream that ends in an error where a well-made archive would long have ended."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream = stream
        self.left = limit

    def read(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.left -= len(block)
        if self.left < 0:
            raise ArchiveError("the archive unpacks to more than its manifest says")
        return block
