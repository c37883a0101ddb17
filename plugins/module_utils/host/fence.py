# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The newest fencing token that this host has seen, and the refusal of any older one.

The token comes with the deployment lock (`lease`): a run that lost the lock while its controller slept carries a token that is lower than
that of the run which came after it. The host's own repair at boot needs none.
"""

from __future__ import annotations

import json
from typing import Any

from . import system
from .config import Config
from .errors import HostError

#: Seconds that a look at the token waits for another one, which takes milliseconds.
WAIT_SECONDS = 20.0


def admit(config: Config, token: int | None, run: str) -> None:
    """Let the run pass, and remember its token for good before anything is done in its name; a HostError refuses an older one.

    Without a token (a host that is worked on by hand, a fleet that has no lock) nothing is compared.
    """
    if token is None:
        return
    with system.host_lock(f"{config.state_dir}/token.lock", WAIT_SECONDS):
        seen = _read(config)
        if token < seen["token"]:
            raise HostError(
                f"Nothing was done on this host: run {run} has lost the deployment lock. It carries token {token}, and this host has seen token "
                f"{seen['token']} of run {seen['run']}, which decides from here on. Look with playbooks/status.yml what is live."
            )
        if token > seen["token"]:
            system.write_file(_path(config), json.dumps({"token": token, "run": run}).encode() + b"\n", 0o600)


def newest(config: Config) -> dict[str, Any]:
    """The newest token that this host has seen and the run it belongs to: ``{"token": 0, "run": ""}`` where it has seen none."""
    return _read(config)


def _path(config: Config) -> str:
    return f"{config.state_dir}/token.json"


def _read(config: Config) -> dict[str, Any]:
    path = _path(config)
    try:
        with open(path, "rb") as file:
            seen: dict[str, Any] = json.loads(file.read())
        return {"token": int(seen["token"]), "run": str(seen["run"])}
    except FileNotFoundError:
        return {"token": 0, "run": ""}
    except (KeyError, TypeError, ValueError) as error:
        raise HostError(
            f"{path} holds no fencing token ({type(error).__name__}: {error}), so nothing can be compared. Make sure that no other run is under "
            "way, remove the file on that host, and run the same command again."
        ) from None
