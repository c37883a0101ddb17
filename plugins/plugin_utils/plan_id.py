# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan has a name, so that what is applied is what was shown. Pure functions.

The name is made of everything that decides what will happen to the fleet, and of nothing else: not who asks, when, why, or in which run.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

_NAME = re.compile(r"plan-[0-9a-f]{8}")
#: One-letter options of ansible-playbook that take no value; -C and -D are --check and --diff.
_FLAGS = re.compile(r"-([bkvCDJK]+)(.*)", re.DOTALL)
_CONFIRM = re.compile(r"confirm=\S*")
_SECRET = re.compile(r"pass|secret|token|key|credential|\bannounce\W*[:=]|://[^\s/]*@", re.IGNORECASE)


def place(moves: Mapping[str, Mapping[str, Any]], waves: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The moves of `planning.moves`, each with the number of its ``wave``, from 1; None for hosts that no wave reaches."""
    numbers = [number for number, size in enumerate(waves, 1) for _host in range(size)]
    return {host: {**move, "wave": numbers[at] if at < len(numbers) else None} for at, (host, move) in enumerate(moves.items())}


def decides(
    what: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    reports: Mapping[str, Mapping[str, Any]],
    waves: Sequence[int],
    capacity: int,
    migrations: Sequence[str] = (),
) -> dict[str, Any]:
    """All that decides what will happen, as data.

    ``what`` holds app, kind, environment, version, release and digest; ``hosts`` the moves as `place` returns them; ``migrations`` the names of those
    that are pending, in their order. A deployment takes the configuration that is wanted, by its digest, a rollback leaves the live one.
    """
    deploys = what["kind"] == "deploy"
    return {
        **{key: what[key] for key in ("app", "kind", "environment", "version", "release", "digest")},
        "hosts": {host: _decides_host(move, reports[host].get("configuration") or {}, deploys) for host, move in hosts.items()},
        "waves": list(waves),
        "capacity": capacity,
        "migrations": list(migrations),
    }


def _decides_host(move: Mapping[str, Any], configuration: Mapping[str, Any], deploys: bool) -> dict[str, Any]:
    return {
        **{key: move[key] for key in ("from", "to", "changes", "wave")},
        "configuration": configuration.get("wanted" if deploys else "live"),
        "configuration_changes": sorted(configuration.get("changes") or ()) if deploys else [],
    }


def name(deciding: Mapping[str, Any]) -> str:
    """The plan's name: ``plan-`` and 8 hex digits over what `decides` returned, in whatever order its keys come."""
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"plan-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def confirm_obstacles(confirm: str, found: str | None, again: str) -> list[str]:
    """Why the plan that was confirmed is not applied; ``found`` is the name of the plan as it is now, None where it is not whole.

    ``again`` is the command that applies the plan as it is now. A plan that is not whole has other things in its way, which say enough.
    """
    if not confirm:
        return []
    if not _NAME.fullmatch(confirm):
        return [f"confirm is {confirm!r}, which names no plan: expected a name such as plan-1a2b3c4d, as --check shows it at the end of the plan."]
    if found is None or found == confirm:
        return []
    return [
        (
            f"This is {found}, not {confirm}: the fleet, the artifact or the variables have changed since {confirm} was shown. "
            f"Read the plan as it is now, above; to apply it: {again}"
        )
    ]


def command(argv: Sequence[str], plan: str) -> str:
    """What an operator types to apply ``plan``: ``argv``, the command that showed it, without check mode and with the confirmation.

    Everything else stays, because limits and variables decide, too. An extra variable that looks like a secret is not shown again.
    """
    if not argv or PurePath(argv[0]).name != "ansible-playbook":
        return f"the same command without --check, and with -e confirm={plan}"
    kept = ["ansible-playbook"]
    words = iter(argv[1:])
    for given in words:
        word = given
        if word in ("--check", "--diff"):
            continue
        if flags := _FLAGS.fullmatch(word):
            others = flags[1].translate(str.maketrans("", "", "CD"))
            kept += [f"-{others}"] if others else []
            if not flags[2]:
                continue
            word = f"-{flags[2]}"
        if word in ("-e", "--extra-vars"):
            value = next(words, "")
        elif word.startswith("--extra-vars="):
            value = word.partition("=")[2]
        elif word.startswith("-e"):
            value = word[2:]
        else:
            kept.append(word)
            continue
        if not _CONFIRM.fullmatch(value):
            kept += ["-e", "..." if _SECRET.search(value) and not value.startswith("@") else value]
    return " ".join(_quoted(word) for word in [*kept, "-e", f"confirm={plan}"])


def _quoted(word: str) -> str:
    """The word as a shell takes it: in double quotes where it holds single ones, as people write a reason."""
    return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)
