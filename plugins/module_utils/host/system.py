# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The small layer that touches the host: files replaced in one step, systemd, the host's own lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .errors import HostError

#: Seconds that a command, and whatever systemd is asked beside stopping processes, may take; and those that processes may take to be started.
RUN_SECONDS, START_SECONDS = 120.0, 90.0


class LockedError(HostError):
    """Another transaction holds the application's lock on this host."""


def line_start(descriptor: int, end: int, block: int = 65536) -> int:
    """Offset at which the line begins that has the bytes before ``end``: behind the last newline there, or 0. Reads ``block`` bytes at a time."""
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write ``data`` at ``offset`` (bytes), however many calls it takes."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def sync_folder(path: str) -> None:
    """Make a rename or a new name in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, data: bytes, mode: int, group: int = -1, not_before_ns: int = 0) -> None:
    """Replace the file in one step: write beside, sync, rename. Where that fails nothing stays beside it.

    Nobody whom ``mode`` and ``group`` shut out can open it at any moment. Its mtime is at least ``not_before_ns`` (Unix nanoseconds),
    whatever the clock says.
    """
    part = f"{path}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if not_before_ns:
                now = max(time.time_ns(), not_before_ns)
                os.utime(file.fileno(), ns=(now, now))
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    sync_folder(os.path.dirname(path))


def read_link(path: str) -> str | None:
    """Last part of the link's target, or None where there is no link."""
    try:
        return os.path.basename(os.readlink(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # EINVAL: a file or a folder, not a link
            return None
        raise


def point_link(path: str, target: str) -> None:
    """Make ``path`` a link to ``target`` by rename, so that no reader ever finds it missing."""
    part = f"{path}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    os.symlink(target, part)
    os.replace(part, path)
    sync_folder(os.path.dirname(path))


def remove_link(path: str) -> None:
    """Remove the link where there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(os.path.dirname(path))


@contextlib.contextmanager
def host_lock(path: str, deadline_seconds: float) -> Iterator[None]:
    """Hold the application's lock on this host; a LockedError says who holds it when it is not had in time.

    The kernel frees it when the holder dies: children do not inherit the descriptor.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(descriptor, path, deadline_seconds)
        holder = f"process {os.getpid()} since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}".encode()
        # Only for who waits: it keeps nobody from work on a disk that is full.
        with contextlib.suppress(OSError):
            write_all(descriptor, holder, 0)
            os.ftruncate(descriptor, len(holder))
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: str, deadline_seconds: float) -> None:
    until = time.monotonic() + deadline_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace")
                raise LockedError(
                    f"Another transaction works on this host ({holder or 'unknown'}, lock {path}) and did not end within "
                    f"{deadline_seconds:g} s. Wait for it, then run the same command again."
                ) from None
            time.sleep(0.02)


def run(argv: Sequence[str], timeout_seconds: float = RUN_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said; no shell, the C locale. A HostError tells that it did not end in time."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_seconds, check=False, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise HostError(f"{' '.join(argv)} did not end within {timeout_seconds:g} s. Look at what it waits for on this host.") from None


def systemctl(verb: str, units: Sequence[str], *options: str, stop_seconds: float = RUN_SECONDS - START_SECONDS) -> None:
    """Have systemd do ``verb`` to all units in one call; a HostError carries its words when it refuses.

    ``stop_seconds`` is how long their processes may take to end; systemd stops all units at once.
    """
    if not units:
        return
    command, seconds = ["systemctl", verb, *options, *units], stop_seconds + START_SECONDS
    try:
        done = run(command, seconds)
    except HostError:
        raise HostError(
            f"{' '.join(command)} did not end within {seconds:g} s, of which its processes have {stop_seconds:g} s to end. Look at systemctl "
            f"list-jobs and journalctl -u {units[0]} on this host. Where a process may take longer, say so in app_processes "
            "(stop_timeout_seconds) and run playbooks/app.yml."
        ) from None
    if done.returncode != 0:
        raise HostError(f"systemctl {verb} {' '.join(units)} failed with {done.returncode}.", done.stderr.strip().splitlines()[-10:])


class UnitStatus(NamedTuple):
    """What systemd says of a unit; ``pid`` is 0 where no main process runs, ``stale`` that its file changed since it was loaded."""

    active: str
    pid: int
    restarts: int
    stale: bool


def unit_status(units: Sequence[str]) -> dict[str, UnitStatus]:
    """Ask systemd for all units in one call."""
    if not units:
        return {}
    properties = "Id,ActiveState,MainPID,NRestarts,NeedDaemonReload"
    blocks = run(["systemctl", "show", f"--property={properties}", *units]).stdout.strip().split("\n\n")
    found = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks if block]
    return {
        block["Id"]: UnitStatus(
            block["ActiveState"], int(block.get("MainPID") or 0), int(block.get("NRestarts") or 0), block["NeedDaemonReload"] == "yes"
        )
        for block in found
    }


def last_log_lines(units: Sequence[str], since: float, count: int = 15) -> list[str]:
    """The units' last log lines since ``since`` (Unix time, seconds), oldest first; why there are none where they cannot be had in time."""
    argv = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--lines={count}", f"--since=@{int(since)}"]
    for unit in units:
        argv += ["--unit", unit]
    try:
        return run(argv).stdout.splitlines()
    except HostError as error:
        return [error.message]
