# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with every variable of the baseline set, seen from outside and from its neighbour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import testinfra
from outside import reaches, scenario_hosts, ssh, within

PORTS = (8001, 8002, 8004, 8010, 8012)


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's address on the lab network."""
    return str(host.backend.hostname)


def listens(host: Any, port: int) -> bool:
    """Whether a program on the host waits for connections to this port."""
    return str(host.run(f"ss -Hltn sport = :{port}").stdout) != ""


@pytest.fixture(scope="module", autouse=True)
def _listeners(host: Any) -> Iterator[None]:
    """Programs on the host that listen on every port asked about, so that a closed one is closed by the firewall."""
    for port in PORTS:
        host.check_output(f"systemd-run --quiet --collect --unit=listener-{port} python3 -m http.server --directory /var/empty {port}")
    for port in PORTS:
        within(15, partial(listens, host, port), f"something listens on port {port}")
    yield
    host.check_output("systemctl stop 'listener-*'")


def neighbour(host: Any) -> Any:
    """The other host of the scenario, as root."""
    others = [variables for variables in scenario_hosts().values() if variables["ansible_host"] != host.backend.hostname]
    return testinfra.get_host(f"podman://{others[0]['machine_name']}")


def test_openings_are_open_to_their_sources(address: str) -> None:
    assert {port for port in PORTS if reaches(address, port)} == {8001, 8004}


def test_openings_are_closed_to_other_sources(host: Any, address: str) -> None:
    program = f"import socket; s = socket.socket(); s.settimeout(1.5); print(s.connect_ex(('{address}', %d)))"
    assert neighbour(host).check_output(f'python3 -c "{program % 8004}"') == "0"
    assert neighbour(host).check_output(f'python3 -c "{program % 8001}"') != "0"


def test_account_with_sudo(address: str) -> None:
    assert ssh(address, "sudo", "-n", "id", "-u", user="ada").stdout.strip() == "0"
    assert "systemd-journal" in ssh(address, "id", "-nG", user="ada").stdout


def test_account_with_one_command(host: Any, address: str) -> None:
    assert "Permission denied (publickey)" in ssh(address, "true", user="ben").stderr
    assert host.check_output("runuser -u ben -- sudo -n /usr/bin/id -u") == "0"
    assert host.run("runuser -u ben -- sudo -n /usr/bin/true").rc != 0


def test_leaver_is_gone_with_what_it_ran(host: Any) -> None:
    assert not host.user("leaver").exists
    assert not host.service("leaver").is_running


def test_older_clients_get_in_where_they_may(address: str) -> None:
    assert ssh(address, "-o", "KexAlgorithms=curve25519-sha256", "true").returncode == 0


def test_ports_are_forwarded_where_they_may_be(address: str) -> None:
    assert "SSH-2.0" in ssh("-W", "127.0.0.1:22", address).stdout


def test_packets_may_pass_through(host: Any) -> None:
    assert "hook forward" not in host.check_output("nft list table inet tossable_baseline")


def test_updates(host: Any) -> None:
    told = host.check_output("unattended-upgrade --dry-run --debug 2>&1")
    assert "Initial blacklist: haproxy$ nginx" in told
    assert 'Automatic-Reboot "true"' in host.check_output("apt-config dump")
    assert "OnCalendar=Sun *-*-* 03:00:00 " in host.check_output("systemctl show --property=TimersCalendar apt-daily-upgrade.timer")


def test_journal_is_limited(host: Any) -> None:
    limit = host.check_output("journalctl --unit=systemd-journald --grep='System Journal .* max' --output=cat | tail -n 1")
    assert re.search(r"max 24(\.0)?M", limit), limit


def test_kernel(host: Any) -> None:
    assert host.sysctl("net.core.somaxconn") == 8192
    settings = host.file("/etc/sysctl.d/60-tossable.conf").content_string
    assert "tcp_rfc1337" not in settings
    assert "kptr_restrict" not in settings


def test_time_servers(host: Any) -> None:
    assert "NTP=ntp1.example ntp2.example" in host.check_output("systemd-analyze cat-config systemd/timesyncd.conf").splitlines()
