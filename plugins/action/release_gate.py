# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `release_gate`: judge a new release by what load balancers counted. Runs on the controller, changes nothing."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.plugin_utils import gate, gate_measures, gate_settings, haproxy

_MEASURE = {
    "name": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str"},
    "prometheus": {"type": "str"},
    "events": {"type": "str"},
    "total": {"type": "str"},
    "label": {"type": "str", "default": "instance"},
    "tolerance": {"type": "float", "default": gate_settings.TOLERANCE},
    "harm": {"type": "float"},
}
_SPEC = {
    "app": {"type": "str", "required": True},
    "balancers": {"type": "dict", "required": True},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "new": {"type": "list", "elements": "str", "required": True},
    "lost": {"type": "list", "elements": "str", "default": []},
    "readings": {"type": "list", "elements": "dict", "default": []},
    "final": {"type": "bool", "default": False},
    "error_tolerance": {"type": "float", "default": 0.2},
    "error_harm": {"type": "float", "default": 2.0},
    "latency_tolerance": {"type": "float", "default": 10.0},
    "latency_harm": {"type": "float", "default": 50.0},
    "min_requests": {"type": "int", "default": 100},
    "measures": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": _MEASURE,
        "required_one_of": [["command", "prometheus"]],
        "mutually_exclusive": [["command", "prometheus"]],
        "required_by": {"prometheus": ["events", "total"]},
    },
}
_MEASURE_SECONDS = 5


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the verdict and the readings so far, for the next look."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        silent = [f"{name}: {balancer['trouble']}" for name, balancer in given["balancers"].items() if balancer.get("trouble")]
        measured: dict[str, gate_measures.Figures] = {}
        for measure in given["measures"]:
            try:
                measured[measure["name"]] = gate_measures.read(measure, _fetch, _MEASURE_SECONDS)
            except (ValueError, OSError) as error:
                silent.append(f"{measure['name']}: {error}")
        # A clock that is set back makes no reading older than the one before.
        at = max([time.time(), *(float(reading["at"]) for reading in given["readings"][-1:])])
        readings = [*given["readings"], gate.condense(given["balancers"], given["app"], at, given["new"], measured, given["lost"])]
        settings = gate.Settings(
            error_tolerance=given["error_tolerance"] / 100,
            error_harm=given["error_harm"] / 100,
            latency_tolerance=given["latency_tolerance"] / 100,
            latency_harm=given["latency_harm"] / 100,
            min_requests=given["min_requests"],
        )
        names = {measure["name"]: (measure["tolerance"] / 100, gate_settings.harm(measure) / 100) for measure in given["measures"]}
        verdict = gate.judge(readings, given["hosts"], settings, haproxy.LATENCY_BOUNDS, given["final"], names)
        return {
            **result,
            "changed": False,
            "verdict": verdict.verdict,
            "line": "; ".join([verdict.line, *(f"no answer from {line}" for line in silent)]),
            "decided": verdict.decided,
            "measures": [_told(measure) for measure in verdict.measures],
            "readings": readings,
        }


def _told(measure: gate.Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "new": measure.new,
        "old": measure.old,
        "new_requests": measure.new_requests,
        "old_requests": measure.old_requests,
        "old_is": measure.old_is,
        "evidence": measure.worse,
        "threshold": measure.threshold,
    }


def _fetch(address: str) -> bytes:
    return bytes(open_url(address, timeout=_MEASURE_SECONDS, http_agent="tossable").read())
