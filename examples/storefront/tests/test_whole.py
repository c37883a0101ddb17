"""The application as it runs: asked from outside, stopped by a signal."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Shop:
    """A web process on a port of its own."""

    def __init__(self, vendor: Path, shared: Path, fault: str = "", flags: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        environment = {
            **os.environ,
            "PYTHONPATH": str(vendor),
            "PORT": str(self.port),
            "STOREFRONT_SHARED": str(shared),
            "STOREFRONT_FAULT": fault,
            "FLAGD_OFFLINE_FLAG_SOURCE_PATH": str(flags or ""),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "storefront.web"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            found = connection.getresponse()
            return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def wait(self) -> Shop:
        """Until it answers, or for 10 s."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                self.ask("/healthz")
                return self
            except OSError:
                assert self.process.poll() is None, self.log()
                time.sleep(0.02)
        pytest.fail("the shop does not answer after 10 s")

    def log(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()


@pytest.fixture
def start(vendor: Path, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    started: list[Shop] = []

    def start_one(fault: str = "", shared: Path = tmp_path, flags: Path | None = None) -> Shop:
        started.append(Shop(vendor, shared, fault, flags))
        return started[-1]

    yield start_one
    for shop in started:
        shop.process.kill()
        shop.process.wait()
        assert shop.process.stdout is not None
        shop.process.stdout.close()


def test_pages_probes_and_metrics(start: Callable[..., Shop], tmp_path: Path) -> None:
    shop = start().wait()
    page = shop.ask("/")
    assert page.status == 200
    assert page.headers["x-release"] == "development"
    assert b"Boomerang" in page.body
    assert socket.gethostname().encode() in page.body
    assert b"viewport" in page.body
    assert shop.ask("/healthz").status == 200
    assert json.loads(shop.ask("/readyz").body)["ready"] is True
    assert shop.ask("/nowhere").headers["x-release"] == "development"
    assert shop.ask("/", "HEAD").status == 200
    order = shop.ask("/orders", "POST", b'{"items": {"disc": 2}}')
    assert (order.status, json.loads(order.body)["cents"]) == (201, 2980)
    assert json.loads((tmp_path / "orders.jsonl").read_text())["items"] == {"disc": 2}
    assert shop.ask("/orders", "POST", b"rubbish").status == 400
    assert shop.ask("/orders", "POST", b" " * 5000).status == 413
    metrics = shop.ask("/metrics").body.decode()
    assert 'http_requests_total{method="GET",path="/",release="development",status="200"} 1.0' in metrics
    assert 'path="other",release="development",status="404"} 1.0' in metrics
    assert 'http_request_duration_seconds_bucket{le="0.1",path="/",release="development"}' in metrics
    assert 'storefront_orders_total{release="development"} 1.0' in metrics


def test_asked_to_stop_it_finishes_what_is_in_flight_and_ends(start: Callable[..., Shop]) -> None:
    shop = start().wait()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(shop.ask("/slow?seconds=1")))
    thread.start()
    end = time.monotonic() + 5
    while not _connected(shop):
        assert time.monotonic() < end, "the slow request did not arrive within 5 s"
        time.sleep(0.01)
    began = time.monotonic()
    shop.process.send_signal(signal.SIGTERM)
    thread.join()
    shop.process.wait(5)
    assert answers[0].status == 200
    assert time.monotonic() - began < 3
    assert shop.process.returncode in (0, -signal.SIGTERM)


def _connected(shop: Shop) -> bool:
    """Whether the process holds the connection of the slow request."""
    links = []
    for name in Path(f"/proc/{shop.process.pid}/fd").iterdir():
        try:
            links.append(os.readlink(name))
        except FileNotFoundError:
            continue
    # The listening socket, the event loop's own pair, and the request.
    return len([link for link in links if link.startswith("socket:")]) > 3


def test_a_page_that_does_not_get_the_folder_it_needs_is_not_ready(start: Callable[..., Shop], tmp_path: Path) -> None:
    shop = start(shared=tmp_path / "missing").wait()
    answer = shop.ask("/readyz")
    assert answer.status == 503
    assert "missing or not writable" in json.loads(answer.body)["why"]
    assert shop.ask("/").status == 200


def test_faults(start: Callable[..., Shop]) -> None:
    assert start("never-ready").wait().ask("/readyz").status == 503
    failing = start("error-rate:0.5").wait()
    assert [failing.ask("/").status for _ in range(6)] == [200, 500] * 3
    assert 'exceptions_total{release="development",type="InjectedError"} 3.0' in failing.ask("/metrics").body.decode()
    assert failing.ask("/healthz").headers["x-release"] == "development"
    crashing = start("crash-after:3").wait()
    assert [crashing.ask("/").status for _ in range(2)] == [200, 200]
    with pytest.raises((OSError, http.client.HTTPException)):
        crashing.ask("/")
    assert crashing.process.wait(5) == 70
    assert start("exit-after:1s").wait().process.wait(10) == 70
    deaf = start("deaf-after:1s").wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{deaf.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end, "it still runs after 10 s"
        time.sleep(0.05)
    unknown = start("nonsense")
    assert unknown.process.wait(10) == 1
    assert "unknown fault 'nonsense'" in unknown.log()


def test_its_foot_asks_the_status_page_where_there_is_one(start: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch) -> None:
    without = start().wait().ask("/")
    assert b"footer.js" not in without.body
    monkeypatch.setenv("STOREFRONT_STATUS", "http://ops.example:8088/")
    page = start().wait().ask("/")
    assert b'<script src="http://ops.example:8088/footer.js" data-application="storefront" defer></script>' in page.body
    monkeypatch.setenv("STOREFRONT_ENVIRONMENT", "staging")
    named = start().wait().ask("/")
    assert b'/footer.js" data-application="storefront" data-environment="staging" defer></script>' in named.body
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["script-src"].endswith(" http://ops.example:8088")
    assert policy["connect-src"] == "'self' http://ops.example:8088"


def flag_file(path: Path, generation: int, **flags: dict[str, object]) -> None:
    """Publish flags as the fleet does: beside, then by rename, with a later time."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    beside = path.with_suffix(".part")
    known = {key: {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off", **flag} for key, flag in flags.items()}
    beside.write_text(json.dumps({"flags": known, "metadata": {"generation": generation}}))
    time = max(before + 1_000_000, beside.stat().st_mtime_ns)
    os.utime(beside, ns=(time, time))
    beside.rename(path)


def given(shop: Shop, query: str = "") -> dict[str, object]:
    """Generation and values that the shop gives to a user."""
    told = json.loads(shop.ask(f"/flags?{query}").body)
    return {"generation": told["generation"], **{key: one["value"] for key, one in told["flags"].items()}}


def test_a_flag_is_switched_while_it_runs(start: Callable[..., Shop], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    shop = start(flags=path).wait()
    assert given(shop) == {"generation": 0, "checkout": False, "recommendations": False, "bulk_prices": False, "reviews": False}
    assert b"Order in one step" not in shop.ask("/").body
    rich = {"if": [{">=": [{"var": "transaction_volume"}, 100000]}, "on", "off"]}
    flag_file(path, 1, checkout={"defaultVariant": "on"}, bulk_prices={"targeting": rich})
    assert given(shop)["checkout"] is True
    assert b"Order in one step" in shop.ask("/").body
    assert [given(shop, f"transaction_volume={volume}")["bulk_prices"] for volume in ("100000", "99999", "much", "")] == [True, False, False, False]
    # The file that was missing at first.
    assert "feature_flag_file_errors_total 1.0" in shop.ask("/metrics").body.decode()
    path.write_text("{")
    os.utime(path, ns=(time.time_ns() + 10**9,) * 2)
    assert (given(shop)["generation"], given(shop)["checkout"]) == (1, True), "a broken file leaves what was read before"
    assert "feature_flag_file_errors_total 2.0" in shop.ask("/metrics").body.decode(), "a file is counted once"
    flag_file(path, 3, checkout={})
    assert (given(shop)["generation"], given(shop)["checkout"]) == (3, False)
    counted = shop.ask("/metrics").body.decode()
    assert 'feature_flag_evaluations_total{flag="checkout",reason="static",variant="on"}' in counted
    assert 'feature_flag_requests_total{flag="checkout",outcome="ok",variant="on"}' in counted
    assert "feature_flag_generation 3.0" in counted


@pytest.mark.parametrize("text", ["{}", "[]", '{"flags": {}}', '{"flags": []}', '{"flags": {}, "metadata": {"environment": "lab"}}', "null"])
def test_json_that_is_no_set_of_flags_leaves_what_was_read_before(start: Callable[..., Shop], tmp_path: Path, text: str) -> None:
    path = tmp_path / "flags.json"
    flag_file(path, 1, checkout={"defaultVariant": "on"})
    shop = start(flags=path).wait()
    assert (given(shop)["generation"], given(shop)["checkout"]) == (1, True)
    path.write_text(text)
    os.utime(path, ns=(time.time_ns() + 10**9,) * 2)
    assert [(given(shop)["generation"], given(shop)["checkout"]) for _ in range(3)] == [(1, True)] * 3
    flag_file(path, 2)
    assert (given(shop)["generation"], given(shop)["checkout"]) == (2, False), "a set that really has no flag says so by its generation"
    shop.process.kill()
    assert shop.log().count("the flags stay as they were") == 1, "told once"


#: A process that has imported the shop and forks two workers; each says what it gives of a flag, whenever it is asked.
FORKED = """
import os, pathlib, sys
import storefront.flags as shop
early = shop.Flags(pathlib.Path(sys.argv[1])) if sys.argv[2] == "before" else None
ends = []
for _number in range(2):
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    if os.fork() == 0:
        flags = early or shop.Flags(pathlib.Path(sys.argv[1]))
        while os.read(asked, 1) == b"?":
            os.write(tell, b"on" if flags.value("checkout", shop.user({}, "ada")) else b"off")
        os._exit(0)
    os.close(asked)
    ends.append((ask, told))
for _line in sys.stdin:
    for ask, told in ends:
        os.write(ask, b"?")
    print(*(os.read(told, 3).decode() for _ask, told in ends), flush=True)
for ask, _told in ends:
    os.write(ask, b".")
"""


@pytest.mark.parametrize("made", ["before", "after"])
def test_processes_that_were_forked_after_the_import_each_follow_a_switch(vendor: Path, tmp_path: Path, made: str) -> None:
    """Also where the provider was made before: it has no thread that the fork would lose."""
    path = tmp_path / "flags.json"
    flag_file(path, 1, checkout={"defaultVariant": "on"})
    environment = {**os.environ, "PYTHONPATH": f"{vendor}{os.pathsep}{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", FORKED, str(path), made], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None

        def asked() -> list[str]:
            print(file=parent.stdin, flush=True)
            return parent.stdout.readline().split() if parent.stdout else []

        assert asked() == ["on", "on"]
        flag_file(path, 2, checkout={})
        assert asked() == ["off", "off"]
        flag_file(path, 3, checkout={"defaultVariant": "on"})
        assert asked() == ["on", "on"]
    assert parent.returncode == 0


def test_a_percentage_is_kept_by_the_visitors_cookie(start: Callable[..., Shop], tmp_path: Path) -> None:
    half: dict[str, object] = {"targeting": {"fractional": [{"cat": ["recommendations:", {"var": "targetingKey"}]}, ["on", 50], ["off", 50]]}}
    path = tmp_path / "flags.json"
    flag_file(path, 1, recommendations=half)
    shop = start(flags=path).wait()
    seen = set()
    for _ in range(40):
        first = shop.ask("/")
        cookie = first.headers["set-cookie"].partition(";")[0]
        again = shop.ask("/", headers={"Cookie": cookie})
        assert (b"recommended" in first.body) == (b"recommended" in again.body)
        assert "set-cookie" not in again.headers
        seen.add(b"recommended" in first.body)
    assert seen == {True, False}


def test_a_fault_in_the_new_checkout_goes_with_its_flag(start: Callable[..., Shop], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    flag_file(path, 1, checkout={"defaultVariant": "on"})
    shop = start("checkout-errors:0.5", flags=path).wait()
    assert sorted({shop.ask("/").status for _ in range(6)}) == [200, 500]
    flag_file(path, 2, checkout={})
    assert {shop.ask("/").status for _ in range(6)} == {200}
    counted = shop.ask("/metrics").body.decode()
    assert 'feature_flag_requests_total{flag="checkout",outcome="error",variant="on"} 3.0' in counted


def test_the_fault_in_the_new_checkout_counts_only_pages_that_have_it(start: Callable[..., Shop], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    flag_file(path, 1, checkout={"targeting": {"if": [{"==": [{"var": "plan"}, "gold"]}, "on", "off"]}})
    shop = start("checkout-errors:0.5", flags=path).wait()
    assert [shop.ask(f"/?plan={plan}").status for plan in ("gold", "free") * 4] == [200, 200, 500, 200] * 2


def test_an_order_is_counted_for_the_checkout_that_it_went_through(start: Callable[..., Shop], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    flag_file(path, 1, checkout={"targeting": {"if": [{"==": [{"var": "plan"}, "gold"]}, "on", "off"]}})
    shop = start("checkout-errors:0.5", flags=path).wait()
    assert [shop.ask(f"/orders?plan={plan}", "POST", b'{"items": {"disc": 2}}').status for plan in ("gold", "free") * 4] == [201, 201, 500, 201] * 2
    assert len((tmp_path / "orders.jsonl").read_text().splitlines()) == 6
    counted = shop.ask("/metrics").body.decode()
    for variant, outcome, times in (("on", "ok", 2), ("on", "error", 2), ("off", "ok", 4)):
        assert f'feature_flag_requests_total{{flag="checkout",outcome="{outcome}",variant="{variant}"}} {times}.0' in counted
    assert 'flag="reviews"' not in counted, "an order asks for no other flag"


def test_to_look_at_flags_is_no_request_that_they_had_a_say_in(start: Callable[..., Shop], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    flag_file(path, 1, checkout={"defaultVariant": "on"})
    shop = start("checkout-errors:1", flags=path).wait()
    assert shop.ask("/").status == 500
    assert given(shop)["checkout"] is True
    counted = shop.ask("/metrics").body.decode()
    assert 'feature_flag_requests_total{flag="checkout",outcome="error",variant="on"} 1.0' in counted
    assert 'outcome="ok"' not in counted, "whoever looks makes a bad variant seem better than it is"
    assert 'feature_flag_evaluations_total{flag="checkout",reason="static",variant="on"} 2.0' in counted
