# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs on a host as the controller sees them, the transaction program first: which bytes, where they lie, how to call it in one exec."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pathlib
import re
import shlex
import tarfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import ansible_collections.tossable.fleet.plugins.module_utils.host as host_package

#: Where programs lie on a host, each version in a folder of its own; the links beside them are what units call.
HOME = "/usr/local/lib/tossable"
#: Input that is longer (bytes) goes through standard input: the kernel takes 128 KiB as one argument, and quoting makes it longer, twice.
LONGEST_ARGUMENT = 16 * 1024
#: Exit code of the call when the program is missing on the host, of another version, or altered; or what boot units call is not this one.
NOT_THERE = 90
#: Operations that only look, of verbs that do more than one thing.
_LOOKS = {"lock": ("show",), "maintenance": ("show", "drain"), "ledger": ("show",)}
_MAIN = "import sys\n\nfrom tossable_host.cli import main\n\nsys.exit(main(sys.argv[1:]))\n"


class Program(NamedTuple):
    """A program's files (path to bytes), the digest of their list, 64 hex digits, and the link that leads to the version in use."""

    files: dict[str, bytes]
    digest: str
    link: str = "current"

    @property
    def folder(self) -> str:
        """Where this version lies on a host."""
        return f"{HOME}/{self.digest[:16]}"


@functools.cache
def program() -> Program:
    """Return the program of this collection."""
    source = pathlib.Path(next(iter(host_package.__path__)))
    files = {f"tossable_host/{path.name}": path.read_bytes() for path in sorted(source.glob("*.py"))}
    return _listed({**files, "__main__.py": _MAIN.encode()}, "current")


def program_of(folder: pathlib.Path, link: str) -> Program:
    """Return the program whose files lie in a folder on the controller, without what Python compiled of them.

    Raises ValueError where there is none, or ``link`` is no plain name of its own.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", link) or link == "current":
        raise ValueError(f"'{link}' is no name for a program: a-z, then a-z, 0-9 and _; current is the transaction program's")
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    if "__main__.py" not in files:
        raise ValueError(f"{folder} holds no program: there is no __main__.py in it")
    return _listed(files, link)


def _listed(files: Mapping[str, bytes], link: str) -> Program:
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()
    return Program({**files, "SHA256SUMS": sums}, hashlib.sha256(sums).hexdigest(), link)


def reads(verb: str, given: Mapping[str, Any]) -> bool:
    """Whether a call only looks.

    Then it leaves alone which version the host's own units (boot, repair, agent) run: a look from an older checkout must not bring them
    back to its program.
    """
    if verb == "migrations":
        return not given.get("record")
    return verb in ("info", "watch", "health") or given.get("operation") in _LOOKS.get(verb, ())


def check_command(wanted: Program, current: bool = True) -> str:
    """Shell text that enters the program's folder, or exits with NOT_THERE unless every byte is right.

    With ``current`` it must also be the version that the host's own units run.
    """
    link = f'[ "$(readlink {HOME}/{wanted.link})" = {wanted.digest[:16]} ] && ' if current else ""
    listed = shlex.quote(f"{wanted.digest}  SHA256SUMS")
    right = f"{link}cd {wanted.folder} && echo {listed} | sha256sum --check --status && sha256sum --check --status --strict SHA256SUMS"
    return f"{{ {right}; }} 2>/dev/null || exit {NOT_THERE}"


def call_command(wanted: Program, verb: str, app: str, given: dict[str, Any] | None, unit: str | None = None, current: bool = True) -> str:
    """Shell text that checks the program and calls it; where ``given`` is None the program reads its input from standard input.

    With ``unit`` the call runs as a transient systemd unit of that name, which a dropped connection does not stop, and whose
    crash starts the application's repair unit.
    """
    argv = ["/usr/bin/python3", "-I", wanted.folder, verb, app, "-" if given is None else json.dumps(given)]
    if unit:
        options = ["--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}", f"--property=OnFailure={app}-repair.service"]
        argv = ["systemd-run", *options, *argv]
    return f"{check_command(wanted, current)}; exec {shlex.join(argv)}"


def install_command(wanted: Program, current: bool = True) -> str:
    """Shell text that reads the program as a tar archive from standard input and puts it in place in one step.

    Without ``current`` it lies beside the version that the host's own units go on to run.
    """
    link, part = f"{HOME}/{wanted.link}", f"{HOME}/.{wanted.link}.part"
    point = [f"{{ [ -L {link} ] || rm -rf {link}; }}", f"ln -sfn {wanted.digest[:16]} {part}", f"mv -T {part} {link}"]
    return " && ".join(
        [
            "umask 022",
            f"mkdir -p {HOME}",
            # Another controller may be doing the same.
            f"exec 9<{HOME} && flock 9",
            f"part=$(mktemp -d {HOME}/.part.XXXXXX)",
            'tar --extract --no-same-owner --directory "$part"',
            'chmod 0755 "$part"',
            f"rm -rf {wanted.folder}",
            f'mv -T "$part" {wanted.folder}',
            *(point if current else []),
        ]
    )


def bundle(wanted: Program) -> bytes:
    """The program as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in sorted(wanted.files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
