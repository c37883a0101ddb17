"""What applications count of flags: asked by the command itself, from a server of the test's own, and read strictly."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_metrics
from hypothesis import given
from hypothesis import strategies as st

SHOWN = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79e+09
# TYPE feature_flag_evaluations_total counter
feature_flag_evaluations_total{flag="checkout",reason="targeting_match",variant="on"} 9.0
feature_flag_evaluations_total{flag="checkout",reason="targeting_match",variant="off"} 91.0
# TYPE feature_flag_requests_total counter
feature_flag_requests_total{flag="checkout",outcome="ok",variant="on"} 7.0
feature_flag_requests_total{flag="checkout",outcome="error",variant="on"} 2.0 1790000000000
feature_flag_requests_total{ outcome="ok" , variant="off", flag="checkout", } 91
http_requests_total{method="GET"} 12.0
"""
REQUESTS = {"checkout": {"on": (2.0, 9.0), "off": (0.0, 91.0)}}


def test_errors_and_requests_are_read_by_flag_and_variant() -> None:
    assert flag_metrics.parse(SHOWN) == flag_metrics.Counts(1.79e9, REQUESTS, {"checkout": 100.0}, counts_requests=True, counts_evaluations=True)


def test_a_counter_that_nobody_has_used_yet_is_told_from_one_that_is_not_there() -> None:
    unused = flag_metrics.parse("# TYPE feature_flag_requests_total counter\n# TYPE feature_flag_evaluations_total_of_others counter\n")
    assert unused == flag_metrics.Counts(0.0, {}, {}, counts_requests=True, counts_evaluations=False)


def test_counters_may_have_other_names() -> None:
    names = flag_metrics.Names("shop_answers", "shop_asks")
    found = flag_metrics.parse('shop_answers{flag="a",variant="b",outcome="error"} 1\nfeature_flag_requests_total 5\n', names)
    assert (found.requests, found.counts_evaluations) == ({"a": {"b": (1.0, 1.0)}}, False)


TEXT = st.text(st.characters(exclude_characters="\r\x85\u2028\u2029", exclude_categories=["Cs"]), max_size=8)
COUNTED = st.dictionaries(st.tuples(TEXT, TEXT), st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=5)


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


@given(COUNTED, st.lists(TEXT, min_size=1, max_size=2, unique=True))
def test_whatever_flags_and_variants_are_called_they_are_read_as_written_and_further_labels_added_up(
    counted: dict[tuple[str, str], tuple[int, int]], pods: list[str]
) -> None:
    lines = [
        f'feature_flag_requests_total{{pod="{escaped(pod)}",flag="{escaped(flag)}",outcome="{outcome}",variant="{escaped(variant)}"}} {value}'
        for (flag, variant), both in counted.items()
        for outcome, value in zip(("error", "ok"), both, strict=True)
        for pod in pods
    ]
    found = flag_metrics.parse("\n".join(lines)).requests
    told = {(flag, variant): figures for flag, variants in found.items() for variant, figures in variants.items()}
    assert told == {key: (len(pods) * bad, len(pods) * (bad + good)) for key, (bad, good) in counted.items()}


@given(st.text() | st.text(alphabet='feature_lag{}="\\,. 01\n', max_size=60).map(lambda rest: f"feature_flag_requests_total{rest}"))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    found, troubles = flag_metrics.parse_answer(f"tossable-metrics {json.dumps([{'address': 'http://x', 'text': text}])}")
    assert len(found) + len(troubles) == 1
    for trouble in troubles:
        assert "feature_flag_requests_total has no label" in trouble or "is no counter of Prometheus' text format" in trouble


@pytest.mark.parametrize(
    "line",
    [
        'feature_flag_requests_total{flag="a" 1',
        'feature_flag_requests_total{flag="a"variant="b"} 1',
        'feature_flag_requests_total{flag="a",variant="b",outcome="ok"} many',
        'feature_flag_requests_total{flag="a",variant="b",outcome="ok"} -1',
        'feature_flag_requests_total{flag="a",variant="b",outcome="ok"} NaN',
        'feature_flag_requests_total{flag="a",variant="b",outcome="ok"}',
    ],
)
def test_a_broken_line_is_refused_with_what_it_is(line: str) -> None:
    with pytest.raises(ValueError, match="no counter of Prometheus' text format") as error:
        flag_metrics.parse(f"{SHOWN}{line}\n")
    assert line[:40] in str(error.value)


