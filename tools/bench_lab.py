# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of its own for a measurement: made, provisioned, with versions built and one of them released; and removed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checkout import BUILD
from phases import PhaseError, Phases


@dataclass(frozen=True)
class BenchLab:
    """Its name and its network, which no other lab has."""

    name: str
    network: str

    @property
    def inventory(self) -> str:
        """The file of its inventory."""
        return str(BUILD / "labs" / self.name / "inventory" / "hosts.yml")

    @property
    def artifacts(self) -> Path:
        """The folder of what was built for it."""
        return BUILD / "labs" / self.name / "artifacts"

    def play(self, playbook: str, *options: str) -> list[str]:
        """The command that runs a playbook on it."""
        return ["ansible-playbook", "-i", self.inventory, playbook, *options]

    def _itself(self, *options: str) -> list[str]:
        return ["ansible-playbook", "playbooks/lab.yml", "-e", f"lab_name={self.name}", "-e", f"lab_network={self.network}", *options]

    def prepare(self, phases: Phases, hosts: int, versions: Sequence[str], *options: str) -> None:
        """Make and provision it, build the versions, release the first of them with these options."""
        phases.run("lab", self._itself("-e", f"lab_app_servers={hosts}"))
        phases.run("provision", self.play("playbooks/site.yml"))
        for version in versions:
            phases.run(f"build {version}", self.play("playbooks/build.yml", "-e", f"version={version}"))
        phases.run(f"deploy {versions[0]}", self.play("deploy.yml", "-e", f"version={versions[0]}", *options))

    def remove(self, phases: Phases) -> None:
        """Remove its machines; where that fails, its output has been shown, and the next run clears them away."""
        with contextlib.suppress(PhaseError):
            phases.run("lab down", self._itself("-e", "lab_state=absent"))
