# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `app` decides, by its own variables and templates: nothing is asked of a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.tossable.fleet.plugins.module_utils.host import config
from checkout import ROOT

ROLE = ROOT / "roles" / "app"
WEB = {"command": "python3 web.py"}


@pytest.fixture(autouse=True)
def _short_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible finds its own plugins by their full names only where it has taken over the import of collections, which pytest has here."""
    get = lookup_loader.get
    monkeypatch.setattr(lookup_loader, "get", lambda name, **more: get(name.removeprefix("ansible.builtin."), **more))


def variables(**given: Any) -> dict[str, Any]:
    """The role's defaults and variables below those that are given, as a host has them."""
    loader = DataLoader()
    files = [loader.load_from_file(str(ROLE / name / "main.yml"), trusted_as_template=True) for name in ("defaults", "vars")]
    least = {"app_name": "shop", "app_processes": {"web": WEB}, "app_allowed_signers": [{"principal": "builder@lab", "key": "ssh-ed25519 AAAA"}]}
    return {**files[0], **least, **files[1], "ansible_search_path": [str(ROLE)], "inventory_dir": "/inventory", **given}


def value(expression: str, **given: Any) -> Any:
    """What an expression of the role comes to."""
    return Templar(loader=DataLoader(), variables=variables(**given)).template(trust_as_template(f"{{{{ {expression} }}}}"))


def written(template: str, **given: Any) -> str:
    """What the role writes with this template."""
    return str(value(f"lookup('ansible.builtin.template', '{template}')", **given))


@pytest.mark.parametrize(("stop", "longest"), [({}, 30), ({"stop_timeout_seconds": 7}, 30), ({"stop_timeout_seconds": "600"}, 600)])
def test_the_host_is_told_how_long_the_slowest_process_may_take_to_end(tmp_path: Path, stop: dict[str, Any], longest: int) -> None:
    processes = {"web": WEB, "worker": {"command": "python3 worker.py", **stop}}
    (tmp_path / "shop.json").write_text(json.dumps(value("__app_config", app_processes=processes)))
    assert config.load("shop", str(tmp_path)).stop_timeout_seconds == longest
    assert value("__app_restart_seconds | int", app_processes=processes) > 2 * longest
    units = {name: written("process.service.j2", app_processes=processes, process=name) for name in processes}
    assert max(int(text.partition("TimeoutStopSec=")[2].split()[0]) for text in units.values()) == longest


@pytest.mark.parametrize("url", ["", "http://ops1/shop/desired-lab.signed"])
def test_at_boot_there_is_time_for_a_release_and_the_way_back(url: str) -> None:
    def seconds(stop: int) -> int:
        unit = written("return.service.j2", app_desired_url=url, app_processes={"web": {**WEB, "stop_timeout_seconds": stop}})
        return int(unit.partition("TimeoutStartSec=")[2].split()[0])

    assert seconds(630) - seconds(30) == (1200 if url else 0)
