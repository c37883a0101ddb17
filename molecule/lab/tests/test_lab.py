# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab as its users meet it: made, mended, grown, shrunk, removed, and not made where that cannot work."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from outside import ROOT, play, podman

PLAYBOOK = ROOT / "molecule" / "lab" / "converge.yml"
PREFIX = f"molecule-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}-lab"
FOLDER = ROOT / "build" / "labs" / "molecule-lab"
APP1, APP2, APP3 = ({"name": f"app{n}", "groups": ["app"], "number": 20 + n} for n in (1, 2, 3))


def lab(*options: str, **changes: Any) -> str:
    """Make the scenario's lab once more, with some variables changed; return what was said."""
    done = play(PLAYBOOK, *options, changes=changes)
    assert done.code == 0, done.output
    return done.output


def containers(prefix: str = PREFIX) -> dict[str, dict[str, Any]]:
    """The machines there are, by the name in the lab: what podman knows of each."""
    names = podman("ps", "--all", "--filter", f"name=^{prefix}-", "--format", "{{.Names}}").split()
    known = json.loads(podman("inspect", *names)) if names else []
    return {machine["Name"].removeprefix(f"{prefix}-"): machine for machine in known}


def running() -> set[str]:
    """The machines that run."""
    return {name for name, machine in containers().items() if machine["State"]["Running"]}


def network(name: str = PREFIX) -> dict[str, Any] | None:
    """The network of that name, if there is one."""
    networks = json.loads(podman("network", "ls", "--format", "json"))
    return next((known for known in networks if known["name"] == name), None)


def everything() -> dict[str, Any]:
    """What must stay as it is where nothing is to change."""
    files = {str(path): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file() and not path.is_symlink()}
    machines = {name: (machine["Id"], machine["State"]["StartedAt"], machine["State"]["Running"]) for name, machine in containers().items()}
    return {"files": files, "machines": machines, "network": network()}


