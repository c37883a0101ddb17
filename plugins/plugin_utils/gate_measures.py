# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Further measures of the gate, given as data: counters of each host from a command or from Prometheus."""

from __future__ import annotations

import http.client
import json
import math
import subprocess
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from . import gate_series

Figures = Mapping[str, gate_series.Figures]


def read(measure: Mapping[str, Any], fetch: Callable[[str], bytes], timeout: int) -> Figures:
    """Events and total of each host since its counters began: of each series, or of the host where a command counts.

    ``fetch`` returns what an address answers. Raises ValueError in words where a measure gives no figures; OSError where it cannot be asked.
    """
    try:
        if measure.get("command"):
            done = subprocess.run(measure["command"], capture_output=True, timeout=timeout, check=True)
            return parse_command(done.stdout)
        events, total = (parse_prometheus(fetch(address(measure["prometheus"], measure[part])), measure["label"]) for part in ("events", "total"))
    except subprocess.SubprocessError as error:
        raise ValueError(f"{error}: {(getattr(error, 'stderr', None) or b'').decode(errors='replace').strip()[-300:]}") from None
    except http.client.HTTPException as error:
        raise ValueError(f"{measure['prometheus']} gave no whole answer ({error!r})") from None
    return {
        host: {name: (events.get(host, {}).get(name), by_name.get(name)) for name in {**by_name, **events.get(host, {})}}
        for host, by_name in total.items()
    }


def address(prometheus: str, query: str) -> str:
    """Where Prometheus answers a query at this moment."""
    return f"{prometheus.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"


def parse_command(text: bytes) -> dict[str, tuple[float, float]]:
    """``{"app1": [events, total], ...}`` as figures; raises ValueError where it is anything else."""
    try:
        return {str(host): (_count(events), _count(total)) for host, (events, total) in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'expected {{"host": [events, total], ...}}, got {text[:200]!r} ({error})') from None


def parse_prometheus(text: bytes, label: str) -> dict[str, dict[str, float]]:
    """A vector as {host: {series: value}}; the host is the label's value, without a port.

    A series is named as `gate_series` says, without the name of the metric, in which events and total differ.
    """
    try:
        found: dict[str, dict[str, float]] = {}
        for series in json.loads(text)["data"]["result"]:
            labels = series["metric"]
            by_name = found.setdefault(labels[label].rpartition(":")[0] or labels[label], {})
            others = (f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()) if name not in ("__name__", "instance"))
            name = " ".join([labels.get("instance", ""), *others])
            by_name[name] = by_name.get(name, 0.0) + _count(series["value"][1])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"expected a vector with the label {label} from Prometheus, got {text[:200]!r} ({error!r})") from None
    return found


def _count(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"{value} is no count")
    return found
