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
from ansible_collections.tossable.fleet.plugins.module_utils.host.health import ask


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
