# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is signed for hosts that come back later: a line, and its signature.

Which release the fleet runs is signed on the controller, by the key that releases are signed with; the flags on the ops host, by a key of its own.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

from ansible_collections.tossable.fleet.plugins.module_utils import artifact_build

#: The words by which `sign_command` ends.
SIGNED, THERE, NEWER, NO_KEY = "signed", "there", "newer", "no-key"
#: Seconds for which another one may be signing.
LOCK_SECONDS = 10


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


def sign_command(path: str, generation: int, key: str, namespace: str, dry: bool = False) -> str:
    """Shell text that signs standard input on the host, and puts line and signature in place in one step.

    Its last line is a word: ``SIGNED``, ``THERE`` where it lies there already, ``NEWER`` where flags of a later generation do, ``NO_KEY`` where the
    host has no such key. ``dry``: says it, and writes nothing.
    """
    folder, _slash, name = path.rpartition("/")
    target, part, lock = (shlex.quote(one) for one in (path, f"{folder}/.{name}", f"{folder}/.{name}.lock"))
    # Of the generations in the line the last one is the line's own: metadata stands behind the flags.
    found = f"""sed -n '1s/.*"generation":\\([0-9][0-9]*\\).*/\\1/p' {target} 2>/dev/null || true"""
    write = f'cat "$work/signed" >{part}; chmod 0644 {part}; sync {part}; mv {part} {target}; '
    return (
        "exec 2>&1; set -e; umask 077; "
        f"[ -f {shlex.quote(key)} ] || {{ cat >/dev/null; echo {NO_KEY}; exit 0; }}; "
        'work=$(mktemp -d); trap \'rm -rf "$work"\' EXIT; cat >"$work/line"; '
        f'ssh-keygen -q -Y sign -n {shlex.quote(namespace)} -f {shlex.quote(key)} "$work/line" </dev/null; '
        'cat "$work/line" "$work/line.sig" >"$work/signed"; '
        f"{'' if dry else f'exec 9>>{lock}; flock -w {LOCK_SECONDS} 9 || {{ echo another one has {lock}; exit 1; }}; '}"
        f'have=$({found}); if [ "${{have:-0}}" -gt {generation} ]; then echo {NEWER}; exit 0; fi; '
        f'if cmp -s "$work/signed" {target}; then echo {THERE}; exit 0; fi; '
        f"{'' if dry else write}echo {SIGNED}"
    )
