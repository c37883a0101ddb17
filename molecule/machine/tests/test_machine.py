# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that was lost or stopped and is back, and one that is thrown away on purpose. Every visit trusts known_hosts alone."""

from __future__ import annotations

import json
import subprocess
from typing import Any, NamedTuple

import pytest
from outside import INVENTORY, ROOT, Run, play, podman, scenario_hosts

SCENARIO = ROOT / "molecule" / "machine"
TARGET, SIBLING = "machine-bookworm", "machine-sibling-bookworm"
LEFT_BEHIND = "/etc/tossable-test"


class Tossed(NamedTuple):
    """A toss that ended, and what podman knew of the machine before."""

    done: Run
    before: dict[str, Any]


def container(host: str) -> dict[str, Any]:
    """What podman knows of a machine."""
    (known,) = json.loads(podman("inspect", scenario_hosts()[host]["machine_name"]))
    return dict(known)


def toss(confirm: str = TARGET, **changes: Any) -> Tossed:
    """Throw the target away, if that is agreed to."""
    before = container(TARGET)
    return Tossed(play(SCENARIO / "toss.yml", changes={"target": TARGET, "confirm": confirm} | changes), before)


def on(host: str, command: str) -> str:
    """What a command prints on a machine, as root, without ssh."""
    return podman("exec", scenario_hosts()[host]["machine_name"], "sh", "-c", command).strip()


def assert_known(host: str, done: Run) -> None:
    """A connection of its own gets in, by the inventory and the host keys that were there before the run that is `done`."""
    command = ["ansible", "-i", str(INVENTORY), host, "-m", "ansible.builtin.raw", "-a", "hostname", "-e", "ansible_control_path=none"]
    visit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert visit.returncode == 0, f"{visit.stdout}{visit.stderr} after {done.output}"
    assert host in visit.stdout


def test_a_machine_is_reached_under_its_name_and_its_key(host: Any) -> None:
    inventory = scenario_hosts()
    (name,) = (name for name, variables in inventory.items() if variables["ansible_host"] == host.backend.hostname)
    assert host.check_output("hostname") == name
    assert host.check_output("id -un") == "root"
    assert host.check_output("systemctl is-system-running") == "running"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"confirm": "machine"}, f"{TARGET} was not touched: the name typed was machine. Type {TARGET}"),
        ({"confirm": ""}, "the name typed was nothing"),
        ({"tossable": [SIBLING]}, f"it keeps what no playbook can make again. Machines that can be tossed: {SIBLING}"),
    ],
    ids=["another name", "no name", "not to be had again"],
)
def test_what_was_not_agreed_to_is_not_touched(changes: dict[str, Any], told: str) -> None:
    done, before = toss(**changes)
    assert done.code != 0
    assert told in done.message()
    assert container(TARGET)["Id"] == before["Id"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"machine_backend": "cloud"}, "roles/machine/tasks/cloud/present.yml does not exist"),
        ({"machine_host_key": "/nowhere/key"}, "Make one with: ssh-keygen -q -t ed25519 -N '' -f /nowhere/key"),
        ({"machine_state": "renewed"}, "value of machine_state must be one of: present, absent"),
    ],
    ids=["backend", "host key", "state"],
)
def test_what_cannot_be_made_is_refused_in_words(changes: dict[str, Any], told: str) -> None:
    before = container(TARGET)["Id"]
    done = play(SCENARIO / "converge.yml", changes=changes)
    assert done.code != 0
    assert told in done.message()
    assert container(TARGET)["Id"] == before


def test_a_machine_that_was_made_and_never_started_gets_its_keys_by_the_next_run() -> None:
    """As after a run that was cut short between the two."""
    podman("rm", "--force", "--time=0", scenario_hosts()[TARGET]["machine_name"])
    cut = play(SCENARIO / "converge.yml", "--limit", TARGET, changes={"machine_account": "nonesuch"})
    assert "has no account nonesuch" in cut.message()
    made = container(TARGET)
    assert not made["State"]["Running"]
    done = play(SCENARIO / "converge.yml", "--limit", TARGET)
    assert done.code == 0, done.output
    assert container(TARGET)["Id"] == made["Id"], "it was made anew, and with that gets its keys anyhow"
    assert_known(TARGET, done)


@pytest.fixture(scope="module", name="unlike")
def _unlike() -> Tossed:
    """A toss while the sibling has something that a new machine does not get, and the machine something that it must lose."""
    on(TARGET, f"echo old > {LEFT_BEHIND}-old")
    on(SIBLING, f"echo more > {LEFT_BEHIND}")
    try:
        return toss()
    finally:
        on(SIBLING, f"rm {LEFT_BEHIND}")


@pytest.fixture(scope="module", name="equal")
def _equal(unlike: Tossed) -> Tossed:
    """A toss with nothing amiss, after that."""
    return toss()


class TestToss:
    """What the toss test promises."""

    def test_what_differs_from_the_sibling_is_named(self, unlike: Tossed) -> None:
        assert unlike.done.code != 0, unlike.done.output
        assert f"{TARGET} differs from {SIBLING}" in unlike.done.message()
        assert f"> file {LEFT_BEHIND} 644 root root" in unlike.done.message()
        assert f"{LEFT_BEHIND}-old" not in unlike.done.message()

    def test_what_equals_its_sibling_is_told_with_the_seconds(self, equal: Tossed) -> None:
        assert equal.done.code == 0, equal.done.output
        assert f"{TARGET} equals {SIBLING} in " in equal.done.message()
        for phase in ("leave", "destroy", "make", "in all"):
            assert f"{phase}: " in equal.done.message()

    def test_it_is_another_machine_at_the_same_address(self, equal: Tossed) -> None:
        after = container(TARGET)
        assert after["Id"] != equal.before["Id"]
        (network,) = after["NetworkSettings"]["Networks"]
        for fact in ("IPAddress", "MacAddress"):
            assert after["NetworkSettings"]["Networks"][network][fact] == equal.before["NetworkSettings"]["Networks"][network][fact]
        assert on(TARGET, f"ls {LEFT_BEHIND}* 2>/dev/null || true") == ""

    def test_whoever_knew_it_knows_it_still(self, equal: Tossed) -> None:
        assert_known(TARGET, equal.done)
