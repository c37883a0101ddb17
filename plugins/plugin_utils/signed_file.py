# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller signs for hosts that come back later: a line, and its signature by the key that releases are signed with."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.tossable.fleet.plugins.module_utils import artifact_build
from ansible_collections.tossable.fleet.plugins.module_utils.host import signed
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.signature import parse_signature

#: What `write_command` prints where a newer line lies there already.
NEWER = "newer"


def key_trouble(key: str | None) -> str | None:
    """Why nothing can be signed with this key, None where it can."""
    if not key:
        return "there is no key to sign with, see release_signing_key"
    if not os.path.isfile(key):
        return f"this controller has no key at {key}, see release_signing_key"
    return None


def sign(line: bytes, key: str, namespace: str) -> bytes:
    """The line and its signature; raises HostError."""
    with tempfile.TemporaryDirectory(prefix="tossable-") as folder:
        path = Path(folder, "line")
        path.write_bytes(line)
        artifact_build.sign(str(path), key, namespace)
        return line + Path(f"{path}.sig").read_bytes()


def as_good(kept: bytes, made: bytes, namespace: str) -> bool:
    """Whether what is kept is the same line, rightly signed with the same key. Some kinds of key never sign twice with the same bytes."""
    if kept == made:
        return True
    (line, old), (wanted, new) = signed.split(kept), signed.split(made)
    try:
        if line != wanted or parse_signature(old) != parse_signature(new):
            return False
    except HostError:
        return False
    with tempfile.NamedTemporaryFile(prefix="tossable-") as file:
        file.write(old)
        file.flush()
        argv = ["ssh-keygen", "-Y", "check-novalidate", "-n", namespace, "-s", file.name]
        return subprocess.run(argv, input=line, capture_output=True, check=False).returncode == 0


def write_command(path: str, generation: int) -> str:
    """Shell text that puts standard input in place in one step, unless a line of flags of a later generation lies there."""
    folder, _slash, name = path.rpartition("/")
    target, part, lock = (shlex.quote(one) for one in (path, f"{folder}/.{name}", f"{folder}/.{name}.lock"))
    # Of the generations in the line the last one is the line's own: metadata stands behind the flags.
    found = f"""sed -n '1s/.*"generation":\\([0-9][0-9]*\\).*/\\1/p' {target} 2>/dev/null || true"""
    return (
        f"set -e; umask 022; exec 9>>{lock}; flock -w 10 9; have=$({found}); "
        f'if [ "${{have:-0}}" -gt {generation} ]; then cat >/dev/null; echo {NEWER}; exit 0; fi; '
        f"cat >{part}; chmod 0644 {part}; sync {part}; mv {part} {target}"
    )
