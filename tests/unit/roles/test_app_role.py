# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `app` decides, by its own variables and templates: nothing is asked of a host."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.tossable.fleet.plugins.module_utils.host import config, configuration
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


def configuring() -> list[dict[str, Any]]:
    """The tasks that write what the host and the processes read."""
    tasks: list[dict[str, Any]] = yaml.safe_load((ROLE / "tasks" / "configure.yml").read_text())
    return tasks


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


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def host(mark: str = "", wanted: str = "", in_force: str = "", unit: str = "", **given: Any) -> dict[str, Any]:
    """What a host with a live release has before a run; without a text what the role would write now."""
    there = {
        "/srv/shop/current": None,
        "/srv/other/current": None,
        "/etc/other/config/restart-units": sha1(""),
        "/etc/shop/config/wanted": sha1(wanted or written("env.j2", **given)),
        "/etc/systemd/system/shop-web.service": sha1(unit or written("process.service.j2", process="web", **given)),
        **({f"/etc/shop/config/restart-{mark}": sha1("")} if mark else {}),
    }
    files = [{"path": path, **({"checksum": found} if found else {})} for path, found in there.items()]
    return {"__app_there": {"files": files}, "__app_env_in_force": {"stat": {"checksum": sha1(in_force or written("env.j2", **given))}}, **given}


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        ({}, []),
        ({"wanted": "OLD=1\n", "in_force": "OLD=1\n"}, ["environment"]),
        ({"in_force": "OLD=1\n"}, []),  # after a rollback
        ({"wanted": "OLD=1\n"}, []),  # back to what is in force
        ({"in_force": "OLD=1\n", "mark": "environment"}, ["environment"]),  # a run was stopped on the way
        ({"mark": "environment"}, []),  # a deployment came between
        ({"unit": "[Service]\n"}, ["units"]),
        ({"mark": "units"}, ["units"]),
        ({"unit": "[Service]\n", "wanted": "OLD=1\n", "in_force": "OLD=1\n"}, ["environment", "units"]),
        ({"unit": "[Service]\n", "in_force": "OLD=1\n"}, ["units"]),
    ],
)
def test_a_live_release_is_restarted_for_what_changes_and_for_what_a_stopped_run_left(found: dict[str, Any], reasons: list[str]) -> None:
    environment: dict[str, Any] = {"app_environment": {"COLOUR": "red"}, "app_secrets": {"TOKEN": 'ä\n"quoted" $x'}}
    seen = host(**found, **environment)
    assert value("__app_restart_reasons", **seen) == reasons
    assert value("__app_restart_reasons", **seen, app_restart="false") == []
    seen["__app_there"]["files"] = seen["__app_there"]["files"][1:]
    assert value("__app_restart_reasons", **seen) == [], "nothing is live"


@pytest.mark.parametrize(
    ("marked", "reasons", "changed"),
    [([], [], []), ([], ["units"], ["units"]), (["units"], ["units"], []), (["environment"], ["units"], ["environment", "units"])],
)
def test_a_mark_is_touched_only_where_it_changes(marked: list[str], reasons: list[str], changed: list[str]) -> None:
    (task,) = [task for task in configuring() if task["name"] == "Mark for what it has to be restarted"]
    assert value(task["loop"].strip("{} "), __app_restart_marked=marked, __app_restart_for=reasons) == changed


@pytest.mark.parametrize("mark", ["", "units", "environment"])
def test_marks_of_an_application_are_its_own_and_told_apart(mark: str) -> None:
    assert value("__app_restart_marked", **host(mark)) == ([mark] if mark else [])


def test_marks_are_where_the_transaction_program_takes_them_away(tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text(json.dumps(value("__app_config")))
    folder = config.load("shop", str(tmp_path)).configurations
    assert {*value("__app_restart_marks").values()} == {f"{folder}/{configuration.ENVIRONMENT_MARK}", f"{folder}/{configuration.UNITS_MARK}"}


def test_marks_are_placed_before_what_is_marked_is_written() -> None:
    """By their order alone a run that is killed anywhere leaves no change without its mark."""
    names = [task["name"] for task in configuring()]
    look, mark = names.index("Look what lies there, and whether a release is live"), names.index("Mark for what it has to be restarted")
    assert look < mark < names.index("Write the wanted environment")
    assert mark < names.index("Write the units of the processes")


def test_hosts_are_restarted_that_have_a_reason() -> None:
    hosts = {"app1": {"__app_restart_for": []}, "app2": {"__app_restart_for": ["units"]}, "app3": {}, "app4": {"__app_restart_for": ["environment"]}}
    given = {"hostvars": hosts, "ansible_play_batch": list(hosts)}
    assert value("__app_restart_hosts", **given) == ["app2", "app4"]
    assert value("__app_restart_first", **given) == "app2"


def refused(name: str) -> bool:
    """Whether the role refuses this name of an application."""
    tasks = yaml.safe_load((ROLE / "tasks" / "preflight.yml").read_text())
    (task,) = [task for task in tasks if task["name"] == "Refuse a name that cannot name an account, a folder and units"]
    given = {"item": {"key": "app_name", "value": name}, **{key: trust_as_template(text) for key, text in task["vars"].items()}}
    return not all(value(condition, **given) for condition in task["ansible.builtin.assert"]["that"])


def test_an_application_has_no_name_of_the_collections_own() -> None:
    """A folder that the collection has for something else would be the application's, closed to others and removed with it."""
    own = re.compile(r"/(?:etc|run|var/lib)/(tossable(?:-[a-z_]+)?(?:/[a-z_]+)?)(?![\w.-])")
    files = [
        path for part in ("roles", "plugins", "playbooks") for path in (ROOT / part).rglob("*") if path.suffix in {".py", ".yml", ".j2", ".md", ""}
    ]
    named = {found for path in files if path.is_file() for found in own.findall(path.read_text(encoding="utf-8"))}
    names = {found.removeprefix("tossable/") for found in named} - {"storefront"}
    assert {"baseline", "flags", "ledger", "locks", "migrations", "tossable-robot", "tossable"} <= names
    assert [name for name in sorted(names) if not refused(name)] == []
    assert [name for name in ("storefront", "shop", "flags-web", "tossables") if refused(name)] == []


@pytest.mark.parametrize(
    ("result", "fails"),
    [
        ({"changed": True}, False),
        ({"failed": True, "msg": "Could not find the requested service shop-extra.service: host"}, False),
        ({"failed": True, "msg": "Unable to stop service shop-extra.service: Access denied"}, True),
    ],
)
def test_a_unit_that_a_stopped_run_had_removed_is_stopped_already(result: dict[str, Any], fails: bool) -> None:
    (task,) = [task for task in configuring() if task["name"] == "Stop units that are no longer wanted"]
    assert value(task["failed_when"], **{task["register"]: result}) is fails
