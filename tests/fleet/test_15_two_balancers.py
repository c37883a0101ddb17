"""Two load balancers: both lose no request in a deployment, and one that dies stops it without harm to the clients of the other."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from conftest import BALANCERS, LAB, LOGS, Fleet, under_load
from load import Load
from test_09_lock import finish, wait_for

#: How an operator leaves out the one that is dead.
WITHOUT = ("-e", json.dumps({"release_balancers": ["lb1"]}))
#: Longer than a run needs that waits for nobody: each question to a dead host ends by ssh's own deadlines (10 and 15 s).
SECONDS = 180


def kill(fleet: Fleet, name: str) -> None:
    """The machine is gone, as when its power is cut: nothing is closed, nobody is told."""
    done = fleet.run("podman", "kill", f"{LAB}-{name}")
    assert done.code == 0, done.output


def revive(fleet: Fleet, name: str) -> None:
    """Start it again, and wait until it sends requests to every host."""
    done = fleet.run("podman", "start", f"{LAB}-{name}")
    assert done.code == 0, done.output
    up = "echo 'show stat' | socat - UNIX-CONNECT:/run/haproxy/admin.sock | grep -c '^storefront,app[0-9]*,.*,UP,'"
    ready = f'for i in $(seq 600); do [ "$({up})" = {len(fleet.hosts())} ] && exit 0; sleep 0.1; done; exit 1'
    fleet.on(name, ready)


def status(balancer: str) -> int:
    """What a client of that load balancer gets."""
    try:
        with urllib.request.urlopen(BALANCERS[balancer], timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def whole(load: Load) -> None:
    """Every request was answered well."""
    assert load.summary["failed"] == 0, load.summary


def test_clients_of_both_lose_no_request(fleet: Fleet) -> None:
    with under_load("both-lb1", 50.0) as one, under_load("both-lb2", 50.0, BALANCERS["lb2"]) as other:
        fleet.deploy("1.1.0")
    for load in (one, other):
        whole(load)
        assert set(load.summary["by_release"]) == {"1.0.0", "1.1.0"}
    fleet.settled("1.1.0")


def test_one_that_is_down_stops_a_deployment_before_it_begins_unless_it_is_left_out(fleet: Fleet) -> None:
    kill(fleet, "lb2")
    try:
        with under_load("one-down") as running:
            before = fleet.fingerprint()
            refused = fleet.play("deploy.yml", "-e", "version=1.1.0", "-e", "force='for this test'")
            assert refused.code == 2
            assert "Nothing was changed" in refused.message()
            assert "Load balancer lb2: The host cannot be reached" in refused.message()
            assert 'leave it out with -e \'{"release_balancers": ["lb1"]}\'' in refused.message().replace('\\"', '"')
            assert "Load balancer lb1" not in refused.message()
            assert fleet.fingerprint() == before
            page = fleet.play("playbooks/maintenance.yml", "-e", "state=on")
            assert page.code != 0
            assert "Nothing was changed at any load balancer" in page.message()
            assert "- lb2: The host cannot be reached" in page.message()
            fleet.deploy("1.1.0", *WITHOUT)
        whole(running)
        assert set(running.summary["by_release"]) == {"1.0.0", "1.1.0"}
    finally:
        revive(fleet, "lb2")
    assert status("lb2") == 200
    fleet.settled("1.1.0")


def test_one_that_dies_in_a_wave_stops_the_deployment_and_nobody_waits_for_it(fleet: Fleet) -> None:
    """Afterwards the release is not known as bad: it was not to blame."""
    fleet.deploy("1.1.0")
    fleet.deploy("1.0.0")
    with under_load("one-dies") as running:
        run = fleet.begin("deploy.yml", "-e", "version=1.1.0")
        began = time.monotonic()
        wait_for(run, "Leave the load balancers, switch, be healthy, return")
        kill(fleet, "lb2")
        try:
            code, shown = finish(run)
            seconds = time.monotonic() - began
        finally:
            revive(fleet, "lb2")
    assert code == 2, shown
    assert "not every load balancer sends requests to it: lb2: The host cannot be reached" in shown, shown
    assert "Every host that had been switched is back on the release it came from" in shown
    assert "did not become healthy" not in shown
    assert seconds < SECONDS, f"{seconds:.0f} s"
    (LOGS / "one-dies.json").write_text(json.dumps({"seconds": round(seconds, 1), **running.summary}) + "\n")
    whole(running)
    assert "1.1.0" in running.summary["by_release"], "the first wave had switched"
    fleet.settled("1.0.0")
    fleet.must("deploy.yml", "-e", "version=1.1.0")
    fleet.settled("1.1.0")


def test_both_show_the_maintenance_page(fleet: Fleet) -> None:
    fleet.must("playbooks/maintenance.yml", "-e", "state=on", "-e", "reason=both")
    try:
        assert [status(name) for name in BALANCERS] == [503, 503]
        assert "storefront is in maintenance at lb1, lb2 since" in fleet.must("playbooks/status.yml").message()
    finally:
        fleet.must("playbooks/maintenance.yml", "-e", "state=off")
    assert [status(name) for name in BALANCERS] == [200, 200]
