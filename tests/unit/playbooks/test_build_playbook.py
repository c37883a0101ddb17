# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""build.yml as it is typed on a lab, with the lab's own variables; the ops host is a folder of this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT, environment

APP = "app_name: shop\napp_processes: {{web: {{command: python3 web.py}}}}\nbuild_source: {source}\n"
HOSTS = """
all:
  vars: {{lab_files: {lab}}}
  children:
    ops:
      hosts:
        ops1: {{ansible_connection: local, ansible_become: false, artifact_store_root: {store}}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A lab with one application, of which nothing has been built."""
    for name in ("lab", "store", "source", "inventory/apps"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "lab" / "signing_key"], check=True)
    (tmp_path / "inventory" / "hosts.yml").write_text(HOSTS.format(lab=tmp_path / "lab", store=tmp_path / "store"))
    (tmp_path / "inventory" / "apps" / "shop.yml").write_text(APP.format(source=tmp_path / "source"))
    (tmp_path / "inventory" / "group_vars").symlink_to(ROOT / "inventories" / "lab" / "group_vars")
    (tmp_path / "source" / "web.py").write_text("print(1)\n")
    return tmp_path


def build(lab: Path, *options: str) -> tuple[int, str]:
    """Type it; the exit code, and what was printed with line breaks and indents folded."""
    argv = ["ansible-playbook", "-i", str(lab / "inventory"), "playbooks/build.yml", "-e", "app=shop", "-e", "version=1.0.0", *options]
    done = subprocess.run(argv, cwd=ROOT, env={**environment(), "TOSSABLE_REPORT_KEEP": "0"}, capture_output=True, text=True, check=False)
    return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)


def test_versions_of_a_lab_lie_in_the_lab_and_are_never_other_bytes(lab: Path) -> None:
    code, said = build(lab)
    assert code == 0, said
    kept = {path: path.read_bytes() for folder in ("lab/artifacts", "store") for path in (lab / folder / "shop" / "1.0.0").iterdir()}
    assert len(kept) == 6

    (lab / "source" / "web.py").write_text("print(2)\n")
    code, said = build(lab, "-e", f"build_artifacts={lab}/elsewhere")
    assert code != 0
    assert "ops1 already keeps shop 1.0.0 with the sha256 " in said
    assert "A version is built once: choose another one with -e version=..." in said
    assert {path: path.read_bytes() for path in kept} == kept
