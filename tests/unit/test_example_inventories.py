# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worked examples of inventories are what the roles ask for: their arguments, and what each refuses before it changes anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT, environment

#: The roles of playbooks/site.yml, by the group that has them; those of `all` are the baseline of each.
ROLES = {"ops": ["artifact_store", "status_page", "feature_flags"], "app": ["feature_flags", "app"], "lb": ["load_balancer"]}
#: What these roles read on a host before they refuse anything, this machine can be asked as well as any.
HERE = '{"ansible_connection": "local", "ansible_become": false}'
#: What tells a load balancer's certificate from anything else.
PEM = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"


def asked(role: str) -> list[dict[str, Any]]:
    """Tasks that hold the variables of a host against what a role takes, and then against its own refusals."""
    options = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    return [
        {"name": f"Arguments of {role}", "ansible.builtin.validate_argument_spec": {"argument_spec": options}},
        {"name": f"Preflight of {role}", "ansible.builtin.import_role": {"name": f"tossable.fleet.{role}", "tasks_from": "preflight"}},
    ]


@pytest.mark.parametrize("name", ["staging", "production"])
def test_a_worked_example_is_what_the_roles_ask_for(tmp_path: Path, name: str) -> None:
    """All hosts of it, on this machine, which only reads: nothing is installed or written."""
    where = tmp_path / name
    shutil.copytree(ROOT / "inventories" / name, where)
    (where / "certificates").mkdir()
    (where / "certificates" / "shop.example.pem").write_text(PEM)
    tell = {"name": "Which system it is", "ansible.builtin.setup": {"gather_subset": ["distribution"]}}
    plays = [
        {
            "hosts": group,
            "gather_facts": False,
            "vars_files": [str(where / "apps" / "storefront.yml")],
            "tasks": [tell, *(task for role in roles for task in asked(role))],
        }
        for group, roles in ROLES.items()
    ]
    (tmp_path / "ask.yml").write_text(yaml.safe_dump(plays))
    command = ["ansible-playbook", "-i", str(where), str(tmp_path / "ask.yml"), "-e", HERE]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stderr, done.stderr
