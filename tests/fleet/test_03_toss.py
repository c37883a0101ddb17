"""Machines that are thrown away and come back, equal to their siblings."""

from __future__ import annotations

import re

from conftest import Fleet, long, under_load


def phases(output: str) -> dict[str, float]:
    """Seconds of each phase as the run shows them."""
    return {name: float(seconds) for name, seconds in re.findall(r"- '?([a-z ]+): ([0-9.]+) s", output)}


def test_an_application_host_is_tossed_without_a_failed_request(fleet: Fleet) -> None:
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
    fleet.must("playbooks/rollback.yml")
    fleet.settled("1.0.0")


@long
def test_the_load_balancer_is_tossed_and_serves_again(fleet: Fleet) -> None:
    shown = fleet.must("playbooks/toss.yml", "-e", "target=lb1", "-e", "confirm=lb1").output
    assert "in all" in phases(shown)
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
