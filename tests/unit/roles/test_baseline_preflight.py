# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the baseline refuses before it has changed anything, asked of its own tasks without a host."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from checkout import ROOT

ROLE = ROOT / "roles" / "baseline"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFuIGV4YW1wbGUgdGhhdCBiZWxvbmdzIHRvIG5vYm9k ops@example"
OPS = {"name": "ops", "sudo": True, "ssh_keys": [KEY]}
ADA = {"name": "ada", "sudo": True, "ssh_keys": [KEY]}


def loaded(path: Path) -> Any:
    """A YAML file, its expressions trusted as those of a role are."""
    return DataLoader().load_from_file(str(path), trusted_as_template=True)


def refusals(login: str = "ops", sudo_is_ours: bool = False, missing: tuple[str, ...] = (), **variables: Any) -> list[str]:
    """What the role says of a host where Ansible is logged in as `login`, by whose leave it has sudo, and where these shells are missing."""
    known = {
        "inventory_hostname": "app1",
        "role_path": str(ROLE),
        "ansible_facts": {"distribution": "Debian", "distribution_major_version": "12", "virtualization_tech_guest": []},
        "__baseline_connection": {"stdout_lines": [login, f"its sudo is ours alone: {'yes' if sudo_is_ours else 'no'}", KEY]},
        "__baseline_shells_missing": {"stdout_lines": list(missing)},
    }
    scope = {**loaded(ROLE / "defaults" / "main.yml"), **loaded(ROLE / "vars" / "main.yml"), **known, **variables}
    said = []
    for task in loaded(ROLE / "tasks" / "preflight.yml"):
        if (rule := task.get("ansible.builtin.assert")) is None:
            continue
        here = Templar(variables={**scope, **task.get("vars", {})})
        for item in here.template(task["loop"]) if "loop" in task else [None]:
            templar = Templar(variables={**here.available_variables, "item": item})
            conditions = rule["that"] if isinstance(rule["that"], list) else [rule["that"]]
            if not all(templar.evaluate_conditional(condition) for condition in conditions):
                said.append(re.sub(r"\s+", " ", templar.template(rule["fail_msg"])))
    return said


def refusal(**variables: Any) -> str:
    """The one thing that the role says of a host."""
    (said,) = refusals(**variables)
    return said


@pytest.mark.parametrize(
    ("accounts", "why"),
    [
        ([], "It has no entry in baseline_accounts any more"),
        ([ADA], "It has no entry in baseline_accounts any more"),
        ([ADA, OPS | {"sudo": False}], "Its entry in baseline_accounts no longer says `sudo: true`"),
        ([OPS | {"sudo": False, "sudo_commands": ["/usr/bin/id"]}], "Its entry in baseline_accounts no longer says `sudo: true`"),
    ],
    ids=["no accounts", "another account", "no sudo", "one command"],
)
def test_the_sudo_that_the_role_itself_gave_ansible_is_not_taken_away(accounts: list[dict[str, Any]], why: str) -> None:
    said = refusal(sudo_is_ours=True, baseline_accounts=accounts)
    assert "logged in to app1 as ops, which may use sudo without a password only because this role wrote so" in said
    assert why in said
    assert "Give ops an entry with `sudo: true` and its key" in said
    assert refusals(sudo_is_ours=False, baseline_accounts=accounts) == []


def test_who_keeps_its_sudo_is_not_stopped() -> None:
    assert refusals(sudo_is_ours=True, baseline_accounts=[OPS]) == []
    assert refusals(sudo_is_ours=True, baseline_accounts=[ADA, OPS]) == []


