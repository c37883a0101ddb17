"""Two applications on the same hosts: each is released by itself, and neither notices the other."""

from __future__ import annotations

from conftest import BALANCER, Fleet, long, under_load

OTHER = ("-e", "app=pypiserver")
OTHER_URL = f"{BALANCER}:8010/health"


@long
def test_a_second_application_is_released_beside_the_first(fleet: Fleet) -> None:
    before = fleet.journal("storefront")
    fleet.must("playbooks/app.yml", *OTHER)
    for version in ("2.4.1", "2.4.2"):
        fleet.must("playbooks/build.yml", *OTHER, "-e", f"version={version}")
    fleet.deploy("2.4.1", *OTHER)
    with under_load("first-of-two", rate=50.0) as first, under_load("second-of-two", rate=50.0, url=OTHER_URL) as second:
        fleet.deploy("2.4.2", *OTHER)
        fleet.must("playbooks/rollback.yml", *OTHER)
    assert first.summary["failed"] == 0, first.summary
    assert second.summary["failed"] == 0, second.summary
    assert set(fleet.releases("pypiserver").values()) == {"2.4.1"}
    assert fleet.journal("storefront") == before
    fleet.settled("1.0.0")
