# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room that is held back beside the journal, so that what has begun can be ended on a disk that fills up meanwhile."""

from __future__ import annotations

import errno
import os

from .errors import HostError

#: Bytes held back, and as many have to be free beyond them before anything begins; a transaction writes less than 10 KiB.
RESERVE_BYTES = 64 * 1024
#: One block, less is of no use.
SMALLEST_BYTES = 4096
#: What a full disk, or a full quota, says.
FULL = (errno.ENOSPC, errno.EDQUOT)


def hold(folder: str) -> None:
    """Hold the room back; a HostError, before anything has begun, where there is none."""
    descriptor = os.open(_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        status = os.fstatvfs(descriptor)
        free = status.f_bavail * status.f_frsize
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = 0
    finally:
        os.close(descriptor)
    if free < RESERVE_BYTES:
        raise HostError(
            f"{folder} is full: {free // 1024} KiB are free, {RESERVE_BYTES // 1024} KiB are needed to write down what is done. "
            "Nothing was begun. Make room there, then run the same command again."
        )


def keep(folder: str) -> None:
    """Hold back as much of the room as there is; on a disk that is full that may be none, and whoever asks goes on."""
    wanted = RESERVE_BYTES
    descriptor = os.open(_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while wanted >= SMALLEST_BYTES:
            try:
                os.posix_fallocate(descriptor, 0, wanted)
                return
            except OSError as error:
                if error.errno not in FULL:
                    raise
                wanted //= 2
    finally:
        os.close(descriptor)


def give_up(folder: str) -> bool:
    """Let what was held back be used; returns whether there was any."""
    try:
        held = os.path.getsize(_path(folder)) > 0
        os.truncate(_path(folder), 0)
    except FileNotFoundError:
        return False
    return held


def _path(folder: str) -> str:
    return f"{folder}/reserve"
