"""A fleet that nobody has touched: check mode first, then the first deployment."""

from __future__ import annotations

from conftest import Fleet, long

# The hosts of a group are alike, and provisioning is most of this suite's time.
ONE_OF_EACH = ("--limit", "app1,lb1,ops1")


@long
def test_check_mode_works_on_machines_that_were_never_touched(virgin: Fleet) -> None:
    virgin.must("playbooks/site.yml", "--check", "--diff", *ONE_OF_EACH)


@long
def test_a_second_provisioning_changes_nothing(provisioned: Fleet) -> None:
    shown = provisioned.must("playbooks/site.yml", *ONE_OF_EACH).output
    recap = [line for line in shown.splitlines() if "changed=" in line]
    assert len(recap) == 3, shown
    assert all("changed=0" in line for line in recap), "\n".join(recap)


def test_the_first_deployment_is_foreseen_for_each_host(provisioned: Fleet) -> None:
    shown = provisioned.must("deploy.yml", "-e", "version=1.0.0", "--check", "--diff").output
    assert shown.count("nothing -> 1.0.0") == 4 or shown.count("(already there)") == 4, shown
    assert len(provisioned.hosts()) == 4


def test_the_first_deployment(fleet: Fleet) -> None:
    fleet.settled("1.0.0")
