"""Machines that are thrown away and come back, equal to their siblings."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Fleet, long, under_load
from test_04_refusals import broken, refused


def phases(output: str) -> dict[str, float]:
    """Seconds of each phase as the run shows them."""
    return {name: float(seconds) for name, seconds in re.findall(r"- '?([a-z ]+): ([0-9.]+) s", output)}


def ask_lock(asked: dict[str, object]) -> str:
    """The command that does something with the lock, on the host that keeps it."""
    return f"python3 -I /usr/local/lib/tossable/current lock storefront '{json.dumps({'environment': 'lab', **asked})}'"


def seen_down(fleet: Fleet, host: str) -> None:
    """Wait until no load balancer sends requests to the host."""
    deadline = time.monotonic() + 30
    while any(servers[host].startswith("UP") for servers in fleet.statuses().values()):
        assert time.monotonic() < deadline, f"{host} is still up: {fleet.statuses()}"
        time.sleep(0.2)


@pytest.fixture
def switched(fleet: Fleet) -> Iterator[dict[str, Any]]:
    """The checkout is switched to another state than the declared one; what every host is to hold meanwhile."""
    of_it = ("playbooks/flag.yml", "-e", "flag=checkout")
    fleet.must(*of_it, "-e", "state=on", "-e", "reason='before the toss'")
    live = flags(fleet, "ops1")
    assert live["flags"]["checkout"]["defaultVariant"] == "on"
    yield live
    fleet.must(*of_it, "-e", "state=reset")
    assert flags(fleet, "ops1")["flags"]["checkout"]["defaultVariant"] == "off", "the test has seen the declared state, not a live one"


def flags(fleet: Fleet, host: str) -> dict[str, Any]:
    """The flags that the host holds."""
    found: dict[str, Any] = json.loads(fleet.on(host, "cat /var/lib/tossable/flags/flags.json"))
    return found


def test_an_application_host_is_tossed_without_a_failed_request(fleet: Fleet, switched: dict[str, Any]) -> None:
    """It comes back with the release that the fleet runs, and the flags as they are switched, not as they are declared."""
    fleet.deploy("1.1.0")
    with under_load("toss") as running:
        shown = fleet.must("playbooks/toss.yml", "-e", "target=app2", "-e", "confirm=app2").output
    assert running.summary["failed"] == 0, running.summary
    assert "app2 equals app1" in shown
    assert set(phases(shown)) == {"leave", "destroy", "make", "provision and join", "in all"}, shown
    fleet.settled("1.1.0")
    noted = fleet.ledger()[-1]
    assert (noted["event"], noted["kind"]) == ("noted", "toss")
    assert re.fullmatch(r"app2 was destroyed and made anew in \d+\.\d s", noted["text"])
    assert {host: flags(fleet, host) for host in fleet.hosts()} == dict.fromkeys(fleet.hosts(), switched)
    fleet.must("playbooks/rollback.yml")
    fleet.settled("1.0.0")


@long
def test_a_host_of_a_mixed_fleet_comes_back_to_what_the_fleet_runs(fleet: Fleet) -> None:
    """Its first sibling is a canary of another release."""
    fleet.deploy("1.0.0")
    fleet.deploy("1.1.0", "--limit", "app1")
    shown = fleet.must("playbooks/toss.yml", "-e", "target=app2", "-e", "confirm=app2").output
    assert "app2 equals app3" in shown
    assert fleet.releases() == {"app1": "1.1.0", "app2": "1.0.0", "app3": "1.0.0", "app4": "1.0.0"}
    fleet.must("playbooks/reconcile.yml")
    fleet.settled("1.0.0")


@long
def test_the_load_balancer_is_tossed_and_serves_again(fleet: Fleet) -> None:
    """It is the only one, so it is compared with itself; and an application that was in maintenance still is."""
    fleet.must("playbooks/maintenance.yml", "-e", "state=on", "-e", "message='Back at six.'", "-e", "reason='the database moves'", "-e", "by=ada")
    shown = fleet.must("playbooks/toss.yml", "-e", "target=lb1", "-e", "confirm=lb1").output
    assert "in all" in phases(shown)
    assert "lb1 equals what it was before" in shown
    told = fleet.must("playbooks/status.yml").message()
    assert "storefront is in maintenance at lb1 since 20" in told
    assert 'by ada, because: the database moves; clients read: "Back at six."' in told
    fleet.must("playbooks/maintenance.yml", "-e", "state=off")
    fleet.settled("1.0.0")


def test_nothing_is_tossed_while_somebody_deploys(fleet: Fleet) -> None:
    words = ("run", "by", "reason", "what", "account", "controller", "boot", "namespace")
    taken = {"operation": "acquire", "owner": {**dict.fromkeys(words, "another"), "pid": 1, "started": 0}, "seconds": 120}
    with broken(fleet, "ops1", ask_lock(taken), ask_lock({"operation": "break", "by": "ada", "reason": "nobody has it"})):
        assert fleet.lock() is not None
        options = ("-e", "target=app2", "-e", "confirm=app2", "-e", "lock_wait=0")
        refused(fleet, "another run has the lock of storefront in lab: another", options=options, playbook="playbooks/toss.yml")


def test_a_host_that_the_others_cannot_do_without_is_not_tossed(fleet: Fleet) -> None:
    """Three of four are to stay, and one is down already."""
    options = ("-e", "target=app2", "-e", "confirm=app2", "-e", "rollout_min_healthy=3")
    with broken(fleet, "app3", "systemctl stop storefront-web.service", "systemctl start storefront-web.service"):
        seen_down(fleet, "app3")
        told = ("app2 was not touched: without it 2 of 4 hosts would be in service", "Not in service: app3 (lb1 says DOWN", "-e \"force='why'\"")
        refused(fleet, *told, options=options, playbook="playbooks/toss.yml")
        assert fleet.lock() is None
    fleet.settled("1.0.0")


@long
def test_a_host_that_serves_and_cannot_be_asked_to_leave_is_not_tossed(fleet: Fleet) -> None:
    """Requests reach it, and it does not know any more which application it was prepared for."""
    described, kept = "/etc/tossable/storefront.json", "/root/storefront.json"
    with broken(fleet, "app2", f"mv {described} {kept}", f"mv {kept} {described}"):
        told = ("app2 was not touched: it is sent requests, and cannot be asked to leave the load balancers first.", "-e \"force='why'\"")
        refused(fleet, *told, options=("-e", "target=app2", "-e", "confirm=app2"), playbook="playbooks/toss.yml")
        assert fleet.lock() is None
    fleet.settled("1.0.0")


def test_a_toss_without_its_name_typed_touches_nothing(fleet: Fleet) -> None:
    before = fleet.fingerprint()
    done = fleet.play("playbooks/toss.yml", "-e", "target=app2")
    assert done.code != 0
    assert "give -e confirm=app2" in done.message()
    assert fleet.fingerprint() == before


def test_the_host_that_keeps_the_artifacts_is_not_tossed(fleet: Fleet) -> None:
    done = fleet.play("playbooks/toss.yml", "-e", "target=ops1", "-e", "confirm=ops1")
    assert done.code != 0
    assert "keeps what no playbook can make again" in done.message()


def test_a_machine_that_is_not_there_is_not_tossed(fleet: Fleet) -> None:
    done = fleet.play("playbooks/toss.yml", "-e", "target=app9", "-e", "confirm=app9")
    assert done.code != 0
    assert "There is no host 'app9'" in done.message()
