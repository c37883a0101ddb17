# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that had nothing but what a cloud image brings does all that the roles promise: they name every package they need."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from typing import Any

import pytest
from outside import reaches, within


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's address on the lab network."""
    return str(host.backend.hostname)


def status(connection: http.client.HTTPConnection, path: str) -> int:
    """What a request is answered with."""
    with contextlib.closing(connection):
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status


def test_a_release_is_served_by_tls(address: str) -> None:
    def served() -> bool:
        return status(http.client.HTTPSConnection(address, 443, timeout=10, context=ssl._create_unverified_context()), "/") == 200

    within(10, served, "the release is served through the load balancer")


def test_its_artifact_can_be_had(address: str) -> None:
    assert status(http.client.HTTPConnection(address, 8080, timeout=10), "/hello/1.0/hello-1.0.manifest.json") == 200


def test_the_firewall_is_up(address: str) -> None:
    assert reaches(address, 22)
    assert not reaches(address, 8000)


def test_nothing_has_failed(host: Any) -> None:
    assert host.check_output("systemctl --failed --no-legend --plain") == ""
