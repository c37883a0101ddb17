# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that was cut short has left undone is done by the next one, which finds every file as it is to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from checkout import ROOT


def tasks(role: str) -> Iterator[dict[str, Any]]:
    """Every task of a role, those in blocks too."""
    for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")):
        left = list(yaml.safe_load(path.read_text(encoding="utf-8")))
        while left:
            task = left.pop()
            yield task
            left += task.get("block", []) + task.get("rescue", []) + task.get("always", [])


@pytest.mark.parametrize("role", ["artifact_store", "load_balancer", "status_page"])
def test_systemd_is_told_of_units_whichever_run_wrote_them(role: str) -> None:
    told = [task["ansible.builtin.systemd_service"].get("daemon_reload") for task in tasks(role) if "ansible.builtin.systemd_service" in task]
    asked = [word for word in told if word is not None]
    assert asked
    assert [word for word in asked if re.search("changed", str(word))] == []


@pytest.mark.parametrize("role", ["artifact_store", "status_page"])
def test_nginx_is_not_reloaded_by_a_handler(role: str) -> None:
    """It is lost where a later task fails, and the next run finds the file as it is to be."""
    assert [task["name"] for task in tasks(role) if "notify" in task] == []
    loads = [
        task
        for task in tasks(role)
        if "load" in (task.get("ansible.builtin.include_role") or {}).values() or task.get("ansible.builtin.include_tasks") == "load.yml"
    ]
    assert len(loads) == 1