def connection(folder: Path, granted: str, listed: str) -> list[str]:
    """What the role learns of the login on a host whose /etc/sudoers.d/tossable-baseline is `granted`, and whose sudo lists `listed`."""
    (task,) = (task for task in loaded(ROLE / "tasks" / "preflight.yml") if task.get("register") == "__baseline_connection")
    ours = folder / "tossable-baseline"
    if granted:
        ours.write_text(granted)
    (folder / "listed").write_text(listed)
    (folder / "home" / ".ssh").mkdir(parents=True)
    (folder / "home" / ".ssh" / "authorized_keys").write_text(f"{KEY}\n")
    answers = {"getent": f"echo ops:x:1000:1000::{folder}/home:/bin/bash", "sudo": f'[ "$*" = "-n -l -l -U ops" ] && cat {folder}/listed'}
    for name, answer in answers.items():
        (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
        (folder / name).chmod(0o755)
    program = task["ansible.builtin.shell"]["cmd"].replace("/etc/sudoers.d/tossable-baseline", str(ours))
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SUDO_USER": "ops"}
    return subprocess.run(["/bin/sh", "-c", program], env=env, capture_output=True, text=True, check=True).stdout.splitlines()


#: As sudo 1.9.16 (Debian 13) lists rules; 1.9.13 (Debian 12) names no file.
RULE = "    RunAsUsers: ALL\n    RunAsGroups: ALL\n    Options: !authenticate\n    Commands:\n\tALL\n"
OURS = f"\nSudoers entry: /etc/sudoers.d/tossable-baseline\n{RULE}"
IMAGE = f"\nSudoers entry:\n{RULE}"
GRANT = "# Ansible managed\nops ALL=(ALL:ALL) NOPASSWD: ALL\n"


@pytest.mark.parametrize(
    ("granted", "listed", "ours"),
    [
        ("", IMAGE, "no"),
        ("# Ansible managed\n", IMAGE, "no"),
        ("ops2 ALL=(ALL:ALL) NOPASSWD: ALL\n", IMAGE, "no"),
        ("ops ALL=(root) NOPASSWD: /bin/sh\n", "", "no"),
        (GRANT, OURS, "yes"),
        (GRANT, IMAGE + OURS, "no"),
        (GRANT, IMAGE.replace("RunAsUsers: ALL", "RunAsUsers: root, postgres") + OURS, "no"),
        (GRANT, IMAGE.replace("    Options: !authenticate\n", "") + OURS, "yes"),
        (GRANT, OURS + IMAGE.replace("\tALL", "\t/usr/bin/apt"), "yes"),
        (GRANT, OURS + IMAGE.replace("RunAsUsers: ALL", "RunAsUsers: postgres"), "yes"),
    ],
    ids=["no file", "empty", "another's", "a command", "ours", "image", "as root", "with a password", "one command", "as another"],
)
def test_it_is_known_whether_the_sudo_of_ansible_is_ours_alone(tmp_path: Path, granted: str, listed: str, ours: str) -> None:
    assert connection(tmp_path, granted, listed) == ["ops", f"its sudo is ours alone: {ours}", KEY]


def test_what_is_looked_for_is_what_the_role_writes() -> None:
    """Else no sudo would ever be known as ours."""
    scope = {"ansible_managed": "Ansible managed", "__baseline_present": [OPS]}
    template = trust_as_template((ROLE / "templates" / "sudoers.j2").read_text())
    assert Templar(variables=scope).template(template) == GRANT


@pytest.mark.parametrize("who", ["ops", "ada"])
def test_a_shell_that_is_not_there_is_refused(who: str) -> None:
    accounts = [account | ({"shell": "/usr/bin/zsh"} if account["name"] == who else {}) for account in (OPS, ADA)]
    said = refusal(baseline_accounts=accounts, missing=("/usr/bin/zsh",))
    assert f"The shell of {who} in baseline_accounts is /usr/bin/zsh, which is no program on app1: sshd would not let {who} in." in said
    assert refusals(baseline_accounts=accounts) == []


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_a_shell_that_lets_nobody_in_is_for_accounts_that_do_not_log_in(shell: str) -> None:
    said = refusal(baseline_accounts=[OPS | {"shell": shell}, ADA])
    assert f"The shell of ops in baseline_accounts is {shell}, which lets nobody in, but Ansible is logged in to app1 as ops." in said
    assert refusals(baseline_accounts=[OPS, {"name": "batch", "shell": shell}]) == []
    assert "nobody could log in to app1" in refusal(login="root", baseline_accounts=[ADA | {"shell": shell}])


def test_only_shells_that_are_missing_are_named(tmp_path: Path) -> None:
    (task,) = (task for task in loaded(ROLE / "tasks" / "preflight.yml") if task.get("register") == "__baseline_shells_missing")
    (tmp_path / "text").write_text("")
    shells = ["/bin/sh", str(tmp_path / "text"), str(tmp_path), "/usr/bin/no such", "/bin/sh"]
    scope = {**loaded(ROLE / "vars" / "main.yml"), "baseline_accounts": [OPS, *({"name": f"a{n}", "shell": shell} for n, shell in enumerate(shells))]}
    program = Templar(variables=scope).template(task["ansible.builtin.shell"]["cmd"])
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == shells[1:4]


@pytest.mark.parametrize("sources", [[], None])
def test_an_opening_to_nobody_is_not_taken_for_one_to_everybody(sources: list[str] | None) -> None:
    said = refusal(baseline_accounts=[OPS], baseline_firewall_openings=[{"port": 80}, {"port": [8000, "8002-8099"], "sources": sources}])
    assert "The opening of port 8000, 8002-8099 in baseline_firewall_openings of app1 has `sources` that name nobody" in said
    assert "A port that is open to everybody has no `sources` at all." in said


def openings(inventory: str, *groups: str) -> dict[str, Any]:
    """What the application hosts of one of the inventories here open, where it has one host in each of these groups."""
    hosts = {f"{group}1": {"ansible_host": f"192.0.2.{number}"} for number, group in enumerate(groups, start=1)}
    opened = loaded(ROOT / "inventories" / inventory / "group_vars" / "app.yml")["baseline_firewall_openings"]
    return {"baseline_firewall_openings": opened, "groups": {group: [f"{group}1"] for group in groups}, "hostvars": hosts}


@pytest.mark.parametrize("inventory", ["lab", "production", "staging"])
def test_applications_are_for_the_load_balancers_of_the_inventory_alone(inventory: str) -> None:
    variables = openings(inventory, "app", "lb", "ops")
    assert Templar(variables=variables).template(variables["baseline_firewall_openings"])[0]["sources"] == ["192.0.2.2"]
    assert refusals(baseline_accounts=[OPS], **variables) == []


@pytest.mark.parametrize("inventory", ["lab", "production", "staging"])
def test_applications_are_not_for_everybody_where_the_inventory_has_no_load_balancer(inventory: str) -> None:
    said = refusal(baseline_accounts=[OPS], **openings(inventory, "app", "ops"))
    assert "The opening of port 8000-8099 in baseline_firewall_openings of app1 has `sources` that name nobody" in said
