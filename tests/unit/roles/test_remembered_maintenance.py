# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer that is made anew begins with the maintenance that the others show, and one that knows is not told by them.

Each load balancer is a folder on this machine; nobody listens where `gone` is said to be.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, environment

HERE = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
NOBODY = {"ansible_host": "127.0.0.1", "ansible_port": 1}
ON, OTHER = "storefront 300|e30=|\n", "blog 60|e30=|\n"


def part(name: str) -> dict[str, object]:
    """A task that runs a part of the role."""
    return {"import_role": {"name": "tossable.fleet.load_balancer", "tasks_from": name}}


REMEMBER = [part("remember")]
TOSS: list[dict[str, object]] = [part("keep"), {"file": {"path": "{{ __load_balancer_maintenance_map }}", "state": "absent"}}, *REMEMBER]


def remember(
    folder: Path, hosts: dict[str, str | None], *options: str, tasks: list[dict[str, object]] = REMEMBER, **variables: object
) -> dict[str, str | None]:
    """Run this on load balancers with these maps (None: it has none), and return the maps that they have then."""
    for name, text in hosts.items():
        (folder / name).mkdir()
        if text is not None:
            (folder / name / "maintenance.map").write_text(text)
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all:!gone", "gather_facts": False, "tasks": tasks}]))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(hosts, HERE) | {"gone": NOBODY}}}))
    given = {"__load_balancer_maintenance_map": f"{folder}/{{{{ item | default(inventory_hostname) }}}}/maintenance.map", **variables}
    command = ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), "-e", json.dumps(given), *options]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    maps = {name: folder / name / "maintenance.map" for name in hosts}
    return {name: path.read_text() if path.exists() else None for name, path in maps.items()}


def test_one_that_was_made_anew_begins_with_what_the_others_show(tmp_path: Path) -> None:
    assert remember(tmp_path, {"lb1": ON, "lb2": None}) == {"lb1": ON, "lb2": ON}


def test_one_that_knows_is_not_told_by_the_others(tmp_path: Path) -> None:
    assert remember(tmp_path, {"lb1": ON, "lb2": ""}) == {"lb1": ON, "lb2": ""}


def test_a_fleet_that_is_provisioned_for_the_first_time_has_none(tmp_path: Path) -> None:
    assert remember(tmp_path, {"lb1": None, "lb2": None}) == {"lb1": "", "lb2": ""}


def test_a_lone_one_has_nobody_to_ask(tmp_path: Path) -> None:
    assert remember(tmp_path, {"lb1": None}) == {"lb1": ""}


@pytest.mark.parametrize(("known", "then"), [(ON, ON), (None, "")])
def test_one_that_cannot_be_asked_stops_nobody(tmp_path: Path, known: str | None, then: str) -> None:
    maps = remember(tmp_path, {"lb1": known, "lb2": None}, "--limit", "lb2", load_balancer_siblings=["gone", "lb1"])
    assert maps == {"lb1": known, "lb2": then}


@pytest.mark.parametrize(("own", "then"), [("", ""), (ON, ON), (None, OTHER)])
def test_one_that_is_tossed_begins_with_what_it_had_and_else_with_what_the_others_show(tmp_path: Path, own: str | None, then: str) -> None:
    maps = remember(tmp_path, {"lb1": OTHER, "lb2": own}, "--limit", "lb2", tasks=TOSS, load_balancer_siblings=["lb1"])
    assert maps == {"lb1": OTHER, "lb2": then}


def test_check_mode_asks_and_writes_nothing(tmp_path: Path) -> None:
    assert remember(tmp_path, {"lb1": ON, "lb2": None}, "--check") == {"lb1": ON, "lb2": None}
