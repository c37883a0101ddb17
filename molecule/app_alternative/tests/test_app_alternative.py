# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two applications on one host: one with every variable set and a process type taken away again, one with workers only."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest


def wait_for(what: str, seconds: float, found: Callable[[], Any]) -> Any:
    """The first truth that `found` returns within that time."""
    until = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.05)
    return result


def prop(host: Any, unit: str, name: str) -> str:
    """A property of a systemd unit."""
    return str(host.check_output(f"systemctl show --value --property={name} {unit}"))


@pytest.fixture
def report(host: Any) -> dict[str, Any]:
    """What the Node.js process of the shop says of itself."""
    with urllib.request.urlopen(f"http://{host.backend.hostname}:9000/report", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_a_just_in_time_compiler_runs_where_it_is_allowed(host: Any, report: dict[str, Any]) -> None:
    """Node.js dies at its start where memory may not be written and executed; the other processes keep that protection."""
    assert host.file(f"/proc/{report['pid']}/comm").content_string.strip().startswith("node")
    assert prop(host, "shop-web.service", "MemoryDenyWriteExecute") == "no"
    assert prop(host, "shop-worker.service", "MemoryDenyWriteExecute") == "yes"


def test_hardening_is_overridden_where_it_was_asked_for(host: Any, report: dict[str, Any]) -> None:
    """Listing interfaces needs a netlink socket, which the role's own sandbox refuses."""
    assert "lo" in report["interfaces"]
    assert host.check_output(f"ps -o ni= -p {report['pid']}").strip() == "5"


def test_a_process_has_its_own_environment_before_the_common_one(host: Any, report: dict[str, Any]) -> None:
    """And the secrets of both."""
    assert report["environment"]["WHO"] == "web"
    assert report["environment"]["TRICKY"] == 'it\'s "quoted" $HOME ${HOME} $$ 100% \\n \\ {x}\n\tnext line'
    assert report["environment"]["TOKEN"] == "of-the-shop"
    assert report["environment"]["PORT"] == "9000"
    wait_for("file of the worker", 5, lambda: host.file("/srv/shop/shared/worker").exists)


def test_limits_are_those_asked_for(host: Any) -> None:
    """Of memory, and of the time to end."""
    assert prop(host, "shop-web.service", "MemoryMax") == str(256 * 1024 * 1024)
    assert prop(host, "shop-worker.service", "MemoryMax") == "infinity"
    assert prop(host, "shop-web.service", "TimeoutStopUSec") == "7s"


def test_the_agent_answers_on_its_port(host: Any) -> None:
    """Which was moved."""
    with socket.create_connection((host.backend.hostname, 9100), timeout=5) as connection:
        assert connection.recv(64) == b"ready\n"


def test_what_was_taken_away_is_gone(host: Any) -> None:
    """Process and unit; nothing else was touched."""
    assert prop(host, "shop-extra.service", "LoadState") == "not-found"
    assert host.run("pgrep -u shopper -f infinity").rc != 0
    assert json.loads(host.check_output("cat /etc/tossable/shop.json"))["units"] == ["shop-web.service", "shop-worker.service"]
    for unit in ("shop-web", "shop-worker", "jobs-worker"):
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit


def test_workers_alone_need_no_agent(host: Any) -> None:
    """Nothing listens for them, and a restart needs no load balancer."""
    for unit in ("jobs-agent.socket", "jobs-agent.service", "jobs-web.service"):
        assert prop(host, unit, "LoadState") == "not-found"
    wait_for("sign of life", 5, lambda: host.file("/srv/jobs/shared/worked").exists)
    assert host.file("/srv/jobs/shared/worked").content_string == "3 as jobs\n"
    request = json.dumps({"kind": "restart", "release": None, "run": "test", "by": "test", "reason": "test"})
    before = prop(host, "jobs-worker.service", "MainPID")
    answer = json.loads(host.check_output(f"python3 -I /usr/local/lib/tossable/current transact jobs '{request}'"))
    assert answer["changed"]
    assert [step["step"] for step in answer["steps"]] == ["switch", "restart", "healthy"]
    assert prop(host, "jobs-worker.service", "MainPID") not in (before, "0")


def test_neither_reaches_the_other(host: Any) -> None:
    """Own accounts, own signers, own secrets, own releases."""
    for account, other in (("shopper", "jobs"), ("jobs", "shop")):
        for path in (f"/etc/{other}/env", f"/srv/{other}/shared"):
            assert host.run(f"setpriv --reuid={account} --regid={account} --clear-groups test -r {path}").rc != 0, (account, path)
    shop = host.check_output("cat /etc/tossable/allowed_signers.d/shop")
    jobs = host.check_output("cat /etc/tossable/allowed_signers.d/jobs")
    assert "ci@example.org" in shop
    assert "jobs@lab" in jobs
    assert "jobs@lab" not in shop
    assert "ci@example.org" not in jobs
