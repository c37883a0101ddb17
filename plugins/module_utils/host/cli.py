# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program's verbs. One JSON object comes in as an argument, one goes out as the last line of standard output.

An orderly failure is an answer (``failed`` is true, exit code 0): only a crash ends with another code, and makes systemd start
the repair unit.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .config import Config, load
from .errors import HostError

Verb = Callable[[Config, dict[str, Any]], dict[str, Any]]


def _stage(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import stage

    artifact = stage.Artifact(given["version"], given["digest"], given["url"])
    return stage.perform(config, artifact, given["run"], given["by"], given.get("token"))


def _transact(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.perform(config, transaction.Request(**given))


def _leave(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.leave(config)


def _return(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.enter(config)


def _repair(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.repair(config)


def _prune(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.prune(config)


def _info(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import info

    return info.collect(config, bool(given.get("verify")))


def _watch(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import watch

    return watch.perform(config, **given)


def _lock(app: str, given: dict[str, Any]) -> dict[str, Any]:
    from . import lease_file

    return lease_file.perform(app, given)


#: What the controller and the boot units may ask; `agent` is apart because it serves for ever, `lock` because the host that keeps
#: the lock runs no application.
VERBS: dict[str, Verb] = {
    "stage": _stage,
    "transact": _transact,
    "prune": _prune,
    "leave": _leave,
    "return": _return,
    "repair": _repair,
    "info": _info,
    "watch": _watch,
}


def main(argv: Sequence[str]) -> int:
    """Run ``<verb> <app> [json]``; returns the exit code."""
    if len(argv) >= 2 and argv[0] == "agent":
        from . import agent

        return agent.main(argv[1])
    if len(argv) < 2 or argv[0] not in (*VERBS, "lock"):
        sys.stderr.write(f"usage: {'|'.join(VERBS)}|lock|agent APP [JSON]\n")
        return 64
    given = json.loads(argv[2]) if len(argv) > 2 else {}
    try:
        answer = _lock(argv[1], given) if argv[0] == "lock" else VERBS[argv[0]](load(argv[1]), given)
    except HostError as error:
        answer = {"failed": True, "msg": error.message, "evidence": error.evidence}
    # The controller may be gone: what was done is in the journal all the same.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    by_hand = len(argv) == 2
    return 1 if by_hand and answer.get("failed") else 0
