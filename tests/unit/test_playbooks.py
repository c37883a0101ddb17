# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks do where nothing answers: they refuse before any host hears of it, and what they did is on record."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, environment

#: Nobody listens on this port.
NOBODY = {"ansible_host": "127.0.0.1", "ansible_port": 1}


def inventory(folder: Path, **groups: list[str]) -> str:
    """The example of a production inventory, with these hosts in its place."""
    shutil.copytree(ROOT / "inventories" / "production", folder / "here")
    children = {group: {"hosts": {host: dict(NOBODY) for host in hosts}} for group, hosts in groups.items()}
    (folder / "here" / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
    return str(folder / "here")


def refusal(where: str, playbook: str, *options: str) -> str:
    """What a playbook says that ends before it has asked any host anything."""
    command = ["ansible-playbook", "-i", where, playbook, *options]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert done.returncode != 0, said
    for tried in ("UNREACHABLE", "Connection refused", "Traceback", "is undefined", "has no attribute", "can only concatenate"):
        assert tried not in said, said
    return said


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("app", "No host is in the group 'app' (groups with hosts: lb, ops), on which applications run"),
        ("ops", "No host is in the group 'ops' (groups with hosts: app, lb), which keeps the artifacts, the lock and the ledger"),
        ("lb", "names load balancers by a group that has no host (groups with hosts: app, ops; in inventories/production they are in the group lb)"),
    ],
)
def test_a_group_without_hosts_is_named_before_anything_is_asked(tmp_path: Path, missing: str, told: str) -> None:
    groups = {group: [f"{group}1"] for group in ("app", "lb", "ops") if group != missing}
    where = inventory(tmp_path, **groups)
    for playbook in ("deploy.yml", "playbooks/status.yml"):
        assert told in refusal(where, playbook, "-e", "version=1.0.0")


def test_a_machine_that_nobody_here_could_make_again_is_not_touched(tmp_path: Path) -> None:
    where = inventory(tmp_path, app=["app1", "app2"], lb=["lb1"], ops=["ops1"])
    said = refusal(where, "playbooks/toss.yml", "-e", "target=app1", "-e", "confirm=app1")
    assert "app1 was not touched: nobody here could make it again." in said
    assert "does not say machine_name, machine_image, machine_network, machine_address for it" in said
    assert "Leave" not in said


@pytest.mark.parametrize("missing", ["app", "ops"])
@pytest.mark.parametrize("playbook", ["playbooks/site.yml", "playbooks/toss.yml"])
def test_nothing_is_provisioned_or_tossed_without_a_group_that_it_needs(tmp_path: Path, missing: str, playbook: str) -> None:
    groups = {group: [f"{group}1"] for group in ("app", "lb", "ops") if group != missing}
    assert f"No host is in the group '{missing}'" in refusal(inventory(tmp_path, **groups), playbook, "-e", "target=lb1", "-e", "confirm=lb1")


#: In place of the action `maintenance`: a load balancer that shows the page from now on, and has a request that is never answered.
NEVER_DRAINED = """
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        on = {"changed": self._task.args["state"] == "present", "before": None, "entry": {}}
        return {"changed": False, "in_flight": {"app1": 1}} if self._task.args["state"] == "drained" else on
"""


def test_maintenance_is_on_record_also_where_the_last_requests_are_not_answered(tmp_path: Path) -> None:
    collection = tmp_path / "ansible_collections" / "tossable" / "fleet"
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (collection / "plugins" / "action" / "maintenance.py").write_text(NEVER_DRAINED)
    for name in ("meta", "roles"):
        (collection / name).symlink_to(ROOT / name)
    where = inventory(tmp_path, app=["app1"], lb=["lb1"], ops=["ops1"])
    command = ["ansible-playbook", "-i", where, "playbooks/maintenance.yml", "-e", "state=on", "-e", f"release_ledger_spool={tmp_path / 'spool'}"]
    own = {**environment(), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode != 0, done.stdout
    assert "requests that came before are not answered yet: lb1: 1 at app1" in re.sub(r"\s+", " ", done.stdout), done.stdout
    (waiting,) = (tmp_path / "spool").rglob("*.json")  # nobody listens on the ops host
    record = json.loads(waiting.read_text())
    assert (record["kind"], record["text"]) == ("maintenance", "maintenance on at lb1"), record
