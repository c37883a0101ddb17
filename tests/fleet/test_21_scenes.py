"""Small stories under load: requests in flight, hosts out of reach, full disks, wrong clocks, rollbacks, the gate, hosts in service. One of
them, chosen by SEED, is played in `make test`; TORTURE=all (make torture-release) plays every one."""

from __future__ import annotations

import pytest
import scene_capacity
import scene_disk_and_clock
import scene_gate
import scene_history
import scene_in_flight
import scene_unreachable
from conftest import TORTURE, Fleet, Scene, sample

SCENES: list[Scene] = [
    *scene_in_flight.SCENES,
    *scene_unreachable.SCENES,
    *scene_disk_and_clock.SCENES,
    *scene_history.SCENES,
    *scene_gate.SCENES,
    *scene_capacity.SCENES,
]


@pytest.mark.torture
@pytest.mark.parametrize("scene", sample([scene for scene in SCENES if TORTURE or scene.short], 1), ids=str)
def test_scene(fleet: Fleet, scene: Scene) -> None:
    scene.play(fleet)
    fleet.settled(scene.ends)
