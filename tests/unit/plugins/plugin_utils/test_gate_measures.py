"""Further measures are read as figures of each host, or refused in words."""

from __future__ import annotations

import json
import sys

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import gate_measures


def vector(label: str = "instance", **values: float) -> bytes:
    """What Prometheus answers to a query at a moment."""
    result = [{"metric": {label: f"{host}:8000"}, "value": [1.0, str(value)]} for host, value in values.items()]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


def nothing(_address: str) -> bytes:
    raise AssertionError


def test_a_command_prints_figures() -> None:
    command = [sys.executable, "-c", "print('{\"app1\": [1, 10]}')"]
    assert gate_measures.read({"command": command}, nothing, 10) == {"app1": (1.0, 10.0)}


@pytest.mark.parametrize("program", ["print('[]')", "print('{\"app1\": 3}')", "raise SystemExit('broken')"])
def test_a_command_without_figures_is_refused(program: str) -> None:
    with pytest.raises(ValueError, match=r"expected|broken"):
        gate_measures.read({"command": [sys.executable, "-c", program]}, nothing, 10)


def test_prometheus_is_asked_for_events_and_total() -> None:
    asked = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return vector(app1=3) if "failed" in address else vector(app1=10, app2=20)

    measure = {"prometheus": "http://ops1:9090/", "events": "failed", "total": "all{a='b'}", "label": "instance"}
    assert gate_measures.read(measure, fetch, 5) == {"app1": (3.0, 10.0), "app2": (0.0, 20.0)}
    assert asked == ["http://ops1:9090/api/v1/query?query=failed", "http://ops1:9090/api/v1/query?query=all%7Ba%3D%27b%27%7D"]


def test_an_answer_without_the_label_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="label host"):
        gate_measures.parse_prometheus(vector(app1=1), "host")
