"""Two applications on the same hosts: each is released by itself, and neither notices the other."""

from __future__ import annotations

import re
import urllib.request

from conftest import BALANCER, Fleet, long, under_load

OTHER = ("-e", "app=pypiserver")
OTHER_URL = f"{BALANCER}:8010/health"
NODE = ("-e", "app=serve")
NODE_URL = f"{BALANCER}:8020/"


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


@long
def test_a_program_of_node_js_that_is_not_ours_is_released_by_variables_alone(fleet: Fleet) -> None:
    before = fleet.journal("storefront")
    refused = fleet.play("playbooks/app.yml", *NODE, "-e", '{"site_waves": [1]}')
    assert refused.code != 0
    assert "site_waves [1] leaves 3 of 4 hosts" in refused.message()
    prepared = fleet.must("playbooks/app.yml", *NODE, "-e", '{"site_waves": [1, "100%"]}')
    assert prepared.output.count("PLAY [Prepare the application hosts for serve]") == 2, "one host first, then the others"
    for version in ("14.2.6", "14.2.7"):
        fleet.must("playbooks/build.yml", *NODE, "-e", f"version={version}")
    fleet.deploy("14.2.6", *NODE)
    with under_load("first-beside-node", rate=50.0) as first, under_load("node", rate=50.0, url=NODE_URL) as node:
        fleet.deploy("14.2.7", *NODE)
        assert "serve 14.2.7" in page(NODE_URL)
        fleet.must("playbooks/rollback.yml", *NODE)
    assert first.summary["failed"] == 0, first.summary
    assert node.summary["failed"] == 0, node.summary
    assert "serve 14.2.6" in page(NODE_URL)
    assert set(fleet.releases("serve").values()) == {"14.2.6"}
    for host in fleet.hosts():
        report = fleet.info(host, "serve")
        assert (report["drift"], report["unfinished"], report["healthy"], report["balancer_word"]) == ([], None, True, "ready"), report
    status = fleet.must("playbooks/status.yml", *NODE)
    assert re.findall(r"(app\d) +14\.2\.6-[0-9a-f]{8} ", status.message()) == fleet.hosts(), status.output
    assert fleet.journal("storefront") == before
    fleet.settled("1.0.0")


def page(url: str) -> str:
    """What a user is shown."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        shown: str = answer.read().decode()
    return shown
