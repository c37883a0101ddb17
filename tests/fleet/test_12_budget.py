"""Dead hosts within the budget stop no run; when they come back they run what the fleet runs before anybody sends them a request."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from conftest import LAB, NETWORK, Fleet, environment, long, podman, under_load
from load import Load

FORWARD = ("-e", "version=1.1.0", "-e", "force='another test took it back'")
RECONCILE = "ansible-playbook playbooks/reconcile.yml -e app=storefront"
STOP_SSH, START_SSH = "systemctl stop ssh.socket ssh.service; pkill -KILL -x sshd; true", "systemctl start ssh"
WISH = "/srv/artifacts/storefront/desired-lab.signed"
DROP_IN = "/etc/systemd/system/storefront-web.service.d/slow.conf"
PROGRAM = "/usr/bin/python3 -I /usr/local/lib/tossable/current"
# What HAProxy says of a server; lb1 has no other client for its socket.
ASK = """
import socket, sys
one = socket.socket(socket.AF_UNIX); one.connect("/run/haproxy/admin.sock"); one.sendall(b"show stat\\n")
rows = [line.split(",") for line in b"".join(iter(lambda: one.recv(65536), b"")).decode().splitlines()]
print(next(row[17] for row in rows if row[:2] == ["storefront", sys.argv[1]]))
"""


def budget(hosts: int) -> tuple[str, str]:
    return ("-e", f"rollout_failure_budget={hosts}")


def wait_until(what: str, seconds: float, reached: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def answers(fleet: Fleet, *command: str) -> bool:
    return fleet.run(*command).code == 0


def plug(host: str, action: str) -> None:
    """Kill a machine, or start it again; a connection that ssh kept open to the machine before would only hang."""
    for kept in Path("~/.ansible/cp").expanduser().glob(f"*-{NETWORK.rpartition('.')[0]}.*"):
        kept.unlink(missing_ok=True)
    subprocess.run(podman(action, f"{LAB}-{host}"), env=environment(), check=True, capture_output=True)


def balanced(fleet: Fleet, host: str, status: str) -> None:
    """Wait until the load balancer says this of the host."""
    wait_until(f"{host} {status}", 90, lambda: fleet.on("lb1", f"python3 -c '{ASK}' {host}").startswith(status))


def killed(fleet: Fleet, host: str) -> None:
    plug(host, "kill")
    balanced(fleet, host, "DOWN")


def answered_by(load: Load, since: int) -> set[str | None]:
    """The releases that answered the requests after the first ``since``."""
    load.wait_for(since + 200, 60)
    return {json.loads(line)["release"] for line in load.requests.read_text().splitlines()[since:-1]}


@contextmanager
def killed_in_its_wave(fleet: Fleet, host: str) -> Iterator[None]:
    """Make a host slow to start its application until it boots; the block ends its switch with `plug`."""
    fleet.on(host, f"mkdir -p $(dirname {DROP_IN}) && touch /run/slow")
    fleet.on(host, f"printf '[Service]\\nExecStartPre=/bin/sh -c \"test ! -e /run/slow || sleep 20\"\\n' > {DROP_IN} && systemctl daemon-reload")
    try:
        yield
    finally:
        plug(host, "start")
        fleet.on(host, f"rm -f {DROP_IN} /run/slow && systemctl daemon-reload")


def under_way(fleet: Fleet, host: str) -> bool:
    return '"step": "restart"' in fleet.on(host, "tail -n 1 /var/lib/tossable/storefront/journal.jsonl")


@pytest.fixture(autouse=True)
def whole(fleet: Fleet) -> Iterator[None]:
    """Whatever a test has switched off is on again after it."""
    yield
    for host in fleet.hosts():
        plug(host, "start")
        ssh = podman("exec", f"{LAB}-{host}", "systemctl", "start", "ssh")
        wait_until(f"{host} runs", 60, partial(answers, fleet, *ssh))


@long
def test_a_host_that_is_dead_before_the_run_is_left_out_and_comes_back_on_the_new_release(fleet: Fleet) -> None:
    killed(fleet, "app3")
    with under_load("dead-before", rate=50) as running:
        done = fleet.must("deploy.yml", *FORWARD, *budget(1))
        assert "app3 was left out, it was dead before the run" in done.message()
        assert RECONCILE in done.message().split("The run ended well]")[1]
        assert "app3" in fleet.must("playbooks/status.yml").output
        since = running.sent()
        plug("app3", "start")
        balanced(fleet, "app3", "UP")
        assert answered_by(running, since) == {"1.1.0"}
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.1.0")


def test_a_host_that_dies_in_its_wave_is_left_out_and_comes_back_on_the_new_release(fleet: Fleet) -> None:
    with under_load("dead-in-wave", rate=50) as running:
        with killed_in_its_wave(fleet, "app3"):
            run = fleet.begin("deploy.yml", *FORWARD, *budget(1))
            wait_until("the switch of app3", 180, lambda: under_way(fleet, "app3"))
            plug("app3", "kill")
            shown, _ = run.communicate()
            assert run.returncode == 0, shown
            assert "app3 was left out, it was dead in its wave" in " ".join(shown.split())
            since = running.sent()
            plug("app3", "start")
            balanced(fleet, "app3", "UP")
        assert answered_by(running, since) == {"1.1.0"}
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.1.0")


@long
def test_a_host_that_dies_beyond_the_budget_aborts_the_run_and_the_others_go_back(fleet: Fleet) -> None:
    with under_load("beyond", rate=50) as running, killed_in_its_wave(fleet, "app3"):
        run = fleet.begin("deploy.yml", *FORWARD)
        wait_until("the switch of app3", 180, lambda: under_way(fleet, "app3"))
        plug("app3", "kill")
        shown, _ = run.communicate()
        assert run.returncode == 2, shown
        assert "1 hosts are dead, and rollout_failure_budget lets this run leave out 0" in " ".join(shown.split())
        plug("app3", "start")
        balanced(fleet, "app3", "UP")
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")


@long
def test_more_dead_hosts_than_the_budget_are_refused_before_anything_changes(fleet: Fleet) -> None:
    for host in ("app3", "app4"):
        fleet.on(host, STOP_SSH)
    before = fleet.fingerprint()
    done = fleet.play("deploy.yml", *FORWARD, *budget(1))
    assert done.code == 2
    assert "2 of 4 hosts cannot be reached, and rollout_failure_budget lets a run leave out 1" in done.message()
    assert fleet.fingerprint() == before


@long
def test_reconcile_brings_right_whoever_differs_and_touches_nobody_else(fleet: Fleet) -> None:
    """One host whose ssh was down, so that it went on serving the old release, and one that lost all it had."""
    with under_load("reconcile", rate=50) as running:
        fleet.on("app3", STOP_SSH)
        fleet.must("deploy.yml", *FORWARD, *budget(1))
        fleet.on("app3", START_SSH)
        assert fleet.releases()["app3"] == "1.0.0"
        retire = json.dumps({"kind": "retire", "release": None, "run": "test", "by": "test", "reason": "test"})
        fleet.on("app2", f"{PROGRAM} transact storefront '{retire}' && rm -rf /srv/storefront/releases/* /var/lib/tossable/storefront/journal.jsonl")
        before = fleet.fingerprint()
        shown = fleet.must("playbooks/reconcile.yml").message()
        assert "app3: 1.0.0-" in shown
        assert "app2: nothing -> 1.1.0-" in shown
        after = fleet.fingerprint()
        assert {host for host in after if after[host] != before[host]} == {"app2", "app3"}
        assert "Every host that can be reached was right already." in fleet.must("playbooks/reconcile.yml").message()
        assert fleet.fingerprint() == after
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.1.0")


@long
@pytest.mark.parametrize("forgery", ["another key", "an old file"])
def test_a_desired_state_that_is_forged_or_put_back_is_not_obeyed(fleet: Fleet, forgery: str) -> None:
    """Both name the release before; the old file carries a good signature and a token that the host has seen overtaken."""
    fleet.deploy("1.0.0")
    fleet.on("ops1", f"cp -p {WISH} /root/old.signed")
    fleet.deploy("1.1.0")
    fleet.on("ops1", f"cp -p {WISH} /root/kept.signed")
    sign = "ssh-keygen -q -t ed25519 -N '' -f /root/other && ssh-keygen -q -Y sign -n desired@tossable -f /root/other /root/line"
    forge = {
        "an old file": f"cp /root/old.signed {WISH}",
        "another key": f"rm -f /root/other* /root/line*; head -n 1 /root/old.signed > /root/line && {sign} && cat /root/line /root/line.sig > {WISH}",
    }
    told = {"an old file": "is older than a run that this host has seen since", "another key": "is NOT obeyed"}
    fleet.on("ops1", f"{forge[forgery]} </dev/null && chmod 0644 {WISH}")
    try:
        killed(fleet, "app1")
        plug("app1", "start")
        balanced(fleet, "app1", "UP")
        assert told[forgery] in fleet.on("app1", "journalctl --sync && journalctl --boot --no-pager --unit=storefront-return.service")
        if forgery == "another key":
            assert "is not to be trusted" in fleet.play("playbooks/reconcile.yml").message()
    finally:
        fleet.on("ops1", f"cp -p /root/kept.signed {WISH}")
    fleet.settled("1.1.0")
