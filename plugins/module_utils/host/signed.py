# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hosts read beside the artifacts when they boot: a line of JSON and then its OpenSSH signature, in one file.

One file and not two, because of two files a reader could find one old and one new.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from . import signature

#: Seconds that one question may take, and seconds between two.
ANSWER_SECONDS, PAUSE_SECONDS = 5.0, 1.0

Fetch = Callable[[str, int], "bytes | None"]
Clock = Callable[[], float]


def split(raw: bytes) -> tuple[bytes, bytes]:
    """The line that was signed, and the signature after it."""
    line, newline, signed = raw.partition(b"\n")
    return line + newline, signed


def fetch(url: str, most_bytes: int) -> bytes | None:
    """What lies at the address, None where the store says that there is nothing; raises OSError where it does not answer."""
    try:
        with urllib.request.build_opener().open(url, timeout=ANSWER_SECONDS) as answer:
            return bytes(answer.read(most_bytes))
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return None
        raise
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def wait_for(
    url: str, most_bytes: int, until: float, ask: Fetch | None = None, clock: Clock = time.monotonic, pause: Callable[[float], None] = time.sleep
) -> bytes | None:
    """As `fetch`, asked again until that moment of the clock, at least once; a store that says that there is none is not asked again."""
    while True:
        try:
            return (ask or fetch)(url, most_bytes)
        except OSError:
            if clock() + PAUSE_SECONDS > until:
                raise
            pause(PAUSE_SECONDS)


def prove(raw: bytes, folder: str, allowed_signers: str, namespace: str) -> bytes:
    """The line, once it is known that somebody who may has signed it for this purpose; raises HostError. ``folder`` is root's own."""
    line, signed = split(raw)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".signed-") as file:
        file.write(signed)
        file.flush()
        signature.verify_signature(line, os.fspath(file.name), allowed_signers, namespace)
    return line
