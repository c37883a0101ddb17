# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The desired state: which release every host of an application should run, signed by whoever deployed it last.

It lies beside the artifacts, so that a host that was away reads it when it boots (`signed` says in which form). Pure functions.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from .errors import HostError
from .manifest import check_version

NAMESPACE = "desired@tossable"
SCHEMA = 1
MAX_BYTES = 64 * 1024
KINDS = ("deploy", "rollback")


class Desired(NamedTuple):
    """What the fleet runs. ``kind`` tells whether it went forward to ``release`` or back to it.

    ``digest`` is the archive's sha256 (64 hex digits), ``url`` the version's folder in the artifact store, ``token`` the fencing token of
    ``run``: a host refuses one that is older than it has seen, so that an old file put back changes nothing. ``at`` is UTC, ISO 8601.
    """

    app: str
    environment: str
    kind: str
    release: str
    version: str
    digest: str
    url: str
    run: str
    token: int
    at: str


def file_name(environment: str) -> str:
    """Name of the file in the application's folder of the artifact store."""
    return f"desired-{environment}.signed"


def encode(desired: Desired) -> bytes:
    """The line that is signed."""
    return json.dumps({"schema": SCHEMA, **desired._asdict()}, sort_keys=True).encode() + b"\n"


def parse(line: bytes, app: str, environment: str) -> Desired:
    """Read the line, whose signature has been proved; raises HostError where it is none, or of another application or environment."""
    try:
        data: dict[str, Any] = json.loads(line)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}, this program reads {SCHEMA}")
        found = Desired(**{name: data[name] for name in Desired._fields})
        _check(found)
    except (KeyError, TypeError, ValueError, HostError) as error:
        raise HostError(f"it is no desired state ({type(error).__name__}: {error})") from None
    for name, wanted in (("app", app), ("environment", environment)):
        if getattr(found, name) != wanted:
            raise HostError(f"it is of the {name} {getattr(found, name)!r}, and here it is {wanted!r}")
    return found


def _check(found: Desired) -> None:
    """Raise ValueError or HostError where a field is not what it should be."""
    texts = [value for name, value in found._asdict().items() if name != "token"]
    if not all(isinstance(value, str) for value in texts):
        raise ValueError("a field is no text")
    if not isinstance(found.token, int) or isinstance(found.token, bool) or found.token < 0:
        raise ValueError(f"token {found.token!r}")
    if found.kind not in KINDS:
        raise ValueError(f"kind {found.kind!r}")
    check_version(found.version)
    if not re.fullmatch(r"[0-9a-f]{64}", found.digest) or found.release != f"{found.version}-{found.digest[:8]}":
        raise ValueError(f"release {found.release!r} is not version {found.version!r} with digest {found.digest!r}")
    if not re.match(r"https?://[^/]", found.url):
        raise ValueError(f"url {found.url!r}")


def decide(desired: Desired, live: str | None, seen: int) -> str:
    """What a host does that runs ``live`` and has seen the token ``seen``: ``stay``, ``move``, or ``older``, when the file has no say.

    A host that has seen a newer token took part in a run since, which may still be under way: that run decides, and what the
    host's journal calls live is what the run left there. A host on which nothing is live was emptied on purpose.
    """
    if live is None or live == desired.release:
        return "stay"
    return "older" if desired.token < seen else "move"
