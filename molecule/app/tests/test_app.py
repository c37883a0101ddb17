# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application with the role's defaults, after its environment was changed while it ran and after its host booted again."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent.parent


def wait_for(what: str, seconds: float, found: Callable[[], Any]) -> Any:
    """The first truth that `found` returns within that time."""
    until = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.05)
    return result


def agent(host: Any) -> str:
    """What a load balancer on this machine is told."""
    with socket.create_connection((host.backend.hostname, 8001), timeout=5) as connection:
        return connection.recv(64).decode()


def prop(host: Any, unit: str, name: str) -> str:
    """A property of a systemd unit."""
    return str(host.check_output(f"systemctl show --value --property={name} {unit}"))


def runs_anew(host: Any, pid: str) -> bool:
    """Whether the worker runs, and as another process than this one."""
    return prop(host, "probe-worker.service", "MainPID") not in (pid, "0")


@pytest.fixture
def report(host: Any) -> dict[str, Any]:
    """What the application says of itself, asked as a load balancer would ask: over the network."""

    def ask() -> Any:
        try:
            with urllib.request.urlopen(f"http://{host.backend.hostname}:8000/report", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    found: dict[str, Any] = wait_for("answer on port 8000", 30, ask)
    return found


def test_the_sandbox_holds_seen_from_within(report: dict[str, Any]) -> None:
    """Every way out is refused, the two places it may write are not."""
    attempts = report["attempts"]
    allowed = {name for name, outcome in attempts.items() if outcome == "done"}
    assert allowed == {"write /tmp", "write shared"}
    assert len(attempts) >= 12


def test_the_process_has_no_privileges(host: Any, report: dict[str, Any]) -> None:
    """As the kernel sees it, not as the unit file says."""
    status = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{report['pid']}/status").splitlines())
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert set(status["Uid"].split()) == {host.check_output("id -u probe")}
    assert report["umask"] == 0o027
    assert report["folder"] == "/srv/probe/releases/1.0.0-00000000"


def test_its_temporary_files_are_its_own(host: Any, report: dict[str, Any]) -> None:
    """What it wrote to /tmp is nowhere that others look."""
    assert report["attempts"]["write /tmp"] == "done"
    assert not host.file("/tmp/attempt").exists


def test_systemd_counts_it_among_the_well_protected(host: Any) -> None:
    """`systemd-analyze security` scores 0 (best) to 10; Debian's own services have more than 9."""
    for unit, most in (("probe-web", 1.5), ("probe-worker", 1.5), ("probe-agent", 1.3)):
        said = host.check_output(f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
        assert float(said.split(":")[1].split()[0]) <= most, said


def test_every_value_arrives_as_it_was_written(report: dict[str, Any]) -> None:
    """Quotes, dollars, backslashes, lines: through YAML, the environment file and systemd."""
    wanted = yaml.safe_load((HERE / "vars" / "environment.yml").read_text(encoding="utf-8"))
    variables = {**wanted["app_environment"], **wanted["app_secrets"]}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in variables.items()}
    assert {name: report["environment"].get(name) for name in texts} == texts
    assert report["environment"]["PORT"] == "8000"
    assert len(texts) >= 12


def test_nobody_else_reads_the_secrets(host: Any) -> None:
    """Not another account, not the application's neighbours, not a glance into the process."""
    may = "setpriv --reuid={account} --regid={account} --clear-groups test -{what} {path}"
    kept = host.check_output("find /etc/probe/config -type f").split()
    assert "/etc/probe/config/wanted" in kept
    for path in ("/etc/probe/env", "/etc/probe/config", *kept, "/srv/probe/shared", "/var/lib/tossable/probe"):
        for account in ("ops", "sshd", "probe"):
            group = {"sshd": "nogroup"}.get(account, account)
            command = may.format(account=account, what="r", path=path).replace(f"regid={account}", f"regid={group}")
            assert (host.run(command).rc == 0) == (account == "probe" and "/var/lib" not in path), (account, path)
    for path in ("/etc/probe", "/etc/probe/env", "/etc/probe/config", *kept):
        assert host.run(may.format(account="probe", what="w", path=path)).rc != 0, path
    assert "BEGIN KEY" not in host.check_output("journalctl --sync && journalctl --no-pager")


def test_the_account_is_for_nobody_to_log_in(host: Any) -> None:
    """Nor does it own what it runs."""
    assert host.run("su probe -c id").rc != 0
    assert host.run("su -s /bin/sh probe -c 'touch /srv/probe/releases/1.0.0-00000000/web.py'").rc != 0
    assert host.run("su -s /bin/sh probe -c 'ln -sfn /tmp /srv/probe/current'").rc != 0
    assert host.run("su -s /bin/sh probe -c 'touch /srv/probe/shared/by-hand'").rc == 0
    assert not host.file("/nonexistent").exists


def test_the_change_restarted_it_out_of_the_load_balancers(host: Any) -> None:
    """Once, as a transaction: drained, restarted, healthy, ready, and in the host's journal."""
    lines = [json.loads(line) for line in host.check_output("cat /var/lib/tossable/probe/journal.jsonl").splitlines()]
    restarts = [line for line in lines if line.get("kind") == "restart"]
    assert len({line["transaction"] for line in restarts}) == 1
    steps = [line["step"] for line in restarts]
    assert steps == ["begin", "drain", "maint", "switch", "restart", "healthy", "ready", "done"]
    assert restarts[0]["run"].startswith("provision-")


def test_a_host_from_before_configurations_were_kept_is_taken_over_as_it_runs(host: Any) -> None:
    """Its environment stays in force, wanted is the same, nothing was restarted for it (the test before counts), and the next release keeps it."""
    program = "python3 -I /usr/local/lib/tossable/current"
    report = json.loads(host.check_output(f"{program} info probe"))
    assert report["configuration"]["changes"] == []
    assert report["configuration"]["live"] == report["configuration"]["wanted"]
    assert report["drift"] == []
    before = prop(host, "probe-web.service", "MainPID")
    request = json.dumps({"kind": "activate", "release": "1.0.0-00000000", "run": "test", "by": "test", "reason": "test"})
    assert not json.loads(host.check_output(f"{program} transact probe '{request}'"))["changed"]
    assert host.check_output("readlink /etc/probe/env") == f"config/{report['configuration']['live']}"
    assert prop(host, "probe-web.service", "MainPID") == before


def test_after_the_boot_it_came_back_by_itself_and_in_order(host: Any) -> None:
    """Repair, then the processes, then the return into the load balancers."""
    wait_for("ready", 30, lambda: agent(host) == "ready\n")
    assert prop(host, "probe-return.service", "Result") == "success"
    ended = int(prop(host, "probe-repair.service", "ExecMainExitTimestampMonotonic"))
    returned = int(prop(host, "probe-return.service", "ExecMainStartTimestampMonotonic"))
    assert ended > 0
    for process in ("web", "worker"):
        began = int(prop(host, f"probe-{process}.service", "ExecMainStartTimestampMonotonic"))
        assert ended <= began <= returned, process


def test_a_host_that_is_not_in_service_says_so(host: Any) -> None:
    """And every balancer that asks is noted with what it was told."""
    program = "python3 -I /usr/local/lib/tossable/current"
    wait_for("ready", 30, lambda: agent(host) == "ready\n")
    assert not json.loads(host.check_output(f"{program} leave probe")).get("failed")
    assert agent(host) == "maint\n"
    told = wait_for("note", 5, lambda: host.run("grep -l maint /run/tossable-agent-probe/*").stdout.split())
    assert len(told) == 1
    assert told[0].rsplit("/", 1)[1].count(".") == 3
    assert not json.loads(host.check_output(f"{program} return probe")).get("failed")
    assert agent(host) == "ready\n"


def test_without_a_word_the_host_is_in_maintenance(host: Any) -> None:
    """Nobody is sent to a host that has not said that it is ready."""
    wait_for("ready", 30, lambda: agent(host) == "ready\n")
    try:
        host.check_output("mv /run/tossable/probe/state /run/tossable/probe/away")
        assert agent(host) == "maint\n"
    finally:
        host.check_output("mv /run/tossable/probe/away /run/tossable/probe/state")
    assert agent(host) == "ready\n"


def test_an_agent_that_dies_is_back_and_forgets_nothing(host: Any) -> None:
    """The socket stays with systemd, so who asks meanwhile waits a moment instead of being refused."""
    wait_for("ready", 30, lambda: agent(host) == "ready\n")
    wait_for("note", 5, lambda: host.run("ls /run/tossable-agent-probe/").stdout.split())
    before = host.check_output("ls /run/tossable-agent-probe/")
    host.check_output("systemctl kill --signal=KILL probe-agent.service")
    assert agent(host) == "ready\n"
    assert host.check_output("ls /run/tossable-agent-probe/") == before


def test_a_process_that_dies_is_started_again(host: Any) -> None:
    """However it ended."""
    for signal in ("KILL", "TERM"):
        pid = wait_for("worker", 10, lambda: prop(host, "probe-worker.service", "MainPID").strip("0\n"))
        host.check_output(f"systemctl kill --kill-whom=main --signal={signal} probe-worker.service")
        wait_for("new worker", 10, partial(runs_anew, host, pid))
    host.check_output("systemctl restart probe-worker.service")


def test_a_signer_who_is_not_listed_is_not_trusted(host: Any) -> None:
    """By the file that the host program is told to use."""
    config = json.loads(host.check_output("cat /etc/tossable/probe.json"))
    host.check_output("mkdir -m 700 /root/signing && ssh-keygen -q -t ed25519 -N '' -f /root/signing/key && date > /root/signing/data")
    try:
        host.check_output("ssh-keygen -q -Y sign -f /root/signing/key -n artifact@tossable /root/signing/data")
        found = f"ssh-keygen -Y find-principals -s /root/signing/data.sig -f {config['allowed_signers']} || echo nobody"
        assert host.check_output(found).splitlines()[-1] == "nobody"
    finally:
        host.check_output("rm -rf /root/signing")
