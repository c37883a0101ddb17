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


def acting(folder: Path, name: str, text: str) -> dict[str, str]:
    """The environment in which that action of the collection is another one."""
    collection = folder / "ansible_collections" / "tossable" / "fleet"
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (collection / "plugins" / "action" / f"{name}.py").write_text(text)
    for part in ("meta", "roles"):
        (collection / part).symlink_to(ROOT / part)
    return {**environment(), "ANSIBLE_COLLECTIONS_PATH": str(folder)}


#: In place of the action `maintenance`: a load balancer that shows the page from now on, and has a request that is never answered.
NEVER_DRAINED = """
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        on = {"changed": self._task.args["state"] == "present", "before": None, "entry": {}}
        return {"changed": False, "in_flight": {"app1": 1}} if self._task.args["state"] == "drained" else on
"""


def test_maintenance_is_on_record_also_where_the_last_requests_are_not_answered(tmp_path: Path) -> None:
    where = inventory(tmp_path, app=["app1"], lb=["lb1"], ops=["ops1"])
    command = ["ansible-playbook", "-i", where, "playbooks/maintenance.yml", "-e", "state=on", "-e", f"release_ledger_spool={tmp_path / 'spool'}"]
    own = acting(tmp_path, "maintenance", NEVER_DRAINED)
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode != 0, done.stdout
    assert "requests that came before are not answered yet: lb1: 1 at app1" in re.sub(r"\s+", " ", done.stdout), done.stdout
    (waiting,) = (tmp_path / "spool").rglob("*.json")  # nobody listens on the ops host
    record = json.loads(waiting.read_text())
    assert (record["kind"], record["text"]) == ("maintenance", "maintenance on at lb1"), record


#: In place of the action `feature_flag`: nothing is on where it is kept, and app2 does not take what it is brought while its file `deaf` is there.
ALL_IS_OFF = """
from pathlib import Path

from ansible.plugins.action import ActionBase

LIVE = {"generation": 8, "digest": "d" * 64, "content": "the line", "flags": []}


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        state = self._task.args["state"]
        if state == "decided":
            assert (self._task.args["changes"], self._task.args["follow"]) == ({}, False), self._task.args
            return {**LIVE, "changed": False, "summary": "no flag has changed, generation 8", "refused": [], "run": "r1", "by": "ada"}
        if state == "live":
            return {**LIVE, "changed": False, "overrides": {}}
        assert self._task.args["content"] == "the line", self._task.args
        if task_vars["inventory_hostname"] == "app2" and (Path(task_vars["inventory_dir"]) / "deaf").exists():
            return {"changed": False, "reachable": True, "generation": 7, "digest": "c" * 64, "trouble": ""}
        return {"changed": True, "reachable": True, "generation": 8, "digest": "d" * 64, "trouble": ""}
"""


def test_a_panic_after_one_that_was_cut_off_brings_what_is_off_to_every_host(tmp_path: Path) -> None:
    where = Path(inventory(tmp_path, app=["app1", "app2"], lb=["lb1"], ops=["ops1"]))
    own = acting(tmp_path, "feature_flag", ALL_IS_OFF)

    def panic(*options: str) -> tuple[int, str]:
        command = ["ansible-playbook", "-i", str(where), "playbooks/panic.yml", *options]  # nobody is asked to agree, and nobody could
        done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)

    code, said = panic("-e", "minutes=soon")
    assert (code, "Nothing was changed: -e minutes='soon' is no span of time. Write 60" in said, "Bring" in said) == (2, True, False), said
    (where / "deaf").touch()
    code, said = panic()
    assert code == 2, said
    assert "1 of 2 hosts did not get the flags (generation 8); all others have them: - app2: it holds generation 7, and 8 is live" in said, said
    assert "Nothing to switch off: " not in said, said
    (where / "deaf").unlink()
    code, said = panic()
    assert code == 0, said
    assert "changed: [app2]" in said, said
    assert "Nothing to switch off: no flag of kind release that is on has changed within 60 minutes" in said, said
