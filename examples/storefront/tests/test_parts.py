"""The parts that need nothing but Python."""

from __future__ import annotations

import itertools
import math
import threading
from pathlib import Path

import pytest
from storefront import settings, store, worker
from storefront.catalogue import PRODUCTS, check_order, total
from storefront.faults import Faults, parse


def test_faults_are_read() -> None:
    assert parse("") == Faults()
    assert parse("never-ready") == Faults(never_ready=True)
    assert parse("exit-after:20s,ready-for:3s") == Faults(exit_after=20, ready_for=3)
    assert parse("slow:500ms, error-rate:0.05,crash-after:20") == Faults(slow=0.5, error_rate=0.05, crash_after=20)


@pytest.mark.parametrize("text", ["nonsense", "crash-after", "crash-after:x", "error-rate:2", "slow:5s", "never-ready:1", "exit-after:5", "flapping"])
def test_an_unknown_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        parse(text)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (0.05, 50), (0.5, 500), (1.0, 1000)])
def test_errors_come_as_often_as_asked_and_evenly(rate: float, expected: int) -> None:
    failing = [number for number in range(1, 1001) if Faults(error_rate=rate).fails(number)]
    assert len(failing) == expected
    assert all(later - earlier <= 1 / rate + 1 for earlier, later in itertools.pairwise(failing))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("", [True] * 5), ("never-ready", [False] * 5), ("ready-for:3s", [True] * 3 + [False] * 2), ("flapping:2s", [True, True, False, False, True])],
)
def test_readiness_is_a_matter_of_age(fault: str, expected: list[bool]) -> None:
    assert [not parse(fault).unready(age) for age in (0.0, 1.5, 2.9, 3.5, 4.5)] == expected


def test_an_order_is_checked_and_priced() -> None:
    items = check_order({"items": {"disc": 2, "plane": 1}})
    assert total(items) == 2 * PRODUCTS["disc"].cents + PRODUCTS["plane"].cents


@pytest.mark.parametrize(
    "order",
    [None, [], {}, {"items": {}}, {"items": {"nothing": 1}}, {"items": {"disc": 0}}, {"items": {"disc": True}}, {"items": {"disc": 100}}],
)
def test_a_bad_order_is_refused(order: object) -> None:
    with pytest.raises(ValueError, match=r"expected|there is no|must be"):
        check_order(order)


def test_what_is_sold_is_counted_once_and_survives_the_worker(tmp_path: Path) -> None:
    store.add_order(tmp_path, {"disc": 2})
    store.add_order(tmp_path, {"kite": 3})
    assert store.count_orders(tmp_path) == {}
    store.add_order(tmp_path, {"disc": 2})
    assert store.count_orders(tmp_path) == {"disc": 2, "kite": 3}
    assert store.count_orders(tmp_path) == {"disc": 4, "kite": 3}
    assert store.best_sellers(tmp_path) == ["disc", "kite"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sold.json"]


def test_a_worker_that_ended_between_counting_and_removing_counts_nothing_twice(tmp_path: Path) -> None:
    store.add_order(tmp_path, {"disc": 2})
    store.count_orders(tmp_path)
    (aside,) = tmp_path.glob("orders-*.jsonl")
    content = aside.read_bytes()
    store.count_orders(tmp_path)
    aside.write_bytes(content)
    assert store.count_orders(tmp_path) == {"disc": 2}
    assert not aside.exists()


def test_the_worker_beats_and_stops_when_asked(tmp_path: Path) -> None:
    chosen = settings.load({"STOREFRONT_SHARED": str(tmp_path), "STOREFRONT_WORKER_SECONDS": "60"}, tmp_path)
    assert math.isnan(store.heartbeat_age(tmp_path))
    stop = threading.Event()
    stop.set()
    worker.work(chosen, stop)
    assert store.heartbeat_age(tmp_path) < 60


@pytest.mark.parametrize("resolver", ["rpc", "in-process", "FILE "])
def test_a_resolver_that_asks_a_server_is_refused_in_words(resolver: str, tmp_path: Path) -> None:
    assert settings.load({"FLAGD_RESOLVER": "file"}, tmp_path) == settings.load({"FLAGD_RESOLVER": ""}, tmp_path) == settings.load({}, tmp_path)
    with pytest.raises(ValueError, match=f"FLAGD_RESOLVER is '{resolver}': flags are read from a file here"):
        settings.load({"FLAGD_RESOLVER": resolver}, tmp_path)


def test_a_fault_in_the_release_counts_unless_the_environment_names_one(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("1.2.3\n")
    (tmp_path / "FAULT").write_text("never-ready\n")
    assert settings.load({}, tmp_path).fault == "never-ready"
    assert settings.load({}, tmp_path).release == "1.2.3"
    assert settings.load({"STOREFRONT_FAULT": "slow:1ms"}, tmp_path).fault == "slow:1ms"
