# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Building, signing and checking artifacts on the controller: the layer that touches files and runs programs."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from .artifact import (
    EARLIEST_EPOCH,
    Node,
    Origin,
    Paths,
    Request,
    allowed_signers_file,
    build_environment,
    describe,
    entry_of,
    excluded,
    iso,
    paths_of,
    refuse_special,
    same_artifact,
)
from .host import archive
from .host.manifest import (
    NAMESPACE,
    Archive,
    ArtifactError,
    Entry,
    Manifest,
    check_app,
    check_path,
    check_tree,
    check_version,
    expect,
    parse_manifest,
    render_manifest,
)
from .host.signature import SignatureError, parse_signature, verify_signature

LEVEL = "-10"
LAST_LINES = 20


class Stopwatch:
    """Seconds of each step of a run, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)


def build(request: Request, root: str, signing_key: str, log: str | None = None, dry: bool = False) -> dict[str, Any]:
    """Make `<root>/<app>/<version>/` unless it is there with the same bytes.

    Everything is made in a temporary folder and moved into place whole; `dry` stops before the move.
    Returns {changed, existed, artifact, checksums, warnings, log, seconds}; raises ArtifactError, with nothing moved.
    """
    check_app(request.app)
    check_version(request.version)
    key = fingerprint(signing_key)
    paths = paths_of(os.path.abspath(root), request.app, request.version)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="tossable-build-") as scratch:
        tree = f"{scratch}/tree"
        with watch.step("export"):
            origin, warnings = export(request, tree)
        with watch.step("build"):
            run_commands(request, origin, tree, None if dry else log)
        with watch.step("pack"):
            made = paths_of(f"{scratch}/root", request.app, request.version)
            os.makedirs(made.folder)
            manifest = pack(request, origin, tree, made.archive)
            Path(made.manifest).write_bytes(render_manifest(manifest))
        existing = read_existing(paths)
        if existing is not None:
            same_artifact(existing, manifest, paths.folder)
            manifest = existing
            shutil.copyfile(paths.manifest, made.manifest)
        signed = existing is not None and is_signed_by(paths, key)
        if not signed:
            with watch.step("sign"):
                sign(made.manifest, signing_key)
        changed = not signed
        signature = paths.signature if signed else made.signature
        checksums = {os.path.basename(path): _sha256(path) for path in (made.archive, made.manifest, signature)}
        if changed and not dry:
            # Only the signature can differ where the folder exists, so either way one rename makes it whole.
            if existing is None:
                move_folder(made.folder, paths.folder)
            else:
                move_file(made.signature, paths.signature)
    return {
        "changed": changed,
        "existed": existing is not None,
        "artifact": describe(manifest, paths),
        "warnings": warnings,
        "checksums": checksums,
        "log": log,
        "seconds": watch.seconds,
    }


def verify(root: str, app: str, version: str, signers: Sequence[Mapping[str, str]], manifest_only: bool = False) -> dict[str, Any]:
    """Check signature, manifest and, unless `manifest_only`, every byte of the archive; raises ArtifactError."""
    paths = paths_of(os.path.abspath(root), check_app(app), check_version(version))
    watch = Stopwatch()
    raw = _read_manifest(paths)
    with watch.step("signature"), tempfile.NamedTemporaryFile("w", prefix="tossable-signers-") as allowed:
        allowed.write(allowed_signers_file(signers))
        allowed.flush()
        try:
            signer = verify_signature(raw, paths.signature, allowed.name)
        except SignatureError as error:
            told = error.message.replace(allowed.name, "app_allowed_signers")
            raise SignatureError(told, error.evidence) from None
    manifest = parse_manifest(raw)
    expect(manifest, app, version)
    if not manifest_only:
        with watch.step("archive"):
            if not os.path.isfile(paths.archive):
                raise ArtifactError(f"there is no {paths.archive}, which {paths.manifest} vouches for. Build it again.")
            try:
                archive.verify(paths.archive, manifest)
            except archive.ArchiveError as error:
                raise ArtifactError(
                    f"{paths.archive} is not what was signed: {error.message}. Find out who changed it; then remove {paths.folder} and build again.",
                    error.evidence,
                ) from None
    return {
        "changed": False,
        "artifact": {**describe(manifest, paths), "signer": signer},
        "warnings": [],
        "seconds": watch.seconds,
    }


def export(request: Request, tree: str) -> tuple[Origin, list[str]]:
    """Write a clean copy of the source to the new folder `tree`.

    A commit, named or checked out without a change, is exported by git; anything else is copied as it lies there.
    """
    source = os.path.abspath(os.path.expanduser(request.source))
    if not os.path.isdir(source):
        raise ArtifactError(f"build_source is {source}, which is no folder. Set it in the application's variables.")
    os.makedirs(tree)
    prefix = _git_prefix(source)
    if prefix is None:
        if request.commit:
            raise ArtifactError(f"the commit {request.commit} cannot be built: {source} is in no git repository")
        _copy(source, tree, _walk_paths(source))
        return _undated(), []
    clean = not _git(source, "status", "--porcelain", "--untracked-files=normal", "--", ".").strip()
    if request.commit or (clean and _has_commit(source)):
        return _export_commit(source, prefix, request.commit or "HEAD", tree), []
    listed = _git(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    _copy(source, tree, [path for path in sorted(set(listed)) if path and os.path.lexists(f"{source}/{path}")])
    return _undated(), [f"{source} has changes that are not committed: built from the folder as it is, and the artifact names no commit"]


def run_commands(request: Request, origin: Origin, tree: str, log: str | None) -> None:
    """Run each line in the exported tree by `sh -eu`; raises ArtifactError with the last lines of the first that fails."""
    environment = build_environment(request, origin, os.environ, sys.executable)
    if log:
        os.makedirs(os.path.dirname(os.path.abspath(log)), exist_ok=True)
    with open(log, "w+b") if log else tempfile.TemporaryFile() as output:
        for line in request.commands:
            output.write(f"$ {line}\n".encode())
            output.flush()
            done = subprocess.run(
                ["/bin/sh", "-euc", line],
                cwd=tree,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                umask=0o022,
                check=False,
            )
            if done.returncode != 0:
                output.seek(0)
                last = output.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
                where = f" The whole output is in {log}." if log else ""
                raise ArtifactError(f"the build command {line!r} of {request.app} ended with {done.returncode}, expected 0.{where}", last)


def pack(request: Request, origin: Origin, tree: str, target: str) -> Manifest:
    """Pack the output folder into `target`, the same bytes for the same tree, and return the manifest of it."""
    output = os.path.normpath(os.path.join(tree, request.output))
    if output != tree and not output.startswith(f"{tree}/"):
        raise ArtifactError(f"build_output is {request.output!r}, expected a folder inside the source")
    if not os.path.isdir(output):
        raise ArtifactError(f"build_output is {request.output!r}, but after the build commands there is no such folder")
    entries = scan(output, (".git", *request.exclude))
    if not any(entry.type == "file" for entry in entries):
        raise ArtifactError(f"the folder {request.output!r} holds no file after the build: nothing to release")
    write_archive(output, entries, origin.epoch, target)
    manifest = Manifest(
        app=request.app,
        version=request.version,
        commit=origin.commit,
        built_at=origin.built_at,
        built_by=request.built_by,
        archive=Archive(os.path.basename(target), _sha256(target), os.path.getsize(target)),
        files=tuple(entries),
        total=sum(entry.size for entry in entries),
        hooks=request.hooks,
        processes=request.processes,
        migrations=request.migrations,
    )
    # Read back as a host will read it: an artifact that leaves here is one that hosts take.
    checked = parse_manifest(render_manifest(manifest))
    archive.verify(target, checked)
    return checked


def scan(folder: str, exclude: Iterable[str] = ()) -> list[Entry]:
    """The entries of a tree, sorted by path; raises ArtifactError for the first thing that no release may hold."""
    patterns = tuple(exclude)
    entries = []
    for path in _walk_paths(folder, patterns):
        node = _node(folder, path)
        size, digest = 0, ""
        if stat.S_ISREG(node.mode):
            with open(f"{folder}/{path}", "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        entries.append(entry_of(node, size, digest))
    entries.sort(key=lambda entry: entry.path)
    check_tree(entries)
    return entries


def write_archive(folder: str, entries: Iterable[Entry], epoch: int, target: str) -> None:
    """A tar of exactly the entries in their order, through zstd in one thread: nothing but the tree decides the bytes."""
    types = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "directory": tarfile.DIRTYPE}
    with open(target, "wb") as compressed:
        process = subprocess.Popen(["zstd", "-q", LEVEL, "--single-thread", "-c"], stdin=subprocess.PIPE, stdout=compressed)
        pipe = cast(IO[bytes], process.stdin)
        with pipe, tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for entry in entries:
                info = tarfile.TarInfo(entry.path)
                info.type, info.mode, info.mtime = types[entry.type], int(entry.mode, 8), epoch
                info.size, info.linkname = entry.size, entry.target
                if entry.type == "file":
                    with open(f"{folder}/{entry.path}", "rb") as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info)
        if process.wait() != 0:
            raise ArtifactError(f"zstd ended with {process.returncode} while writing {target}: is the disk full?")


def fingerprint(key: str) -> str:
    """The fingerprint of a private (or public) key file, as ssh-keygen -l prints it; raises ArtifactError."""
    path = os.path.expanduser(key)
    if not os.path.isfile(path):
        raise ArtifactError(
            f"there is no signing key at {path}. In the lab playbooks/lab.yml makes one; "
            "elsewhere run: ssh-keygen -t ed25519 -f <file>, and set build_signing_key to it"
        )
    done = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode != 0 or len(words) < 2:
        raise ArtifactError(f"{path} is not a key that ssh-keygen can read", done.stderr.strip().splitlines())
    return words[1]


def sign(path: str, key: str, namespace: str = NAMESPACE) -> None:
    """Write `<path>.sig`; raises ArtifactError."""
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", os.path.expanduser(key), "-n", namespace, path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ArtifactError(
            f"{os.path.basename(path)} could not be signed with {key}. A key with a passphrase has to be in an ssh-agent.",
            done.stderr.strip().splitlines(),
        )


def is_signed_by(paths: Paths, expected: str) -> bool:
    """Whether the artifact in place carries a good signature by the key of this fingerprint; one by an older key counts as none."""
    try:
        found = parse_signature(Path(paths.signature).read_bytes())
    except (FileNotFoundError, SignatureError):
        return False
    if found.fingerprint != expected or found.namespace != NAMESPACE:
        return False
    with open(paths.manifest, "rb") as manifest:
        done = subprocess.run(
            ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", paths.signature],
            stdin=manifest,
            capture_output=True,
            check=False,
        )
    return done.returncode == 0


def read_existing(paths: Paths) -> Manifest | None:
    """The manifest of the version in place, None where there is none; raises ArtifactError where it is not whole."""
    if not os.path.lexists(paths.folder):
        return None
    try:
        manifest = parse_manifest(_read_manifest(paths))
        with open(paths.archive, "rb") as file:
            archive.check_digest(file, manifest)
    except (ArtifactError, OSError) as error:
        raise ArtifactError(f"{paths.folder} exists, but holds no whole artifact: {error}. Remove the folder and build again.") from None
    return manifest


def move_folder(made: str, target: str) -> None:
    """Put a finished folder in place by one rename; beside it first, as the scratch may be on another file system."""
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    beside = tempfile.mkdtemp(prefix=f".{os.path.basename(target)}-", dir=parent)
    try:
        for name in os.listdir(made):
            shutil.copyfile(f"{made}/{name}", f"{beside}/{name}")
        os.chmod(beside, 0o755)
        subprocess.run(["sync", "-f", beside], check=True)
        os.rename(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def move_file(made: str, target: str) -> None:
    """Replace one file by rename."""
    handle, beside = tempfile.mkstemp(prefix=f".{os.path.basename(target)}-", dir=os.path.dirname(target))
    with open(handle, "wb") as file:
        file.write(Path(made).read_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.chmod(beside, 0o644)
    os.replace(beside, target)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(paths: Paths) -> bytes:
    try:
        return Path(paths.manifest).read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"there is no {paths.manifest}. Build it: ansible-playbook playbooks/build.yml "
            f"-e app={paths.folder.split('/')[-2]} -e version={paths.folder.split('/')[-1]}"
        ) from None


def _undated() -> Origin:
    """The origin of a tree without a commit: its files get a fixed time, so that the same tree gives the same bytes."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told.isdecimal():
        return Origin(None, int(told), iso(int(told)))
    return Origin(None, EARLIEST_EPOCH, iso(time.time()))


