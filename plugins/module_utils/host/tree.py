# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release on disk compared with its manifest."""

from __future__ import annotations

import hashlib
import os

from .manifest import Entry, Manifest


def differences(home: str, manifest: Manifest) -> list[str]:
    """Paths that are missing below ``home``, or of another type, size or content than the manifest says, sorted."""
    return sorted(entry.path for entry in manifest.files if not _same(f"{home}/{entry.path}", entry))


def _same(path: str, entry: Entry) -> bool:
    try:
        if entry.type == "link":
            return os.readlink(path) == entry.target
        if entry.type == "directory":
            return os.path.isdir(path) and not os.path.islink(path)
        if os.path.islink(path) or os.path.getsize(path) != entry.size:
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except OSError:
        return False