def test_a_counter_without_its_labels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no label variant \(it has: flag\)"):
        flag_metrics.parse('feature_flag_requests_total{flag="a"} 1')


FIGURES = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (float(pair[0]), float(sum(pair))))
READING = st.dictionaries(st.sampled_from(["on", "off"]), FIGURES)


@given(READING, READING, st.booleans())
def test_no_difference_is_below_zero_or_has_more_errors_than_requests(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], same: bool
) -> None:
    for errors, total in flag_metrics.difference(before, after, same).values():
        assert errors >= 0
        assert total >= 0


@given(st.lists(READING, min_size=2, max_size=6))
def test_counters_that_only_grow_lose_and_double_nothing(growth: list[dict[str, tuple[float, float]]]) -> None:
    readings, now = [], dict.fromkeys(("on", "off"), (0.0, 0.0))
    for more in growth:
        now = {variant: (bad + more.get(variant, (0, 0))[0], total + more.get(variant, (0, 0))[1]) for variant, (bad, total) in now.items()}
        readings.append(now)
    parts = [flag_metrics.difference(before, after) for before, after in itertools.pairwise(readings)]
    for variant, (bad, total) in readings[-1].items():
        assert sum(part[variant][0] for part in parts) == bad - readings[0][variant][0]
        assert sum(part[variant][1] for part in parts) == total - readings[0][variant][1]


def test_a_process_that_was_started_anew_counts_from_zero() -> None:
    before, smaller, larger = {"on": (2.0, 9.0), "off": (0.0, 91.0)}, {"on": (0.0, 1.0)}, {"on": (3.0, 10.0), "off": (0.0, 95.0)}
    assert flag_metrics.difference(before, smaller) == smaller
    assert flag_metrics.difference(before, larger, same_process=False) == larger
    assert flag_metrics.difference(before, larger) == {"on": (1.0, 1.0), "off": (0.0, 4.0)}


class Application(BaseHTTPRequestHandler):
    """Shows its counters at /metrics."""

    def do_GET(self) -> None:
        body = SHOWN.encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked(*addresses: str, **environment: str) -> str:
    command = flag_metrics.ask_command(addresses).replace("/usr/bin/python3", shlex.quote(sys.executable))
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment).stdout


def test_the_command_asks_each_address_and_says_which_could_not_be_read(address: str) -> None:
    text = asked(f"{address}/metrics", f"{address}/other", "http://127.0.0.1:1/", "nowhere", http_proxy="http://127.0.0.1:1")
    assert "http_requests_total" not in text
    found, troubles = flag_metrics.parse_answer(f"{text}\r\n")
    assert {key: counts.requests for key, counts in found.items()} == {f"{address}/metrics": REQUESTS}
    assert [line.partition(": ")[0] for line in troubles] == [f"{address}/other", "http://127.0.0.1:1/", "nowhere"]
    assert "404" in troubles[0]
    assert "refused" in troubles[1]


def test_a_host_that_says_nothing_useful_is_a_trouble() -> None:
    assert flag_metrics.parse_answer("sh: 1: /usr/bin/python3: not found\n") == ({}, ["the host gave no answer: sh: 1: /usr/bin/python3: not found"])
    assert flag_metrics.parse_answer("")[1] == ["the host gave no answer: nothing was printed"]


def test_hosts_are_heard_by_address_and_those_that_were_not_are_named() -> None:
    hosts: dict[str, dict[str, Any]] = {
        "app1": {"counted": {"http://x": {"began": 1}}, "trouble": ""},
        "app2": {"counted": {}, "trouble": "http://x: refused"},
        "app3": {"failed": True, "msg": "Timed out\nafter 15 s."},
    }
    assert flag_metrics.heard(hosts) == ({"app1 http://x": {"began": 1}}, ["app2: http://x: refused", "app3: no answer: Timed out after 15 s."])
