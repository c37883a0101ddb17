"""How many hosts stay in service, whatever the waves say."""

from __future__ import annotations

import json

from conftest import Fleet, Scene, tortured

#: All at once is what the inventory asks for; three of the four have to serve at any moment.
GREEDY = json.dumps({"rollout_waves": ["100%"], "rollout_min_healthy": 3})


def wave_is_split(fleet: Fleet) -> None:
    """A wave of all hosts goes one by one where only one may be missing; the way back as well."""
    with tortured("capacity", "a wave of all four, of which three have to serve") as case:
        shown = fleet.deploy("1.1.0", "-e", GREEDY).message()
        assert set(fleet.releases().values()) == {"1.1.0"}, shown
        fleet.must("playbooks/rollback.yml", "-e", GREEDY)
    case.passed(lowest=3)


SCENES = [Scene("a wave that would leave too few is split", wave_is_split)]
