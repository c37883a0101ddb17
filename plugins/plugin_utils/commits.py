# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commits between two artifacts, asked of a git checkout on the controller. Reads only; no shell, and never longer than a deadline."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from .terminal import printable

#: Commits of each direction that are named.
NAMED = 20
#: Commits of each direction that are told with their author and time, for the ledger.
TOLD = 200
#: Seconds that git has for all questions about two commits.
DEADLINE_SECONDS = 10.0
#: Characters of a commit's line.
WIDTH = 100


class _UnknownError(Exception):
    """Git cannot tell; the text says why, for a plan that goes on without."""


def between(source: str, old: str | None, new: str | None, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
    """The commits that touch the folder ``source``: those that come with ``new`` (``added``), those that go with ``old`` (``removed``).

    Each is ``{"count": n, "first": [...], "list": [...]}``, newest first: at most NAMED of them as ``<short id> <subject>``, and at most TOLD as
    ``commit`` (the full id), ``author``, ``at`` (when it was committed, UTC) and ``subject``. Where there is no checkout, or it lacks a commit,
    both are None, and ``unknown`` says why. ``old`` and ``new`` are full commit ids, or None, as a manifest holds them.
    """
    known: dict[str, Any] = {"from": old, "to": new}
    if old is None or new is None:
        return {**known, "added": None, "removed": None, "unknown": f"the {'live' if old is None else 'wanted'} release names no commit"}
    if old == new:
        none: dict[str, Any] = {"count": 0, "first": [], "list": []}
        return {**known, "added": none, "removed": none, "unknown": None}
    end = time.monotonic() + deadline_seconds
    try:
        if not source or not os.path.isdir(source):
            raise _UnknownError("no git checkout at build_source")
        for commit in (old, new):
            if _git(source, end, "rev-parse", "--quiet", "--verify", f"{commit}^{{commit}}") is None:
                raise _UnknownError(f"the checkout at build_source does not have {commit[:10]}")
        return {**known, "added": _range(source, end, old, new), "removed": _range(source, end, new, old), "unknown": None}
    except _UnknownError as error:
        return {**known, "added": None, "removed": None, "unknown": str(error)}


def _range(source: str, end: float, without: str, within: str) -> dict[str, Any]:
    span = f"{without}..{within}"
    count = _git(source, end, "rev-list", "--count", span, "--", ".")
    told = _git(source, end, "log", "--format=%h%x00%H%x00%an%x00%ct%x00%s", f"--max-count={TOLD}", span, "--", ".")
    if count is None or told is None:
        raise _UnknownError("git cannot read the checkout at build_source")
    lines = [line.split("\0", 4) for line in told.split("\n") if line]
    return {
        "count": int(count),
        "first": [printable(f"{short} {subject}")[:WIDTH] for short, _commit, _author, _at, subject in lines[:NAMED]],
        "list": [
            {"commit": commit, "author": printable(author)[:WIDTH], "at": _moment(int(at)), "subject": printable(subject)[:WIDTH]}
            for _short, commit, author, at, subject in lines
        ],
    }


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _git(source: str, end: float, *words: str) -> str | None:
    """What git answers in the folder, None where it ends with an error."""
    argv = ["git", "--no-pager", "-C", source, "-c", "color.ui=never", "-c", "log.showSignature=false", *words]
    left = max(end - time.monotonic(), 0.1)
    # A partial clone would go and fetch what it lacks, and might ask for a password.
    env = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=left, check=False
        )
    except subprocess.TimeoutExpired:
        raise _UnknownError("git took too long") from None
    except OSError as error:
        raise _UnknownError(f"git cannot be run ({error})") from None
    return done.stdout if done.returncode == 0 else None
