# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set-up says in one sentence what keeps it from going on, before it has installed anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but set-up, whose user is not root; what sudo says is for the test to write."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "tools" / "setup", tmp_path / "tools")
    stand_in(tmp_path, "id", "case $1 in -u) echo 1000 ;; *) echo ada ;; esac")
    return tmp_path


def stand_in(checkout: Path, name: str, script: str) -> None:
    """A command that says what it is told to."""
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(checkout: Path, *images: str) -> subprocess.CompletedProcess[str]:
    """Type tools/setup there."""
    env = {**os.environ, "PATH": f"{checkout}/bin:{os.environ['PATH']}"}
    return subprocess.run([str(checkout / "tools" / "setup"), *images], env=env, capture_output=True, text=True, check=False)


def test_sudo_that_asks_for_a_password_is_refused_before_hosts_are_made(checkout: Path) -> None:
    stand_in(checkout, "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    done = set_up(checkout, "bookworm")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "setup: the throwaway hosts are run by podman as root, and sudo asks ada for a password: be root, or let ada use sudo without one "
        "(NOPASSWD, see man sudoers)\n"
    )


def test_sudo_that_asks_for_nothing_is_enough(checkout: Path) -> None:
    stand_in(checkout, "sudo", 'shift; exec "$@"')
    done = set_up(checkout, "bookworm")
    assert "password" not in done.stderr
    assert "requirements.txt" in done.stderr, "it went on to what this checkout does not have"


def test_only_what_is_missing_is_installed(checkout: Path) -> None:
    """A path may lie in a folder of any version, and so may its neighbours, which prove nothing."""
    (checkout / "there" / "15" / "bin").mkdir(parents=True)
    (checkout / "there" / "15" / "bin" / "psql").touch()
    proofs = {"client": "/there/15/bin/psql", "of-any-version": "/there/*/bin/psql", "server": "/there/*/bin/initdb", "folder": "/nowhere"}
    lines = [f"{package} {checkout}{proof} why" for package, proof in proofs.items()]
    (checkout / "tools" / "packages.txt").write_text("\n".join(["# Of this test.", "shell sh why", "command no-such-command why", *lines, ""]))
    stand_in(checkout, "sudo", 'exec "$@"')
    stand_in(checkout, "apt-get", "exit 1")
    done = set_up(checkout)
    assert done.returncode == 2
    missing = ["command", "server", "folder"]
    assert done.stdout.splitlines() == [
        *(f"setup: missing: {name} (why)" for name in missing),
        f"setup: installing Debian packages: {' '.join(missing)}",
    ]
    assert "apt could not install command server folder" in done.stderr


def test_removing_the_lab_needs_no_set_up_of_before() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target, recipe in re.findall(r"^([a-z -]+):(.*(?:\n\t.*)+)", makefile, re.MULTILINE):
        if re.search(r"ansible-playbook|@tools/(?!setup)", recipe):
            assert "setup" in recipe, f"make {target} fails with 'command not found' in a fresh checkout"
