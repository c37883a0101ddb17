# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remove old versions from the artifact store, never one that an environment runs or can go back to.

Below the root lies a folder for each application, in it one for each version, and `.in-use/` with a file for each environment that
names the versions in use, one a line. What cannot be read stops the program before it removes anything.
An upload that was cut short left a folder `.incoming-*` at the root, which goes after a day.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def surplus(built: Mapping[str, str], in_use: set[str], keep: int) -> list[str]:
    """Versions to remove, oldest first, so that the `keep` newest and all in use stay.

    `built` maps each version to when it was built (UTC, ISO 8601, from its signed manifest, so never a file's time).
    """
    oldest_first = sorted(built, key=lambda version: (built[version], version))
    newest = set(oldest_first[-keep:]) if keep > 0 else set()
    return [version for version in oldest_first if version not in newest and version not in in_use]


def read_built(application: Path) -> dict[str, str]:
    """When each version of an application was built."""
    built = {}
    for folder in application.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            manifest = folder / f"{application.name}-{folder.name}.manifest.json"
            built[folder.name] = str(json.loads(manifest.read_bytes())["built_at"])
    return built


def read_in_use(application: Path) -> set[str]:
    """The versions that any environment runs or can go back to."""
    notes = application / ".in-use"
    files = notes.iterdir() if notes.is_dir() else ()
    return {line.strip() for file in files if not file.name.startswith(".") for line in file.read_text().splitlines() if line.strip()}


#: No upload takes so long.
UPLOAD_SECONDS = 24 * 3600


def cut_short(root: Path, now: float) -> list[Path]:
    """Folders of uploads that were begun a day before `now` (Unix time) and never ended."""
    return [path for path in sorted(root.glob(".incoming-*")) if path.is_dir() and now - path.stat().st_mtime > UPLOAD_SECONDS]


def main() -> int:
    """Prune every application; exit code 1 where one could not be read, and was left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--keep", type=int, required=True, help="newest versions that stay besides those in use")
    given = parser.parse_args()
    code = 0
    for application in sorted(path for path in given.root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            old = surplus(read_built(application), read_in_use(application), given.keep)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{application}: left alone, because it could not be read: {error!r}", file=sys.stderr)
            code = 1
            continue
        for version in old:
            print(f"removing {application.name} {version}")
            shutil.rmtree(application / version)
    for folder in cut_short(given.root, time.time()):
        print(f"removing {folder}, an upload that was cut short")
        shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