def inventory() -> dict[str, Any]:
    """The hosts of the group `app` that the inventory names."""
    hosts: dict[str, Any] = yaml.safe_load((FOLDER / "inventory" / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]["app"]["hosts"]
    return hosts


def knock(name: str, command: str = "hostname", key: Path = FOLDER / "id_ed25519") -> subprocess.CompletedProcess[str]:
    """Log in with the lab's key, trusting nobody but known_hosts, on a connection of its own."""
    options = ["BatchMode=yes", "IdentitiesOnly=yes", "ControlPath=none", "ConnectTimeout=5", "StrictHostKeyChecking=yes", "LogLevel=ERROR"]
    options += [f"UserKnownHostsFile={FOLDER / 'known_hosts'}", "GlobalKnownHostsFile=/dev/null"]
    argv = ["ssh", "-F", "none", *(word for option in options for word in ("-o", option)), "-i", str(key), "-l", "ops"]
    return subprocess.run([*argv, inventory()[name]["ansible_host"], command], capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def made() -> None:
    """The lab as converge.yml makes it, whatever the test before has done to it."""
    if running() != {"app1", "app2"}:
        lab()


@pytest.mark.usefixtures("made")
class TestMachines:
    """What there is when the playbook has ended."""

    def test_each_runs_at_its_address_under_its_name(self) -> None:
        made = network()
        assert made is not None
        prefix = made["subnets"][0]["subnet"].removesuffix("0/24")
        for name, number in (("app1", 21), ("app2", 22)):
            machine = containers()[name]
            assert machine["NetworkSettings"]["Networks"][PREFIX]["IPAddress"] == f"{prefix}{number}"
            assert machine["Config"]["Hostname"] == name
            assert inventory()[name]["ansible_host"] == f"{prefix}{number}"

    def test_the_key_opens_each_and_each_is_known_before_the_first_visit(self) -> None:
        for name in ("app1", "app2"):
            visit = knock(name, "hostname && sudo -n id -u && systemctl is-system-running")
            assert visit.stdout.split() == [name, "0", "running"], visit.stderr

    def test_another_key_opens_none(self, tmp_path: Path) -> None:
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        assert "Permission denied" in knock("app1", key=key).stderr

    def test_keys_are_for_their_owner_alone(self) -> None:
        modes = {path.name: path.stat().st_mode & 0o777 for path in [FOLDER / "id_ed25519", FOLDER / "signing_key", *FOLDER.glob("host_keys/app?")]}
        assert modes == dict.fromkeys(["id_ed25519", "signing_key", "app1", "app2"], 0o600)

    def test_the_inventory_leads_ansible_to_each_and_shares_the_variables_of_the_lab(self) -> None:
        command = ["ansible", "-i", str(FOLDER / "inventory"), "app", "-m", "ansible.builtin.raw", "-a", "echo {{ app }} $(hostname)"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in ("app1", "app2"):
            assert f"storefront {name}" in done.stdout


class TestAgain:
    """What another run does, with the same wish or another."""

    @pytest.mark.usefixtures("made")
    def test_check_mode_says_what_would_be_done_and_does_nothing(self) -> None:
        before = everything()
        said = lab("--check", lab_machines=[APP1, APP3])
        assert f"changed: [{PREFIX}-app3 -> localhost]" in said
        assert re.search(rf"Remove {PREFIX}-app2\]\W+changed: ", said), said
        assert re.search(rf"{PREFIX}-app1 .* changed=0 ", said), said
        assert everything() == before

    @pytest.mark.usefixtures("made")
    def test_what_is_stopped_or_lost_is_mended(self) -> None:
        before = containers()
        podman("stop", "--time=0", f"{PREFIX}-app1")
        podman("rm", "--force", "--time=0", f"{PREFIX}-app2")
        lab()
        assert running() == {"app1", "app2"}
        assert containers()["app1"]["Id"] == before["app1"]["Id"], "what was only stopped has been made anew"
        assert knock("app2").stdout.strip() == "app2", "the host key has changed"

    @pytest.mark.usefixtures("made")
    def test_it_grows_and_shrinks_by_the_list(self) -> None:
        before = containers()
        lab(lab_machines=[APP1, APP3])
        assert running() == set(containers()) == {"app1", "app3"} == set(inventory())
        assert containers()["app1"]["Id"] == before["app1"]["Id"]
        assert knock("app3").stdout.strip() == "app3"
        assert "app2" not in (FOLDER / "known_hosts").read_text(encoding="utf-8")

    def test_nothing_is_left_when_it_is_gone(self) -> None:
        """Where the test before has left a machine more or less, that goes too."""
        if "app1" not in running():
            lab()
        volumes = podman("volume", "ls", "--quiet")
        before = everything()
        lab("--check", lab_state="absent")
        assert everything() == before
        lab(lab_state="absent", lab_only="app1")
        assert set(containers()) == set(before["machines"]) - {"app1"} != set()
        lab(lab_state="absent")
        assert containers() == {}
        assert network() is None
        assert not FOLDER.exists()
        assert podman("volume", "ls", "--quiet") == volumes


NAME = "molecule-never"


def nothing_was_made() -> bool:
    """Of the lab that these tests ask for in vain."""
    return containers(NAME) == {} and network(NAME) is None and not (ROOT / "build" / "labs" / NAME).exists()


class TestNotMade:
    """A lab that is only thought of, or that cannot be."""

    def test_check_mode_names_the_machines_of_a_fleet_that_is_not_there(self) -> None:
        done = play(ROOT / "playbooks" / "lab.yml", "--check", changes={"lab_name": NAME, "lab_app_servers": 1})
        assert done.code == 0, done.output
        for name in ("lb1", "ops1", "app1"):
            assert f"changed: [{NAME}-{name} -> localhost]" in done.message()
        assert nothing_was_made()

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"lab_name": "My Lab"}, "lab_name is My Lab: use lower-case letters"),
            ({"lab_network": "10.77.60.0/16"}, "give a /24 such as 10.77.10.0/24"),
            ({"lab_app_servers": 21}, "lab_app_servers is 21 and lab_load_balancers is 1: the plan of addresses has room for 1 to 20"),
            ({"lab_only": "app9"}, "lab_only names app9, but the lab's machines are ops1, lb1"),
            ({"lab_image": "localhost/tossable-lab:nonesuch"}, "Build it with: tools/lab-image nonesuch"),
        ],
    )
    def test_what_cannot_be_is_refused_in_words(self, changes: dict[str, Any], told: str) -> None:
        done = play(ROOT / "playbooks" / "lab.yml", changes={"lab_name": NAME} | changes)
        assert done.code != 0
        assert told in done.message()
        assert nothing_was_made()

    def test_addresses_that_are_taken_are_refused(self) -> None:
        """Those of the other scenarios' network."""
        taken = network(PREFIX.removesuffix("-lab"))
        assert taken is not None
        done = play(ROOT / "playbooks" / "lab.yml", changes={"lab_name": NAME, "lab_network": taken["subnets"][0]["subnet"]})
        assert done.code != 0
        assert "Addresses that are taken: give others with lab_network" in done.message()
        assert nothing_was_made()

    @pytest.mark.skipif(os.getuid() != 0, reason="sudo would not take the program that stands in for the kernel's answer")
    def test_more_than_the_kernel_lets_boot_is_refused(self, tmp_path: Path) -> None:
        """The kernel's answer is played: to use up its instances would hurt every other host of this machine."""
        (tmp_path / "python3").write_text("#!/bin/sh\necho left 3\n", encoding="utf-8")
        (tmp_path / "python3").chmod(0o755)
        done = play(ROOT / "playbooks" / "lab.yml", changes={"lab_name": NAME}, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.code != 0
        assert "could not boot 6 more hosts" in done.message()
        assert "sudo sysctl -w fs.inotify.max_user_instances=1024" in done.message()
        assert nothing_was_made()
