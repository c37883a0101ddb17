# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Further measures of the gate, given as data: counters of each host from a command or from Prometheus."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

Figures = dict[str, tuple[float, float]]


def read(measure: Mapping[str, Any], fetch: Callable[[str], bytes], timeout: int) -> Figures:
    """Events and total of each host since its counters began.

    ``fetch`` returns what an address answers. Raises ValueError in words where a measure gives no figures; OSError where it cannot be asked.
    """
    try:
        if measure.get("command"):
            done = subprocess.run(measure["command"], capture_output=True, timeout=timeout, check=True)
            return parse_command(done.stdout)
        events, total = (parse_prometheus(fetch(address(measure["prometheus"], measure[part])), measure["label"]) for part in ("events", "total"))
    except subprocess.SubprocessError as error:
        raise ValueError(f"{error}: {(getattr(error, 'stderr', None) or b'').decode(errors='replace').strip()[-300:]}") from None
    return {host: (events.get(host, 0.0), count) for host, count in total.items()}


def address(prometheus: str, query: str) -> str:
    """Where Prometheus answers a query at this moment."""
    return f"{prometheus.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"


def parse_command(text: bytes) -> Figures:
    """``{"app1": [events, total], ...}`` as figures; raises ValueError where it is anything else."""
    try:
        return {str(host): (float(events), float(total)) for host, (events, total) in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'expected {{"host": [events, total], ...}}, got {text[:200]!r} ({error})') from None


def parse_prometheus(text: bytes, label: str) -> dict[str, float]:
    """A vector as {host: value}: the host is the label's value, without a port; several series of a host are added up."""
    try:
        found: dict[str, float] = {}
        for series in json.loads(text)["data"]["result"]:
            host = series["metric"][label].rpartition(":")[0] or series["metric"][label]
            found[host] = found.get(host, 0.0) + float(series["value"][1])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected a vector with the label {label} from Prometheus, got {text[:200]!r} ({error!r})") from None
    return found
