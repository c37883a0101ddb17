"""How many hosts stay in service, whatever the waves say."""

from __future__ import annotations

import json
import re

from conftest import Fleet, Scene, tortured

#: All at once is what the inventory asks for; three of the four have to serve at any moment.
GREEDY = json.dumps({"rollout_waves": ["100%"], "rollout_min_healthy": 3})
#: Where both releases of a host read what is wrong with them.
FAULTS = "/srv/storefront/releases/1.0.0-*/FAULT /srv/storefront/releases/1.2.0-*/FAULT"


def wave_is_split(fleet: Fleet) -> None:
    """A wave of all hosts goes one by one where only one may be missing; the way back as well."""
    with tortured("capacity", "a wave of all four, of which three have to serve") as case:
        shown = fleet.deploy("1.1.0", "-e", GREEDY).message()
        assert set(fleet.releases().values()) == {"1.1.0"}, shown
        fleet.must("playbooks/rollback.yml", "-e", GREEDY)
    case.passed(lowest=3)


def some_can_run_neither(fleet: Fleet) -> None:
    """The last wave leaves two hosts out of service, which the release before does not bring back: the two that serve go back one after the other."""
    fleet.deploy("1.2.0", "--tags", "stage")
    last = fleet.hosts()[2:]
    for host in last:
        fleet.on(host, f"for f in {FAULTS}; do printf never-ready > $f; done")
    try:
        with tortured("capacity", "two of four hosts can run neither release") as case:
            wanted = {"version": "1.2.0", "force": "for this test", "rollout_waves": [1, 1, 2], "rollout_min_healthy": 2}
            done = fleet.play("deploy.yml", "-e", json.dumps(wanted))
        assert done.code == 2, done.output
        assert all(f"{host} could not be brought back: " in done.message() for host in last), done.output
        assert set(fleet.releases().values()) == {"1.0.0"}
        # Never none, and fewer than the limit only for as long as a host takes to go back.
        case.passed(lowest=1)
    finally:
        for host in last:
            fleet.on(host, f"for f in {FAULTS}; do : > $f; done")
    shown = fleet.must("playbooks/reconcile.yml").message()
    assert all(re.search(rf"{host}: 1\.0\.0-\w+, which it had, was put right: ", shown) for host in last), shown


SCENES = [
    Scene("a wave that would leave too few is split", wave_is_split),
    Scene("hosts that serve go back one by one where others stay out of service", some_can_run_neither),
]
