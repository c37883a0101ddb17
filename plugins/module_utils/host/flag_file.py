# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The feature flags as they lie on a host: one line of JSON for all its applications, replaced in one step.

What the line says is decided on the controller. A host looks at two things in it: the environment, and the generation, which only
grows, so that an old file that is put back, or a run that was held up, changes nothing. A switch by flag.yml replaces the file with a
shell command of the same rules and the same lock (``plugin_utils/flag_publish``), because Python takes too long to start. Beside the
file lies ``published``, generation and digest of what was put there last, so that damage can be told from a second line of a generation.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, NamedTuple

from . import system
from .errors import HostError

FOLDER = "/var/lib/tossable/flags"
FILE, LOCK, PUBLISHED = "flags.json", "lock", "published"
#: Where the role feature_flags says how this host comes by its flags at boot.
SOURCE = "/etc/tossable/flags/source.json"
NAMESPACE = "flags@tossable"
#: The key by which the ops host signs them, in `FOLDER`.
KEY = "signing_key"
MAX_BYTES = 8 * 1024 * 1024
#: Seconds for which another switch may have the lock; it takes some hundredths of one.
LOCK_SECONDS = 10.0
#: Providers reload a file whose mtime is greater; a millisecond is seen however they keep that time.
STEP_NS = 1_000_000


class Source(NamedTuple):
    """Where the host reads at boot which flags are live.

    ``wait_seconds`` is how long it goes on asking a store that does not answer; ``allowed_signers`` the file of those who may sign them.
    """

    url: str
    environment: str
    wait_seconds: float
    allowed_signers: str


class Flags(NamedTuple):
    """A line of flags, with what a host looks at in it."""

    environment: str
    generation: int
    line: bytes

    @property
    def digest(self) -> str:
        """Its identity: the sha256 of its bytes, 64 hex digits."""
        return hashlib.sha256(self.line).hexdigest()


class Held(NamedTuple):
    """What a host has: the line, empty where there is none, and the generation and digest of what was published last."""

    line: bytes
    generation: int
    digest: str


def file_name(environment: str) -> str:
    """Name of the signed file at the root of the artifact store."""
    return f"flags-{environment}.signed"


def source(path: str) -> Source | None:
    """What the role wrote, None where this host gets no flags; raises HostError where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            data: dict[str, Any] = json.load(file)
        found = Source(str(data["url"]), str(data["environment"]), float(data["wait_seconds"]), str(data["allowed_signers"]))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise HostError(f"{path} is not what the role tossable.fleet.feature_flags writes ({error!r}). Run site.yml to write it again.") from None
    return found


def parse(line: bytes, environment: str) -> Flags:
    """Read a line of flags; raises HostError where it is none, or of another environment."""
    try:
        if not line.endswith(b"\n") or line.count(b"\n") != 1:
            raise ValueError("it is not one line")
        data = json.loads(line)
        found, generation = data["metadata"]["environment"], data["metadata"]["generation"]
        if not isinstance(data["flags"], dict):
            raise ValueError("flags is no mapping")
        if not isinstance(generation, int) or isinstance(generation, bool) or generation < 1:
            raise ValueError(f"generation {generation!r}")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise HostError(f"it is no line of flags ({type(error).__name__}: {error})") from None
    if found != environment:
        raise HostError(f"it is of the environment {found!r}, and here it is {environment!r}")
    return Flags(found, generation, line)


def there(folder: str, environment: str) -> Held:
    """What the host has; a torn file, or another environment's, is as good as none."""
    try:
        with open(f"{folder}/{FILE}", "rb") as file:
            have = file.read()
    except FileNotFoundError:
        have = b""
    generation, digest = _published(folder)
    try:
        found = parse(have, environment)
    except HostError:
        return Held(b"", generation, digest)
    # What was put there in another way than by a switch, and so not noted.
    return Held(have, found.generation, found.digest) if found.generation > generation else Held(have, generation, digest)


def decide(held: Held, offered: Flags) -> str:
    """What becomes of a line that is offered: ``write`` it, it is ``there`` already, it is ``older``, or ``other`` bytes of the same generation.

    A file that is not what was published last was damaged: the line that was published mends it.
    """
    if offered.generation < held.generation:
        return "older"
    if offered.generation == held.generation and offered.digest != held.digest:
        return "other"
    return "there" if offered.line == held.line else "write"


def publish(folder: str, offered: Flags) -> str:
    """Put the line in place where `decide` says so, and return what it says; raises HostError where it could not be written."""
    path = f"{folder}/{FILE}"
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with system.host_lock(f"{folder}/{LOCK}", LOCK_SECONDS):
            what = decide(there(folder, offered.environment), offered)
            if what == "write":
                system.write_file(path, offered.line, 0o644, not_before_ns=_modified(path) + STEP_NS)
                with open(path, "rb") as file:
                    if file.read() != offered.line:
                        raise HostError(f"{path} does not hold what was written to it")
                system.write_file(f"{folder}/{PUBLISHED}", f"{offered.generation} {offered.digest}\n".encode(), 0o644)
            return what
    except OSError as error:
        raise HostError(f"{path} cannot be written: {error.strerror or error}") from None


def _published(folder: str) -> tuple[int, str]:
    """Generation and digest of what was published last, 0 where that is not known."""
    try:
        with open(f"{folder}/{PUBLISHED}", encoding="ascii") as file:
            generation, digest = file.read().split()
        return int(generation), digest
    except (FileNotFoundError, ValueError):
        return 0, ""


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0
