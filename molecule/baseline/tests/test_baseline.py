# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that got the baseline with nothing set, seen from outside."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ssh_audit
from outside import KEY, ROOT, Run, play, reaches, scenario_hosts, ssh, within

UNOPENED = 9999
OURS, OF_THE_IMAGE = "/etc/sudoers.d/tossable-baseline", "/etc/sudoers.d/90-ops"


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's address on the lab network."""
    return str(host.backend.hostname)


@pytest.fixture
def listener(host: Any) -> Iterator[int]:
    """A program on the host that listens on a port nobody opened, over IPv4 and IPv6."""
    host.check_output(f"systemd-run --quiet --collect --unit=listener python3 -m http.server --bind :: --directory /var/empty {UNOPENED}")
    within(10, lambda: host.run(f"ss -Hltn sport = :{UNOPENED}").stdout != "", f"something listens on port {UNOPENED}")
    yield UNOPENED
    host.check_output("systemctl stop listener")


def test_ssh_audit_has_no_complaint(host: Any, address: str) -> None:
    """Asked on the host itself: sshd shuts out for a while whoever knocks as often as ssh-audit does."""
    package = Path(ssh_audit.__file__).parent
    archive = subprocess.run(["tar", "-C", package.parent, "--exclude=__pycache__", "-c", package.name], capture_output=True, check=True)
    assert ssh(address, "tar", "-x", "-C", "/tmp", stdin=archive.stdout).returncode == 0
    audit = host.run("cd /tmp && python3 -m ssh_audit.ssh_audit --json 127.0.0.1")
    report = json.loads(audit.stdout)
    assert report["kex"], audit.stdout
    notes = {entry["algorithm"]: entry["notes"] for kind in ("kex", "key", "enc", "mac") for entry in report[kind]}
    assert {name: note for name, note in notes.items() if note.get("fail") or note.get("warn")} == {}
    assert audit.rc == 0, audit.stdout


def test_key_of_the_account_still_opens_it(address: str) -> None:
    assert ssh(address, "sudo", "-n", "id", "-u").stdout.strip() == "0"


def test_passwords_are_not_even_asked_for(address: str) -> None:
    answer = ssh(address, "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive", "true")
    assert "Permission denied (publickey)" in answer.stderr


def test_root_is_refused_with_a_key_that_would_fit(host: Any, address: str) -> None:
    key = KEY.with_suffix(".pub").read_text(encoding="utf-8").strip()
    host.check_output("install -d -m 700 /root/.ssh && echo %s > /root/.ssh/authorized_keys", key)
    try:
        assert "Permission denied" in ssh(address, "true", user="root").stderr
    finally:
        host.check_output("rm -r /root/.ssh")


def test_ports_are_not_forwarded(address: str) -> None:
    assert "SSH-2.0" not in ssh("-W", "127.0.0.1:22", address).stdout


def test_old_key_exchanges_are_refused(address: str) -> None:
    assert "no matching key exchange method" in ssh(address, "-o", "KexAlgorithms=curve25519-sha256", "true").stderr


def test_a_port_that_nobody_opened_is_closed(address: str, listener: int) -> None:
    assert reaches(address, 22)
    assert not reaches(address, listener)


def test_a_port_that_nobody_opened_is_closed_over_ipv6(host: Any, address: str, listener: int) -> None:
    route = json.loads(subprocess.run(["ip", "-json", "route", "get", address], capture_output=True, check=True).stdout)
    addresses = json.loads(host.check_output("ip -json -6 address show dev eth0 scope link"))
    ipv6 = f"{addresses[0]['addr_info'][0]['local']}%{route[0]['dev']}"
    assert reaches(ipv6, 22), f"{ipv6} does not answer at all"
    assert not reaches(ipv6, listener)


def test_the_listener_itself_is_there(host: Any, listener: int) -> None:
    """Else the closed ports above would be closed because nobody listens."""
    assert host.run(f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {listener}), 2)'").rc == 0


def test_the_firewall_comes_back_at_boot(host: Any) -> None:
    host.check_output("nft delete table inet tossable_baseline")
    assert host.check_output("/usr/local/sbin/tossable-access differs") == "firewall in force"
    host.check_output("systemctl restart nftables.service")
    assert host.check_output("/usr/local/sbin/tossable-access differs") == ""


def test_a_change_that_shuts_everybody_out_is_taken_back(host: Any, address: str) -> None:
    rules = "/etc/tossable/baseline/firewall.nft"
    host.check_output(f"cp {rules} /tmp/rules && sed -i /ssh/d {rules}")
    try:
        host.run("/usr/local/sbin/tossable-access try 4")
        assert not reaches(address, 22)
        within(20, lambda: reaches(address, 22), "the old rules are back, and port 22 answers")
        assert "taken back" in host.run("/usr/local/sbin/tossable-access keep").stderr
    finally:
        host.check_output(f"cp /tmp/rules {rules}")
    within(5, lambda: bool(host.run("/usr/local/sbin/tossable-access differs").stdout == ""), "all is as the role left it")


