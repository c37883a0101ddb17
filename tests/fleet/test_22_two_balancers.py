"""A second load balancer: both lose no request in a deployment, and one that dies stops it without harm to the clients of the other."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator

import pytest
from conftest import LAB, NETWORK, Fleet, lab, long, podman, tortured, under_load
from load import Load
from test_09_lock import finish, wait_for

#: Where clients reach the second one: the lab gives lb2 .12.
OTHER = f"http://{ipaddress.ip_network(NETWORK)[12]}/"
#: How an operator leaves out the one that is dead.
WITHOUT = ("-e", json.dumps({"release_balancers": ["lb1"]}))
#: Longer than a run needs that waits for nobody: each question to a dead host ends by ssh's own deadlines (10 and 15 s).
SECONDS = 180


@pytest.fixture(scope="module")
def grown(provisioned: Fleet) -> Iterator[Fleet]:
    """The fleet with a second load balancer, for the tests of this file."""
    made = lab(provisioned, "present", load_balancers=2)
    assert made.code == 0, made.output
    provisioned.must("playbooks/site.yml")
    yield provisioned
    lab(provisioned, "present")
    provisioned.must("playbooks/site.yml")


@pytest.fixture
def pair(grown: Fleet, fleet: Fleet) -> Fleet:
    """The same, on release 1.0.0."""
    return fleet


def kill(fleet: Fleet, name: str) -> None:
    """The machine is gone, as when its power is cut: nothing is closed, nobody is told."""
    done = fleet.run(*podman("kill", f"{LAB}-{name}"))
    assert done.code == 0, done.output


def revive(fleet: Fleet, name: str) -> None:
    """Start it again, and wait until it sends requests to every host."""
    done = fleet.run(*podman("start", f"{LAB}-{name}"))
    assert done.code == 0, done.output
    up = "echo 'show stat' | socat - UNIX-CONNECT:/run/haproxy/admin.sock | grep -c '^storefront,app[0-9]*,.*,UP,'"
    ready = f'for i in $(seq 600); do [ "$({up})" = {len(fleet.hosts())} ] && exit 0; sleep 0.1; done; exit 1'
    fleet.on(name, ready)


def whole(load: Load) -> None:
    """Every request was answered well."""
    assert load.summary["failed"] == 0, load.summary


@long
@pytest.mark.torture
def test_clients_of_both_lose_no_request(pair: Fleet) -> None:
    with tortured("two load balancers", "a deployment") as case, under_load("both-lb2", 50.0, OTHER) as other:
        pair.deploy("1.1.0")
    whole(other)
    for load in (case.running, other):
        assert set(load.summary["by_release"]) == {"1.0.0", "1.1.0"}
    case.passed(requests_of_the_other=other.summary["requests"])
    pair.settled("1.1.0")


@long
@pytest.mark.torture
def test_one_that_is_down_stops_a_deployment_before_it_begins_unless_it_is_left_out(pair: Fleet) -> None:
    kill(pair, "lb2")
    try:
        with tortured("two load balancers", "one is down before") as case:
            before = pair.fingerprint()
            refused = pair.play("deploy.yml", "-e", "version=1.1.0", "-e", "force='for this test'")
            assert refused.code == 2
            assert "Nothing was changed" in refused.message()
            assert "Load balancer lb2: The host cannot be reached" in refused.message()
            assert 'leave it out with -e \'{"release_balancers": ["lb1"]}\'' in refused.message().replace('\\"', '"')
            assert "Load balancer lb1" not in refused.message()
            assert pair.fingerprint() == before
            pair.deploy("1.1.0", *WITHOUT)
        assert set(case.summary["by_release"]) == {"1.0.0", "1.1.0"}
    finally:
        revive(pair, "lb2")
    case.passed()
    pair.settled("1.1.0")


@long
@pytest.mark.torture
def test_one_that_dies_in_a_wave_stops_the_deployment_and_nobody_waits_for_it(pair: Fleet) -> None:
    """Afterwards the release is not known as bad: it was not to blame."""
    pair.deploy("1.1.0")
    pair.deploy("1.0.0")
    with tortured("two load balancers", "one dies in a wave") as case:
        run = pair.begin("deploy.yml", "-e", "version=1.1.0")
        began = time.monotonic()
        wait_for(run, "Leave the load balancers, switch, be healthy, return")
        kill(pair, "lb2")
        try:
            code, shown = finish(run)
            seconds = time.monotonic() - began
        finally:
            revive(pair, "lb2")
    assert code == 2, shown
    assert "not every load balancer sends requests to it: lb2: The host cannot be reached" in shown, shown
    assert "Every host that had been switched is back on the release it came from" in shown
    assert "did not become healthy" not in shown
    assert seconds < SECONDS, f"{seconds:.0f} s"
    assert "1.1.0" in case.summary["by_release"], "the first wave had switched"
    case.passed(seconds=round(seconds, 1))
    pair.settled("1.0.0")
    pair.must("deploy.yml", "-e", "version=1.1.0")
    pair.settled("1.1.0")
