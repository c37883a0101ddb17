"""Further measures are read as figures of each host, or refused in words."""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any

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


@pytest.mark.parametrize("program", ["print('[]')", "print('{\"app1\": 3}')", "print('{\"app1\": [1, Infinity]}')", "raise SystemExit('broken')"])
def test_a_command_without_figures_is_refused(program: str) -> None:
    with pytest.raises(ValueError, match=r"expected|broken"):
        gate_measures.read({"command": [sys.executable, "-c", program]}, nothing, 10)


def test_prometheus_is_asked_for_events_and_total() -> None:
    asked = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return vector(app1=3) if "failed" in address else vector(app1=10, app2=20)

    measure = {"prometheus": "http://ops1:9090/", "events": "failed", "total": "all{a='b'}", "label": "instance"}
    assert gate_measures.read(measure, fetch, 5) == {"app1": {"app1:8000": (3.0, 10.0)}, "app2": {"app2:8000": (None, 20.0)}}
    assert asked == ["http://ops1:9090/api/v1/query?query=failed", "http://ops1:9090/api/v1/query?query=all%7Ba%3D%27b%27%7D"]


def test_series_of_a_host_stay_apart() -> None:
    result = [{"metric": {"__name__": "shop", "instance": "app1:8000", "pid": str(pid), "job": "shop"}, "value": [1.0, str(pid)]} for pid in (7, 8)]
    answer = json.dumps({"data": {"result": result}}).encode()
    names = 'app1:8000 job="shop" pid="7"', 'app1:8000 job="shop" pid="8"'
    assert gate_measures.parse_prometheus(answer, "instance") == {"app1": {names[0]: 7.0, names[1]: 8.0}}


def test_an_answer_that_breaks_off_is_refused_in_words() -> None:
    def fetch(_address: str) -> bytes:
        raise http.client.IncompleteRead(b'{"data"', 493)

    measure = {"prometheus": "http://ops1:9090", "events": "failed", "total": "all", "label": "instance"}
    with pytest.raises(ValueError, match=r"http://ops1:9090 gave no whole answer .*7 bytes read"):
        gate_measures.read(measure, fetch, 5)


def test_an_answer_without_the_label_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="label host"):
        gate_measures.parse_prometheus(vector(app1=1), "host")


@pytest.mark.parametrize("value", [[1.0], [1.0, None], [1.0, "NaN"], [1.0, "+Inf"], [1.0, "-1"]])
def test_a_value_that_is_no_count_is_refused(value: list[Any]) -> None:
    answer = json.dumps({"data": {"result": [{"metric": {"instance": "app1"}, "value": value}]}}).encode()
    with pytest.raises(ValueError, match="expected a vector"):
        gate_measures.parse_prometheus(answer, "instance")
