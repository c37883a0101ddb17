# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application is asked, on a real socket."""

from __future__ import annotations

import http.server
import pathlib
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import health, journal, system
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config, Health
from ansible_collections.tossable.fleet.plugins.module_utils.host.health import ask, wait_healthy


class Application(http.server.BaseHTTPRequestHandler):
    """Healthy on one address only, query and all."""

    def do_GET(self) -> None:
        """Answer 200 or 503."""
        self.send_response(200 if self.path in ("/", "/readyz?deep=1") else 503)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of an application that runs."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("address", "good", "asked"), [("/readyz?deep=1", True, "/readyz?deep=1"), ("/readyz", False, "/readyz"), ("", True, "/")])
def test_the_whole_address_is_asked(port: int, address: str, good: bool, asked: str) -> None:
    """A query may decide what is checked."""
    said = ask(Health(f"http://127.0.0.1:{port}{address}", 200, 5.0, 30.0, 2, 0.1))
    assert said == (good, f"http://127.0.0.1:{port}{address}: {200 if good else 503} {asked}")


def test_nobody_there_is_said_in_words(port: int) -> None:
    """Not raised: the application may still be starting."""
    good, said = ask(Health("http://127.0.0.1:9/", 200, 5.0, 30.0, 2, 0.1))
    assert not good
    assert "refused" in said


def test_the_processes_are_looked_at_now_and_then_while_there_is_no_answer() -> None:
    """Each look asks systemd, which an application that is starting pays for; a process that died is still told of long before the deadline."""
    now = 0.0
    looks: list[float] = []

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    def alive() -> str | None:
        looks.append(round(now, 2))
        return "web.service is failed" if now >= 1.0 else None

    said = wait_healthy(Health("http://127.0.0.1:9/", 200, 5.0, 30.0, 2, 0.1), alive, lambda: now, pause)
    assert said
    assert said.startswith("web.service is failed; last answer: ")
    assert looks == [pytest.approx(0.5, abs=0.06), pytest.approx(1.0, abs=0.06)]


RELEASE = "1.0.0-aaaaaaaa"


@pytest.fixture
def shop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, port: int) -> Config:
    """An application that answers, has a journal, and processes as systemd tells of them."""
    monkeypatch.setattr(system, "unit_status", lambda units: {unit: system.UnitStatus("active", 0, 0, False) for unit in units})
    (tmp_path / "state").mkdir()
    wanted = Health(f"http://127.0.0.1:{port}/", 200, 5.0, 30.0, 2, 0.01)
    return Config("shop", "shop", "shop", str(tmp_path / "srv"), str(tmp_path / "state"), ("shop-web.service",), None, wanted, None, 3, "")


def live(config: Config) -> None:
    """It has been released."""
    journal.append(config.journal, {"transaction": "run", "kind": "activate", "step": "done", "release": RELEASE, "previous": None})


def test_an_application_that_can_serve_is_healthy(shop: Config) -> None:
    live(shop)
    found = health.check(shop)
    assert 0.01 <= found.pop("seconds") < 30, "two answers in a row, with the application's own pause between them"
    assert found == {"changed": False, "app": "shop", "release": RELEASE, "healthy": True, "why": None}


def test_a_bad_answer_is_told_after_the_deadline_that_was_asked_for(shop: Config) -> None:
    live(shop)
    ill = shop._replace(health=shop.health and shop.health._replace(url=shop.health.url + "readyz"))
    found = health.check(ill, deadline_seconds=0.05)
    assert (found["healthy"], found["release"]) == (False, RELEASE)
    assert found["why"].startswith("not healthy after 0 s (wanted 2 answers of 200 in a row); last answer: http://127.0.0.1:")
    assert found["why"].endswith("/readyz: 503 /readyz")
    assert 0.05 <= found["seconds"] < 30


def test_a_process_that_is_down_is_told_whatever_is_answered(shop: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    live(shop)
    monkeypatch.setattr(system, "unit_status", lambda units: {unit: system.UnitStatus("failed", 0, 0, False) for unit in units})
    assert health.check(shop)["why"] == "shop-web.service is failed"
    assert health.check(shop._replace(health=None))["why"] == "shop-web.service is failed"


def test_a_host_without_a_release_is_not_healthy(shop: Config) -> None:
    found = health.check(shop)
    assert (found["healthy"], found["release"]) == (False, None)
    assert found["why"] == "Nothing of shop is live on this host. Release it: deploy.yml"
