# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a host from the machine that runs the tests, as a stranger on the network would."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "build" / "labs" / "molecule" / "inventory" / "hosts.yml"
KEY = ROOT / "build" / "labs" / "molecule" / "id_ed25519"
SCENARIO = os.environ.get("MOLECULE_SCENARIO_NAME", "")
ANSWER_SECONDS = 1.5  # a port that is open answers within a millisecond here; a dropped packet never does


def scenario_hosts() -> dict[str, dict[str, Any]]:
    """The inventory variables of this scenario's hosts, by host name; empty where the scenario has none."""
    inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))["all"]
    group = (inventory["children"] or {}).get(SCENARIO) or {}
    return {name: inventory["vars"] | variables for name, variables in (group.get("hosts") or {}).items()}


def reaches(address: str, port: int) -> bool:
    """Whether a TCP connection to `port` is accepted; refused and dropped are both no."""
    try:
        with socket.create_connection((address, port), timeout=ANSWER_SECONDS):
            return True
    except OSError:
        return False


def ssh(address: str, *words: str, user: str = "ops", stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run ssh on a connection of its own, with the lab's key; `words` are its options and the remote command."""
    command = ["ssh", "-i", str(KEY), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ControlPath=none"]
    command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", "-o", "LogLevel=INFO"]
    done = subprocess.run([*command, "-l", user, address, *words], input=stdin, capture_output=True, timeout=30, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Run(NamedTuple):
    """A playbook that ended: its exit code and all it printed."""

    code: int
    output: str

    def message(self) -> str:
        """The output with its line breaks and indents folded, so that a sentence can be looked for."""
        return re.sub(r"\s+", " ", self.output)


def play(playbook: Path, *options: str, changes: dict[str, Any] | None = None, **environment: str) -> Run:
    """Run a playbook as an operator does, with some variables changed."""
    command = ["ansible-playbook", "-i", str(INVENTORY), str(playbook), *options, "-e", json.dumps(changes or {})]
    settings = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", **environment}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300, check=False)
    return Run(done.returncode, done.stdout + done.stderr)


def podman(*words: str) -> str:
    """What podman answers; it runs the machines as root."""
    command = [*([] if os.getuid() == 0 else ["sudo", "--preserve-env=CONTAINERS_CONF"]), "podman", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def within(seconds: float, condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds, and say `what` was waited for where it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)
