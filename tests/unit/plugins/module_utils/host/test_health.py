# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application is asked, on a real socket."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Health
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
