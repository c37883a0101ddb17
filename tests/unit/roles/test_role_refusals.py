# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles refuse before they change anything, and that what is right is let through."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, environment


def preflight(folder: Path, role: str, **variables: object) -> str:
    """What a role's preflight says of these variables, on this machine, which it only reads; empty where it refuses nothing."""
    task = {"name": "Preflight", "ansible.builtin.import_role": {"name": f"tossable.fleet.{role}", "tasks_from": "preflight"}}
    (folder / "ask.yml").write_text(yaml.safe_dump([{"hosts": "here", "gather_facts": False, "tasks": [task]}]))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"here": {"ansible_connection": "local"}}}}))
    command = ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "ask.yml"), "-e", json.dumps(variables)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return "" if done.returncode == 0 else re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.mark.parametrize(("letters", "refused"), [(4900, False), (5001, True), (6521, True)])
def test_a_maintenance_page_is_measured_in_bytes(tmp_path: Path, letters: int, refused: bool) -> None:
    """HAProxy's buffer has no letters: a Cyrillic one takes two bytes."""
    page = tmp_path / "page.html"
    page.write_text("\u0436" * letters, encoding="utf-8")
    said = preflight(tmp_path, "load_balancer", load_balancer_backends=[{"name": "shop", "maintenance_page": str(page)}])
    assert bool(said) == refused, said
    assert not refused or f"of the backend shop in load_balancer_backends has {2 * letters} bytes, and 10000 fit" in said


@pytest.mark.parametrize(
    "given",
    [{}, {"release_store_root": "/data/artifacts"}, {"artifact_store_root": "/data/artifacts", "release_store_root": "/data/artifacts"}],
)
def test_a_store_is_where_deployments_write_to(tmp_path: Path, given: dict[str, str]) -> None:
    assert preflight(tmp_path, "artifact_store", **given) == ""


@pytest.mark.parametrize(
    ("written", "told"), [({}, "/srv/artifacts, which nothing sets"), ({"release_store_root": "/other/artifacts"}, "/other/artifacts")]
)
def test_a_store_that_deployments_do_not_write_to_is_refused(tmp_path: Path, written: dict[str, str], told: str) -> None:
    said = preflight(tmp_path, "artifact_store", artifact_store_root="/data/artifacts", **written)
    assert f"of here would serve artifact_store_root=/data/artifacts, but deployments and flags write to release_store_root={told}: hosts" in said
    assert "Set release_store_root: /data/artifacts in group_vars/all.yml" in said


def test_the_store_follows_what_deployments_read() -> None:
    files = {role: ROOT / "roles" / role / "defaults" / "main.yml" for role in ("artifact_store", "feature_flags", "release")}
    defaults = {role: yaml.safe_load(path.read_text()) for role, path in files.items()}
    assert defaults["artifact_store"]["artifact_store_root"] == defaults["feature_flags"]["feature_flags_store_root"]
    assert f"default('{defaults['release']['release_store_root']}')" in defaults["artifact_store"]["artifact_store_root"]
