# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment of an application's processes: which one is wanted, which ones releases ran with, which one is in force.

Three things lie in ``/etc/<app>``: ``config/wanted``, which the role writes; ``config/<digest>``, each configuration that a release ran
with, named by its content and never changed; and ``env``, which the units read, a link to one of those. The values are secrets: what
leaves this module is digests of whole files and names of variables.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import re
from typing import Any

from . import plan, system
from .config import Config
from .errors import HostError
from .journal import HostState

#: By these the role marks, beside the configurations and before it writes anything, for what a live release has not been restarted yet.
ENVIRONMENT_MARK, UNITS_MARK = "restart-environment", "restart-units"
_KEPT = re.compile(r"[0-9a-f]{16}(\.part)?")
#: An assignment as the role writes it (in quotes, over several lines where the value has several) or by hand (without), or any other line.
_LINE = re.compile(
    rb'(?P<name>[A-Za-z_]\w*)=(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"[ \t]*|(?P<plain>[^\n]*))(?:\n|\Z)'
    rb"|[^\n]*(?:\n|\Z)",
    re.DOTALL,
)


def digest(data: bytes) -> str:
    """Name of a configuration: 16 hex digits of the sha256 over the whole file."""
    return hashlib.sha256(data).hexdigest()[:16]


def variables(data: bytes) -> dict[str, bytes]:
    """Name to value as written; what is no assignment (a comment) is passed over."""
    assignments = (match for match in _LINE.finditer(data) if match["name"])
    return {match["name"].decode(): match["plain"] if match["quoted"] is None else match["quoted"] for match in assignments}


def changes(before: bytes, after: bytes) -> list[str]:
    """Names of the variables that differ, in order, never a value: ``+NEW``, ``~CHANGED``, ``-GONE``."""
    old, new = variables(before), variables(after)
    signs = {name: "+" if name not in old else "-" if name not in new else "~" for name in {*old, *new} if old.get(name) != new.get(name)}
    return [f"{signs[name]}{name}" for name in sorted(signs)]


def in_force(config: Config) -> str | None:
    """The configuration that the units read, by its content; None where there is none."""
    data = _read(config.env)
    return None if data is None else digest(data)


def there(config: Config, name: str) -> bool:
    """Whether that configuration is kept, and still what its name says."""
    data = _read(f"{config.configurations}/{name}")
    return data is not None and digest(data) == name


def take_over(config: Config) -> None:
    """Keep what is in force, and make ``env`` a link to it where it is not: a file of its own, from before configurations were kept."""
    data = _read(config.env)
    if data is not None and system.read_link(config.env) != digest(data):
        put(config, _keep(config, data))


def keep_wanted(config: Config) -> str:
    """Keep the wanted configuration, and return its name."""
    data = _read(config.wanted)
    if data is None:
        raise HostError(
            f"{config.wanted} is not there: it says which environment {config.app} is to run with. Run site.yml (or app.yml) for this host first."
        )
    return _keep(config, data)


def put(config: Config, name: str | None) -> None:
    """Bring a kept configuration into force; one that is unknown or gone leaves things as they are."""
    if name is not None and there(config, name):
        system.point_link(config.env, f"{os.path.basename(config.configurations)}/{name}")


def unmark(config: Config, name: str | None, rolled_back: bool, began: float) -> None:
    """Remove the marks of what a live release that was started after ``began`` (Unix time) with the configuration ``name`` is not restarted for.

    A rollback leaves the wanted one on purpose. Units that systemd has not read again are not in force.
    """
    wanted = _read(config.wanted)
    if _marked(config, ENVIRONMENT_MARK, began) and (rolled_back or (wanted is not None and digest(wanted) == name)):
        os.unlink(f"{config.configurations}/{ENVIRONMENT_MARK}")
    if _marked(config, UNITS_MARK, began) and not any(status.stale for status in system.unit_status(config.units).values()):
        os.unlink(f"{config.configurations}/{UNITS_MARK}")


def _marked(config: Config, mark: str, began: float) -> bool:
    """Whether the mark lies there since before: another run of the role may have placed it meanwhile, for what it is about to write."""
    try:
        return os.stat(f"{config.configurations}/{mark}").st_mtime <= began
    except FileNotFoundError:
        return False


def prune(config: Config, state: HostState) -> None:
    """Remove the kept configurations that nothing needs any more, and what a kill left half-written."""
    with contextlib.suppress(FileNotFoundError):
        kept = [name for name in os.listdir(config.configurations) if _KEPT.fullmatch(name)]
        for name in plan.configurations_to_prune(state, kept, system.read_link(config.env)):
            os.unlink(f"{config.configurations}/{name}")


def report(config: Config, state: HostState) -> dict[str, Any]:
    """What runs, what is wanted, and the names of what the next deployment would change."""
    if not config.etc:
        return {"live": None, "wanted": None, "changes": []}
    now, wanted = _read(config.env), _read(config.wanted)
    if state.live is None:
        now = None
    elif state.configuration:
        now = _read(f"{config.configurations}/{state.configuration}") or now
    return {
        "live": state.configuration or (None if now is None else digest(now)),
        "wanted": None if wanted is None else digest(wanted),
        "changes": [] if wanted is None else changes(now or b"", wanted),
    }


def _keep(config: Config, data: bytes) -> str:
    name = digest(data)
    if not there(config, name):
        try:
            system.write_file(f"{config.configurations}/{name}", data, 0o640, grp.getgrnam(config.group).gr_gid)
        except OSError as error:
            raise HostError(f"The configuration cannot be kept in {config.configurations}: {error.strerror}. Nothing was changed.") from None
    return name


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
