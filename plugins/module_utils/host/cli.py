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


def _boot(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import boot

    return boot.perform(config)


def _repair(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.repair(config)


def _prune(config: Config, _given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.prune(config)


def _info(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import info

    report = info.collect(config, bool(given.get("verify")))
    if not given.get("migrations"):
        return report
    from . import migrate

    return {**report, "migrations": migrate.known(config, report["staged"])}


def _migrate(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import migrate

    return migrate.perform(config, given)


def _give_up(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import transaction

    return transaction.give_up(config, **given)


def _health(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import health

    return health.check(config, given.get("deadline_seconds"))


def _watch(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    from . import watch

    return watch.perform(config, **given)


def _lock(app: str, given: dict[str, Any]) -> dict[str, Any]:
    from . import lease_file

    return lease_file.perform(app, given)


def _migrations(app: str, given: dict[str, Any]) -> dict[str, Any]:
    from . import migration_record

    return migration_record.perform(app, given)


def _maintenance(app: str, given: dict[str, Any]) -> dict[str, Any]:
    from . import maintenance

    return maintenance.perform(app, given)


def _ledger(app: str, given: dict[str, Any]) -> dict[str, Any]:
    from . import ledger

    return ledger.perform(app, given)


#: What is asked of hosts that run no application: the one that keeps the lock, the record of migrations and the ledger, the load balancers.
ELSEWHERE = {"lock": _lock, "migrations": _migrations, "maintenance": _maintenance, "ledger": _ledger}
#: What the controller and the boot units may ask; `agent` is apart because it serves for ever.
VERBS: dict[str, Verb] = {
    "stage": _stage,
    "transact": _transact,
    "prune": _prune,
    "leave": _leave,
    "return": _return,
    "boot": _boot,
    "repair": _repair,
    "info": _info,
    "migrate": _migrate,
    "give_up": _give_up,
    "watch": _watch,
    "health": _health,
}


def main(argv: Sequence[str]) -> int:
    """Run ``<verb> <app> [json]``; returns the exit code. With ``-`` the JSON is read from standard input: an argument is 128 KiB at most."""
    if len(argv) >= 2 and argv[0] == "agent":
        from . import agent

        return agent.main(argv[1])
    if len(argv) < 2 or argv[0] not in (*VERBS, *ELSEWHERE):
        sys.stderr.write(f"usage: {'|'.join((*VERBS, *ELSEWHERE))}|agent APP [JSON]\n")
        return 64
    given = json.loads(sys.stdin.read() if argv[2] == "-" else argv[2]) if len(argv) > 2 else {}
    try:
        answer = ELSEWHERE[argv[0]](argv[1], given) if argv[0] in ELSEWHERE else VERBS[argv[0]](load(argv[1]), given)
    except HostError as error:
        answer = {"failed": True, "msg": error.message, "evidence": error.evidence}
    # The controller may be gone: what was done is in the journal all the same.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    by_hand = len(argv) == 2
    return 1 if by_hand and answer.get("failed") else 0
