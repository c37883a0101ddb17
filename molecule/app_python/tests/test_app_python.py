# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pypiserver, a Python program that knows nothing of us, released by variables: it serves packages, as itself and as its own user."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from testinfra.host import Host


def url(host: Host, path: str) -> str:
    return f"http://{host.backend.host.name}:8010{path}"


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:
        body: bytes = answer.read()
    return body


def test_it_answers_from_outside(host: Host) -> None:
    assert fetch(url(host, "/health")) == b"Ok"
    assert b"pypiserver" in fetch(url(host, "/"))


def test_it_serves_what_lies_in_the_shared_folder(host: Host) -> None:
    host.check_output("install -o pypiserver -m 640 /dev/null /srv/pypiserver/shared/probe-1.0-py3-none-any.whl")
    assert b"probe-1.0-py3-none-any.whl" in fetch(url(host, "/simple/probe/"))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(url(host, "/packages/nothing-1.0-py3-none-any.whl"))


def test_it_runs_as_its_own_user_from_bytecode_that_the_host_made(host: Host) -> None:
    (process,) = host.process.filter(user="pypiserver")
    assert "pypiserver" in process.args
    assert host.run("ls /srv/pypiserver/current/vendor/pypiserver/__pycache__/*.pyc").rc == 0
    assert host.run("su -s /bin/sh pypiserver -c 'touch /srv/pypiserver/current/x'").rc != 0


def test_load_balancers_are_told_that_it_is_ready(host: Host) -> None:
    with socket.create_connection((host.backend.host.name, 8011), timeout=5) as agent:
        assert agent.recv(100) == b"ready\n"
