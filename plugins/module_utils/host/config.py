# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an application on this host is made of, as the ``app`` role wrote it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .balancer import Drain
from .errors import HostError

CONFIG_FOLDER = "/etc/tossable"
#: Seconds that processes have to end where the role did not say so yet.
STOP_SECONDS = 30.0


class Health(NamedTuple):
    """How the host asks the application whether it can serve.

    ``url`` is asked every ``interval_seconds``, each answer awaited at most ``timeout_seconds``; ``successes`` answers of ``status``
    in a row within ``deadline_seconds`` after the restart make the release healthy.
    """

    url: str
    status: int
    timeout_seconds: float
    deadline_seconds: float
    successes: int
    interval_seconds: float


class DesiredSource(NamedTuple):
    """Where the host reads at boot which release it should run (see `desired`).

    ``wait_seconds`` is how long it goes on asking a store that does not answer; ``allowed_signers`` the file of those who may sign it.
    """

    url: str
    environment: str
    wait_seconds: float
    allowed_signers: str


class Config(NamedTuple):
    """One application of this host; the paths are absolute, the units systemd names.

    ``etc`` is the folder of its environment; empty on a host that was provisioned before configurations were kept: then the role's
    file is what the units read, and no release has one of its own. ``stop_timeout_seconds`` is the longest that
    one of its processes may take to end.
    """

    app: str
    user: str
    group: str
    base: str
    state_dir: str
    units: tuple[str, ...]
    web_unit: str | None
    health: Health | None
    drain: Drain | None
    keep_releases: int
    allowed_signers: str
    etc: str = ""
    desired: DesiredSource | None = None
    stop_timeout_seconds: float = STOP_SECONDS

    @property
    def releases(self) -> str:
        """Folder of the unpacked releases."""
        return f"{self.base}/releases"

    @property
    def current(self) -> str:
        """The link to the live release."""
        return f"{self.base}/current"

    @property
    def journal(self) -> str:
        """The host's own record of its releases."""
        return f"{self.state_dir}/journal.jsonl"

    @property
    def env(self) -> str:
        """The environment that the units read: a link to the configuration in force."""
        return f"{self.etc}/env"

    @property
    def configurations(self) -> str:
        """Folder of the configurations that releases ran with."""
        return f"{self.etc}/config"

    @property
    def wanted(self) -> str:
        """The configuration that the role wrote last: what the next deployment runs with."""
        return f"{self.configurations}/wanted"


def parse(text: str) -> Config:
    """Read the JSON of ``/etc/tossable/<app>.json``; raises KeyError, TypeError or ValueError where it is not of that shape."""
    data: dict[str, Any] = json.loads(text)
    health, drain, desired = data["health"], data["drain"], data.get("desired")
    return Config(
        app=data["app"],
        user=data["user"],
        group=data["group"],
        base=data["base"],
        state_dir=data["state_dir"],
        units=tuple(data["units"]),
        web_unit=data.get("web_unit"),
        health=Health(**health) if health else None,
        drain=Drain.from_mapping(drain) if drain else None,
        keep_releases=int(data["keep_releases"]),
        allowed_signers=data["allowed_signers"],
        etc=data.get("etc", ""),
        desired=DesiredSource(**desired) if desired else None,
        stop_timeout_seconds=float(data.get("stop_timeout_seconds", STOP_SECONDS)),
    )


def load(app: str, folder: str = CONFIG_FOLDER) -> Config:
    """Return the configuration of ``app``; a HostError says what to run where there is none."""
    path = f"{folder}/{app}.json"
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read())
    except FileNotFoundError:
        raise HostError(
            f"{path} is not there: this host was never provisioned for the application {app}. Run playbooks/app.yml -e app={app} "
            "first (site.yml does it for the inventory's own application), or check the name given with -e app=."
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise HostError(
            f"{path} is not what the role tossable.fleet.app writes ({error!r}). Run playbooks/app.yml -e app={app} to write it again."
        ) from None
