"""Hosts that cannot be reached: an application host before, in and after its wave; the host that keeps the lock and the artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from conftest import Fleet, Scene, tortured
from scene_in_flight import FORWARD, SWITCH
from test_07_killed import serving, when
from test_09_lock import finish, wait_for

# Both ways: what a host still sends would bring the answer of a switch that was under way. The second port is the artifact store's.
CUT = """
nft add table inet cut
nft 'add chain inet cut in { type filter hook input priority -300; }'
nft 'add chain inet cut out { type filter hook output priority -300; }'
nft add rule inet cut in 'tcp dport { 22, 8080 } drop'
nft add rule inet cut out 'tcp sport { 22, 8080 } drop'
"""
MEND = "nft delete table inet cut 2>/dev/null || true"


@contextmanager
def cut_off(fleet: Fleet, host: str) -> Iterator[None]:
    """Nothing reaches the host's ssh or artifacts, or comes from them, on open connections as on new ones."""
    fleet.on(host, CUT)
    try:
        yield
    finally:
        fleet.on(host, MEND)


def host_before(fleet: Fleet) -> None:
    """Refused in words, and nothing has changed."""
    before = fleet.fingerprint()
    with tortured("unreachable", "application host, before") as case, cut_off(fleet, "app3"):
        done = fleet.play(*FORWARD)
    assert done.code == 2
    assert "app3 is down" in done.message(), done.output
    assert fleet.fingerprint() == before
    case.passed(lowest=4)


def host_in_its_wave(fleet: Fleet) -> None:
    """Its own transaction goes on and comes right; the run fails and recovers the others; the same command then brings all right."""
    with tortured("unreachable", "application host, in its wave") as case:
        watched = when("app2", "drain", kill=False)
        run = fleet.begin(*FORWARD)
        assert watched() == 0
        with cut_off(fleet, "app2"):
            code, shown = finish(run)
            serving(fleet)
        assert code == 2, shown
        assert "The host cannot be reached" in shown
        assert "failed on app2" in shown
        assert fleet.releases() == {"app1": "1.0.0", "app2": "1.1.0", "app3": "1.0.0", "app4": "1.0.0"}
        fleet.must(*FORWARD)
    case.passed()
    fleet.settled("1.1.0")
    fleet.deploy("1.0.0")


def host_after_its_wave(fleet: Fleet) -> None:
    """The watch of the last wave misses it: the run fails, recovers whom it can reach and names whom it cannot; then the same command."""
    held = (*FORWARD, "-e", "rollout_hold_seconds=5")
    with tortured("unreachable", "application host, after its wave") as case:
        run = fleet.begin(*held)
        wait_for(run, SWITCH)
        wait_for(run, SWITCH)
        with cut_off(fleet, "app1"):
            code, shown = finish(run)
            serving(fleet)
        assert code == 2, shown
        assert "app1 could not be brought back: The host cannot be reached" in shown, shown
        assert fleet.releases() == {"app1": "1.1.0", "app2": "1.0.0", "app3": "1.0.0", "app4": "1.0.0"}
        fleet.must(*held)
    case.passed()
    fleet.settled("1.1.0")
    fleet.deploy("1.0.0")


def ops_before(fleet: Fleet) -> None:
    """Without the lock nothing begins."""
    before = fleet.fingerprint()
    with tortured("unreachable", "ops host, before") as case, cut_off(fleet, "ops1"):
        done = fleet.play(*FORWARD)
    assert done.code == 2, done.output
    assert "The deployment lock could not be taken, so nothing was changed. The host cannot be reached" in done.message(), done.output
    assert fleet.fingerprint() == before
    case.passed(lowest=4)


def ops_during(fleet: Fleet) -> None:
    """The run goes on while its lease lasts, and says what could not be recorded; run again, it records it."""
    with tortured("unreachable", "ops host, during the waves") as case:
        run = fleet.begin(*FORWARD)
        wait_for(run, SWITCH)
        with cut_off(fleet, "ops1"):
            code, shown = finish(run)
        assert set(fleet.releases().values()) == {"1.1.0"}, shown
        # All hosts are right; what could not be written down is told, and no reason to call that a failure.
        assert code == 0, shown
        assert "The run goes on for as long as its lease lasts" in shown, shown
        assert "It is kept in " in shown, shown
        fleet.must(*FORWARD)
    case.passed()
    fleet.settled("1.1.0")
    fleet.deploy("1.0.0")


SCENES = [
    Scene("an application host before", host_before),
    Scene("an application host in its wave", host_in_its_wave),
    Scene("an application host after its wave", host_after_its_wave),
    Scene("the ops host before", ops_before),
    Scene("the ops host during the waves", ops_during),
]
