# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What applications have counted of feature flags, as they show it on their own host: asked by one command, read here. Pure functions.

Two counters, in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/): requests by ``flag``, ``variant`` and
``outcome`` (``ok`` or ``error``), and evaluations by ``flag``. Further labels are added up.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

REQUESTS = "feature_flag_requests_total"
EVALUATIONS = "feature_flag_evaluations_total"
#: By which a process that was started anew is known; most of Prometheus' libraries have it.
STARTED = "process_start_time_seconds"
#: Seconds for one address.
PATIENCE = 4
_ANSWER = re.compile(r"tossable-metrics (\[.*\])\s*\Z")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})?\s+(\S+)(?:\s+-?\d+)?\s*')
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}

# A proxy that the host has for the world outside is not asked.
_PROGRAM = """\
import json, sys, urllib.request
wanted, told = tuple(json.loads(sys.argv[1])), []
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for address in sys.argv[2:]:
    try:
        with opener.open(address, timeout=%d) as answer:
            lines = answer.read(1 << 24).decode("utf-8", "replace").splitlines()
        told.append({"address": address, "text": "\\n".join(line for line in lines if line.startswith(wanted))})
    except Exception as error:
        told.append({"address": address, "trouble": str(error) or type(error).__name__})
print("tossable-metrics " + json.dumps(told))
"""


class Names(NamedTuple):
    """What the counters are called."""

    requests: str = REQUESTS
    evaluations: str = EVALUATIONS


NAMES = Names()


class Counts(NamedTuple):
    """What one address has counted: ``requests`` flag -> variant -> (errors, requests), ``evaluations`` flag -> number.

    ``began`` is when its process started (seconds since the epoch, 0 where it does not say), ``counts_requests`` and ``counts_evaluations`` whether
    it has that counter, used or not.
    """

    began: float
    requests: dict[str, dict[str, tuple[float, float]]]
    evaluations: dict[str, float]
    counts_requests: bool
    counts_evaluations: bool


def ask_command(addresses: Sequence[str], names: Names = NAMES) -> str:
    """Shell text that asks each address, and prints what :func:`parse_answer` reads; it changes nothing."""
    wanted = [*(f"{before}{name}" for name in names for before in ("", "# TYPE ")), STARTED]
    return shlex.join(["/usr/bin/python3", "-I", "-c", _PROGRAM % PATIENCE, json.dumps(wanted), *addresses])


def parse_answer(stdout: str, names: Names = NAMES) -> tuple[dict[str, Counts], list[str]]:
    """What each address has counted, and a line for each that cannot be read."""
    match = _ANSWER.search(stdout)
    if match is None:
        return {}, [f"the host gave no answer: {' '.join(stdout.split()[-20:]) or 'nothing was printed'}"]
    found, troubles = {}, []
    for one in json.loads(match[1]):
        try:
            if "trouble" in one:
                raise ValueError(one["trouble"])
            found[str(one["address"])] = parse(one["text"], names)
        except ValueError as error:
            troubles.append(f"{one['address']}: {error}")
    return found, troubles


def parse(text: str, names: Names = NAMES) -> Counts:
    """The counters in a text of Prometheus' format; raises ValueError with the line that is none."""
    known = [re.search(rf"^(?:# TYPE )?{re.escape(name)}(?![a-zA-Z0-9_:])", text, re.MULTILINE) is not None for name in names]
    counts = Counts(0.0, {}, {}, *known)
    for name, labels, value in samples(text):
        if name == names.requests:
            variants = counts.requests.setdefault(_label(labels, "flag", name), {})
            variant = _label(labels, "variant", name)
            errors, total = variants.get(variant, (0.0, 0.0))
            variants[variant] = (errors + (value if _label(labels, "outcome", name) == "error" else 0.0), total + value)
        elif name == names.evaluations:
            flag = _label(labels, "flag", name)
            counts.evaluations[flag] = counts.evaluations.get(flag, 0.0) + value
        elif name == STARTED:
            counts = counts._replace(began=value)
    return counts


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each line that is no comment; raises ValueError for a line that is none, and for a value no counter can have."""
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        try:
            if match is None:
                raise ValueError("no sample")
            value = float(match[3])
            if not math.isfinite(value) or value < 0:
                raise ValueError("no count")
            yield match[1], _labels(match[2] or ""), value
        except ValueError as error:
            raise ValueError(f"this line is no counter of Prometheus' text format ({error}): {line[:120]}") from None


def _labels(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        match = _LABEL.match(text, at)
        if match is None:
            raise ValueError("broken labels")
        found[match[1]] = re.sub(r"\\(.)", lambda escaped: _ESCAPES.get(escaped[1], escaped[0]), match[2])
        at = match.end()
    return found


def _label(labels: Mapping[str, str], wanted: str, name: str) -> str:
    if wanted not in labels:
        raise ValueError(f"{name} has no label {wanted} (it has: {', '.join(labels) or 'none'})")
    return labels[wanted]


def difference(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], same_process: bool = True
) -> dict[str, tuple[float, float]]:
    """What each variant has counted between two readings, (errors, requests). A process that was started anew counts from 0."""
    now = {variant: (errors, total) for variant, (errors, total) in after.items()}
    then = {variant: (errors, total) for variant, (errors, total) in before.items()}
    anew = any(now.get(variant, (0.0, 0.0))[part] < figures[part] for variant, figures in then.items() for part in (0, 1))
    if not same_process or anew:
        return now
    return {variant: (errors - then.get(variant, (0, 0))[0], total - then.get(variant, (0, 0))[1]) for variant, (errors, total) in now.items()}


def hosts_of(found: Mapping[str, Mapping[str, Any]], what: str = "counts_requests") -> list[str]:
    """The hosts among what was :func:`heard` whose applications have that counter."""
    return sorted({key.partition(" ")[0] for key, counts in found.items() if counts[what]})


def heard(hosts: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Of what state=counted returned of each host: what was read, by "host address", and a line for each host with something that was not."""
    found = {f"{host} {address}": counts for host, one in hosts.items() for address, counts in (one.get("counted") or {}).items()}
    said = {
        host: one.get("trouble") or ("" if "counted" in one else f"no answer: {' '.join(str(one.get('msg', '')).split())}")
        for host, one in hosts.items()
    }
    return found, [f"{host}: {trouble}" for host, trouble in said.items() if trouble]
