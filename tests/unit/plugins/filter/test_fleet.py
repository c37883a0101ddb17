"""What the playbooks show and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.tossable.fleet.plugins.filter import fleet

GROUPS = {"all": ["app1", "lb1"], "app": ["app1"], "lb": ["lb1"], "ops": []}


def report(**more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"reachable": True, "trouble": None, "live": "1-a", "since": "now", "by": "ada", "healthy": True, "drift": []}
    return {**usual, **more}


def balancer(**status: str) -> dict[str, Any]:
    return {"backends": {"shop": {host: {"status": word} for host, word in status.items()}}}


def test_a_group_without_hosts_is_named_with_what_to_run() -> None:
    with pytest.raises(AnsibleFilterError, match=r"'ops' \(groups with hosts: app, lb\), which keeps the artifacts.*Add one to the inventory"):
        fleet.required_group(GROUPS, "ops")
    with pytest.raises(AnsibleFilterError, match="'ops'"):
        fleet.required_group(GROUPS, "app", "lb", "ops")
    assert fleet.required_group(GROUPS, "app", "lb") == "app"
    assert fleet.required_group(GROUPS, "app") == "app"


def test_an_application_is_a_file_beside_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "shop.yml").touch()
    assert fleet.application_file(str(tmp_path), "shop") == f"{tmp_path}/apps/shop.yml"
    assert fleet.application_file("", "") == "/dev/null"
    with pytest.raises(AnsibleFilterError, match=r"no application 'blog'.*there are: shop"):
        fleet.application_file(str(tmp_path), "blog")


@pytest.mark.parametrize(("name", "told"), [("", "-e target=NAME"), ("app9", "no host 'app9'")])
def test_a_machine_that_is_not_there_cannot_be_meant(name: str, told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=told):
        fleet.known_host(GROUPS, name)


def test_hosts_become_servers_of_a_backend() -> None:
    hostvars = {"app1": {"ansible_host": "10.0.0.1"}, "app2": {}}
    assert fleet.servers(["app1"], hostvars, 8000, 8001) == [{"name": "app1", "address": "10.0.0.1", "port": 8000, "agent_port": 8001}]
    assert fleet.servers(["app2"], hostvars, 8000) == [{"name": "app2", "address": "app2", "port": 8000}]


def test_a_wrong_wave_list_is_an_error_in_words() -> None:
    assert fleet.wave_sizes([1, "100%"], 3) == [1, 2]
    with pytest.raises(AnsibleFilterError, match=r"rollout_waves \[1\] leaves 2 of 3 hosts"):
        fleet.wave_sizes([1], 3)
    with pytest.raises(AnsibleFilterError, match="site_waves holds 'half'"):
        fleet.wave_sizes(["half"], 3, "site_waves")


def test_a_version_that_is_a_number_is_no_version() -> None:
    assert fleet.version_list("1.3.9, 1.4", "give_up") == ["1.3.9", "1.4"]
    assert fleet.version_list(["1.10"], "give_up") == ["1.10"]
    assert fleet.version_list("", "give_up") == []
    for wrong in (1.10, 2, [1.10]):
        with pytest.raises(AnsibleFilterError, match=r"give_up is not text but .*Quote it.*-e give_up=1\.10"):
            fleet.version_list(wrong, "give_up")


def test_who_is_not_served_is_named_for_each_balancer() -> None:
    balancers = {"lb1": balancer(app1="UP", app2="MAINT"), "lb2": {"trouble": "down"}}
    assert fleet.not_serving(balancers, "shop", ["app1", "app2", "app3"]) == ["lb1: app2 is MAINT", "lb1: app3 is absent", "lb2: down"]


def test_the_status_table_shows_the_odd_one_out() -> None:
    reports = {"app1": report(), "app2": report(), "app3": report(live="0-z"), "app4": {"reachable": False, "trouble": "no route\nat all"}}
    lines = fleet.status_table(reports, {"lb1": balancer(app1="UP", app2="UP", app3="UP")}, "shop")
    assert lines[0].split() == ["host", "release", "since", "by", "health", "balancers", "drift"]
    assert lines[1].split() == ["app1", "1-a", "now", "ada", "healthy", "lb1", "UP", "none"]
    assert lines[3].endswith("the fleet runs 1-a")
    assert lines[4].split()[-2:] == ["no", "route"]
    assert "down" in lines[4]
