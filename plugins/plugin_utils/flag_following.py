# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing what is declared and what is live together: which line of flags follows, and how the host that keeps them is read and written.

What is declared changes with the repository, what is live with each switch. The live state is never taken back by a declaration: a switch stays until
somebody resets it, and one of a flag that is not declared any more stays, too, without effect.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ansible_collections.tossable.fleet.plugins.module_utils.host import flag_file
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

SCHEMA = 1
#: What `write_command` prints where somebody has switched a flag since the state was read.
MOVED = "moved"
#: From the flags that are declared, the states that are live and a generation to the line.
Render = Callable[[Mapping[str, Any], int], bytes]


class Found(NamedTuple):
    """What lies on the host that keeps the live state. ``state`` is None and ``line`` empty where there is none; ``text`` is the state as it stands
    there, ``signed`` the generation of what was signed last, 0 where nothing was.
    """

    state: Mapping[str, Any] | None
    text: bytes
    line: bytes
    signed: int


class Kept(NamedTuple):
    """What should lie there: whether that is something new, and which flags are switched that are not declared any more."""

    state: Mapping[str, Any]
    line: bytes
    changed: bool
    gone: tuple[str, ...]

    @property
    def generation(self) -> int:
        """Of the line."""
        return int(self.state["generation"])


def follow(found: Found, declared: Mapping[str, Any], render: Render, environment: str, who: Mapping[str, str]) -> Kept:
    """The live state that follows from what is declared now. Raises HostError where the state cannot be meant.

    ``who`` has ``at``, ``by`` and ``reason``, and is noted of the flags whose declaration changed.
    """
    if found.state is not None and found.state.get("environment") != environment:
        raise HostError(f"the live state is of the environment {found.state.get('environment')!r}, and here it is {environment!r}")
    overrides: dict[str, Any] = dict(found.state["overrides"]) if found.state else {}
    live = {name: one["state"] for name, one in overrides.items() if name in declared}
    gone = tuple(sorted(set(overrides) - set(live)))
    if found.state:
        same = render(live, int(found.state["generation"]))
        if same == found.line and found.state.get("digest") == hashlib.sha256(same).hexdigest():
            return Kept(found.state, same, False, gone)
    # Hosts take no lower generation than they have: where the state was lost, what was signed last tells how far they may be.
    generation = max(int(found.state["generation"]) if found.state else 0, _generation(found.line), found.signed) + 1
    line = render(live, generation)
    changed = dict(found.state.get("changed", {})) if found.state else {}
    if found.state:
        changed |= {name: dict(who) for name in news(found.line, line)}
    digest = hashlib.sha256(line).hexdigest()
    state = {**(found.state or {}), "schema": SCHEMA, "environment": environment, "generation": generation, "overrides": overrides}
    return Kept({**state, "changed": changed, "digest": digest}, line, True, gone)


def news(before: bytes, after: bytes) -> list[str]:
    """Names of the flags that are there in both lines and differ, or are new."""
    old, new = _flags(before), _flags(after)
    return sorted(name for name, flag in new.items() if old.get(name) != flag)


def read_command(signed: str) -> str:
    """Shell text that prints state, line and the generation of what was signed last (path ``signed``), a line each, empty where there is none."""
    folder = shlex.quote(flag_file.FOLDER)
    generation = """sed -n '1s/.*"generation":\\([0-9][0-9]*\\).*/\\1/p'"""
    show = f"for name in state.json {flag_file.FILE}; do [ ! -f {folder}/$name ] || base64 -w0 <{folder}/$name; echo; done"
    return f"{show}; {generation} {shlex.quote(signed)} 2>/dev/null; true"


def parse(stdout: str) -> Found:
    """What `read_command` printed; raises HostError where the state is none."""
    lines = [*stdout.split("\n"), "", "", ""]
    try:
        text, line = base64.b64decode(lines[0], validate=True), base64.b64decode(lines[1], validate=True)
        state = json.loads(text) if text else None
        if state is not None and not (isinstance(state["generation"], int) and isinstance(state["overrides"], dict) and state["schema"] == SCHEMA):
            raise ValueError("it has not the shape of a live state")
    except (KeyError, TypeError, ValueError) as error:
        path = f"{flag_file.FOLDER}/state.json"
        raise HostError(f"{path} cannot be read ({error!r}). Put it back from the backup; without it nobody knows what was switched") from None
    return Found(state, text, line, int(lines[2]) if lines[2].strip().isdecimal() else 0)


def encode(state: Mapping[str, Any]) -> bytes:
    """The state as a line."""
    return json.dumps(state, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def write_command(found: Found) -> str:
    """Shell text that puts state and line in place, which come as a line each from standard input, unless the state is not the one that was found."""
    folder = shlex.quote(flag_file.FOLDER)
    expected = hashlib.sha256(found.text).hexdigest() if found.text else ""
    return (
        f"set -e; umask 022; mkdir -p {folder}; cd {folder}; exec 9>>{flag_file.LOCK}; flock -w 10 9; "
        "have=$([ ! -f state.json ] || sha256sum <state.json); "
        f'if [ "${{have%% *}}" != "{expected}" ]; then cat >/dev/null; echo {MOVED}; exit 0; fi; '
        "cat >both.part; sed -n 1p both.part >state.json.part; sed -n 2p both.part >flags.json.part; rm both.part; "
        # Providers see a file only where its mtime is greater.
        "if [ -f flags.json ] && [ $(stat -c %Y flags.json.part) -le $(stat -c %Y flags.json) ]; "
        "then touch -d @$(($(stat -c %Y flags.json) + 1)) flags.json.part; fi; "
        "sync state.json.part flags.json.part; mv state.json.part state.json; mv flags.json.part flags.json"
    )


def _flags(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)["flags"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _generation(line: bytes) -> int:
    try:
        return int(json.loads(line)["metadata"]["generation"])
    except (KeyError, TypeError, ValueError):
        return 0