def _walk_paths(folder: str, exclude: Sequence[str] = (".git",)) -> Iterator[str]:
    """Every path below the folder that is not excluded, relative, folders before what they hold."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        base = os.path.relpath(parent, folder)
        relative = {name: name if base == "." else f"{base}/{name}" for name in (*folders, *files)}
        kept = {name: path for name, path in relative.items() if not excluded(path, exclude)}
        folders[:] = [name for name in folders if name in kept]
        yield from sorted(kept.values())


def _raise(error: OSError) -> None:
    raise ArtifactError(f"{error.filename} cannot be read: {error.strerror}")


def _node(folder: str, path: str) -> Node:
    check_path(path)
    mode = os.lstat(f"{folder}/{path}").st_mode
    node = Node(path, mode, os.readlink(f"{folder}/{path}") if stat.S_ISLNK(mode) else "")
    refuse_special(node)
    return node


def _copy(source: str, tree: str, paths: Iterable[str]) -> None:
    """Copy the paths; a special file is refused before anything could wait on it."""
    for path in paths:
        mode = os.lstat(f"{source}/{path}").st_mode
        refuse_special(Node(path, mode))
        target = f"{tree}/{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if stat.S_ISDIR(mode):
            os.makedirs(target, exist_ok=True)
        else:
            shutil.copy2(f"{source}/{path}", target, follow_symlinks=False)


def _git_prefix(source: str) -> str | None:
    """The path of the source inside its git checkout, None where it is in none; raises ArtifactError."""
    if shutil.which("git") is None:
        return None
    done = _try_git(source, "rev-parse", "--show-prefix")
    if done.returncode == 0:
        prefix = done.stdout.strip().rstrip("/")
        # A folder that the surrounding repository ignores is no part of it.
        ignored = bool(prefix) and _try_git(source, "check-ignore", "-q", ".").returncode == 0
        return None if ignored else prefix
    if "not a git repository" in done.stderr:
        return None
    raise ArtifactError(f"git cannot read the source {source}", done.stderr.strip().splitlines())


def _has_commit(source: str) -> bool:
    """Whether the checked-out commit holds anything of the source (a new folder may be ignored or empty)."""
    done = _try_git(source, "ls-tree", "HEAD", ".")
    return done.returncode == 0 and bool(done.stdout.strip())


def _export_commit(source: str, prefix: str, name: str, tree: str) -> Origin:
    found = _try_git(source, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    commit = found.stdout.strip()
    if found.returncode != 0 or not commit:
        raise ArtifactError(f"the repository of {source} has no commit {name!r}. Fetch it, or name another by -e commit=...")
    # The last commit that touched the source: a commit elsewhere in the repository leaves the bytes as they are.
    epoch = _git(source, "log", "-1", "--format=%ct", commit, "--", ".").strip()
    if not epoch:
        raise ArtifactError(f"the commit {commit[:12]} holds no {prefix or 'file'}: build_source was not there yet")
    top = _git(source, "rev-parse", "--show-toplevel").rstrip("\n")
    words = ["git", "-C", top, "archive", "--format=tar", f"{commit}:{prefix}"]
    exported = subprocess.Popen(words, stdout=subprocess.PIPE)
    unpacked = subprocess.run(["tar", "-x", "-C", tree], stdin=exported.stdout, capture_output=True, check=False)
    if exported.stdout is not None:
        exported.stdout.close()
    if exported.wait() != 0 or unpacked.returncode != 0:
        raise ArtifactError(f"{' '.join(words)} failed", unpacked.stderr.decode("utf-8", "replace").splitlines())
    return Origin(commit, int(epoch), iso(int(epoch)))


def _git(source: str, *words: str) -> str:
    done = _try_git(source, *words)
    if done.returncode != 0:
        raise ArtifactError(f"git {words[0]} failed in {source}", done.stderr.strip().splitlines())
    return done.stdout


def _try_git(source: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in the source; its messages are read, so they are asked for in English."""
    return subprocess.run(
        ["git", "-C", source, *words],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