def test_rules_that_sshd_refuses_are_not_put_in_force(host: Any, address: str) -> None:
    rules = "/etc/tossable/baseline/sshd.conf"
    host.check_output(f"cp {rules} /tmp/rules && echo 'Nonsense yes' >> {rules}")
    try:
        attempt = host.run("/usr/local/sbin/tossable-access try 30")
    finally:
        host.check_output(f"cp /tmp/rules {rules}")
    assert attempt.rc == 1
    assert "Nonsense" in attempt.stderr
    assert ssh(address, "true").returncode == 0
    assert host.check_output("/usr/local/sbin/tossable-access differs") == ""


def test_only_security_updates_come_by_themselves(host: Any) -> None:
    allowed = [line for line in host.check_output("unattended-upgrade --dry-run --debug 2>&1").splitlines() if line.startswith("Allowed origins")]
    assert len(allowed) == 1
    assert allowed[0].count("origin=") == 1
    assert "-security,label=Debian-Security" in allowed[0]


def test_the_network_is_set_and_the_machine_below_is_not(host: Any) -> None:
    assert host.sysctl("net.ipv4.conf.all.accept_redirects") == 0
    assert host.sysctl("net.ipv4.conf.default.rp_filter") == 2
    settings = [line for line in host.file("/etc/sysctl.d/60-tossable.conf").content_string.splitlines() if line and not line.startswith("#")]
    assert len(settings) > 10
    assert [line for line in settings if not line.startswith("net.")] == []
    assert host.sysctl("kernel.kptr_restrict") == int(Path("/proc/sys/kernel/kptr_restrict").read_text(encoding="ascii"))


def test_sudo_lists_nobody_new(host: Any) -> None:
    assert host.run("visudo --check --quiet").rc == 0
    assert host.run("runuser -u nobody -- sudo -n true").rc != 0


def converge(address: str, *options: str, **changes: Any) -> Run:
    """Run the role once more on this host, with some variables changed."""
    (name,) = (name for name, variables in scenario_hosts().items() if variables["ansible_host"] == address)
    return play(ROOT / "molecule" / "baseline" / "converge.yml", "--limit", name, *options, changes=changes)


def ops(**changes: Any) -> dict[str, Any]:
    """An entry for the account that Ansible uses, with the key that opens it."""
    return {"name": "ops", "ssh_keys": [KEY.with_suffix(".pub").read_text(encoding="utf-8").strip()], **changes}


def assert_refused(done: Run, told: str) -> None:
    """It was refused in these words, and nothing was changed before."""
    assert done.code != 0, done.output
    assert told in done.message(), done.output
    assert re.search(r" changed=0 .* failed=1 ", done.message()), done.output


@pytest.fixture
def given_sudo(host: Any) -> Iterator[None]:
    """A host where the role itself gave the account its sudo, beside the image."""
    host.check_output(f"cp --archive {OURS} /root/ours && echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >>{OURS}")
    yield
    host.check_output(f"mv /root/ours {OURS}")


@pytest.fixture
def given_sudo_alone(host: Any, given_sudo: None) -> Iterator[None]:
    """A host where nobody else did."""
    host.check_output(f"mv {OF_THE_IMAGE} /root/of-the-image")
    yield
    host.check_output(f"mv /root/of-the-image {OF_THE_IMAGE}")


@pytest.mark.usefixtures("given_sudo_alone")
def test_the_sudo_that_ansible_has_by_the_role_alone_is_not_taken_away(address: str) -> None:
    told = "ops, which may use sudo without a password only because this role wrote so into /etc/sudoers.d/tossable-baseline. "
    assert_refused(converge(address), told + "It has no entry in baseline_accounts any more")
    with_one_command = [ops(sudo_commands=["/usr/bin/id"])]
    assert_refused(converge(address, "--check", baseline_accounts=with_one_command), told + "Its entry in baseline_accounts no longer says")
    assert ssh(address, "sudo", "-n", "id", "-u").stdout.strip() == "0"


@pytest.mark.usefixtures("given_sudo")
def test_sudo_that_somebody_else_gave_as_well_may_be_taken_back(address: str) -> None:
    done = converge(address, "--check")
    assert done.code == 0, done.output


@pytest.mark.parametrize(
    ("shell", "told"),
    [
        ("/usr/bin/zsh", "The shell of ops in baseline_accounts is /usr/bin/zsh, which is no program on "),
        ("/usr/sbin/nologin", "The shell of ops in baseline_accounts is /usr/sbin/nologin, which lets nobody in, but Ansible is logged in to "),
    ],
)
def test_a_shell_that_shuts_ansible_out_is_refused(address: str, shell: str, told: str) -> None:
    assert_refused(converge(address, baseline_accounts=[ops(sudo=True, shell=shell)]), told)
    assert ssh(address, "true").returncode == 0


def test_an_opening_to_nobody_is_not_made_one_to_everybody(address: str) -> None:
    done = converge(address, baseline_firewall_openings=[{"port": UNOPENED, "sources": []}])
    assert_refused(done, f"The opening of port {UNOPENED} in baseline_firewall_openings of ")
