# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hot path costs one exec a host: no module is built or shipped, no temporary folder made. Without the lock there is not even that one."""

from __future__ import annotations

import json
import types
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.action import health_check, migration, release, release_info, release_watch
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, host_program
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction

RELEASE = "1.1.0-aaaaaaaa"
ANSWER = {"changed": True, "previous": "1.0.0-bbbbbbbb", "release": RELEASE, "live": RELEASE, "staged": [RELEASE], "balancer_word": "ready"}


class Host:
    """A host that answers every call; counts what is executed on it. Whether it has the program is for the test to say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, has_program: bool = True) -> None:
        self.executed: list[str] = []
        self.has_program = has_program

        def execute(_action: HostAction, cmd: str, in_data: bytes | None = None) -> dict[str, Any]:
            self.executed.append(cmd)
            if in_data and "tar --extract" in cmd:
                self.has_program = True
                return {"rc": 0, "stdout": "", "stderr": ""}
            return {"rc": 0 if self.has_program else host_program.NOT_THERE, "stdout": json.dumps(ANSWER), "stderr": ""}

        def never(*_words: Any, **_named: Any) -> None:
            raise AssertionError("a second way to the host")

        monkeypatch.setattr(HostAction, "_low_level_execute_command", execute)
        for other in ("_execute_module", "_make_tmp_path", "_transfer_data", "_transfer_file", "_remote_file_exists"):
            assert hasattr(HostAction, other), other
            monkeypatch.setattr(HostAction, other, never)

    def ask(self, plugin: Any, args: dict[str, Any], check: bool = False) -> dict[str, Any]:
        """Run the action with these arguments."""
        task = types.SimpleNamespace(args={"app": "shop", **args}, action="tossable.fleet.release", check_mode=check, async_val=0)
        connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None))
        return dict(plugin.ActionModule(task, connection, None, None, None, None).run(None, {}))


STATES = [
    {"state": "staged", "version": "1.1.0", "digest": "a" * 64, "url": "http://store/shop/1.1.0"},
    {"state": "active", "release": RELEASE},
    {"state": "rolled_back"},
    {"state": "restarted"},
    {"state": "given_up", "release": RELEASE},
    *({"state": state} for state in ("retired", "pruned", "drained", "ready")),
]


@pytest.mark.parametrize("check", [False, True], ids=["for real", "check mode"])
@pytest.mark.parametrize("given", STATES, ids=[given["state"] for given in STATES])
def test_each_state_is_one_exec(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], check: bool) -> None:
    host = Host(monkeypatch)
    answer = host.ask(release, given, check)
    assert not answer.get("failed"), answer
    assert len(host.executed) == 1


#: What is done under the lock: the plugin and what it is asked.
UNDER_LOCK: list[tuple[Any, dict[str, str]]] = [*((release, given) for given in STATES), (migration, {"release": RELEASE, "id": "0001-add"})]


@pytest.mark.parametrize(("plugin", "given"), UNDER_LOCK, ids=[given.get("state", "migrated") for _, given in UNDER_LOCK])
@pytest.mark.parametrize(
    ("lock", "told"),
    [
        ({"held": False, "said": "Run a has lost the lock: bob broke it."}, "Run a has lost the lock: bob broke it."),
        ({"deadline": deployment_lock.uptime() - 1}, "The lease of this run (a) ran out "),
    ],
    ids=["lost", "ran out"],
)
def test_a_run_without_the_lock_asks_the_host_nothing(
    monkeypatch: pytest.MonkeyPatch, plugin: Any, given: dict[str, str], lock: dict[str, Any], told: str
) -> None:
    host = Host(monkeypatch)
    held = {"run": "a", "token": 7, "held": True, "deadline": float("inf"), "said": ""}
    answer = host.ask(plugin, {**given, "lock": {**held, **lock}})
    assert (answer["failed"], answer.get("changed", False)) == (True, False)
    assert answer["msg"].startswith(told)
    assert host.executed == []
    assert not host.ask(plugin, {**given, "lock": held}).get("failed")
    assert len(host.executed) == 1


@pytest.mark.parametrize(("plugin", "given"), [(release_info, {}), (release_watch, {"release": RELEASE}), (health_check, {})])
def test_each_question_is_one_exec(monkeypatch: pytest.MonkeyPatch, plugin: Any, given: dict[str, str]) -> None:
    host = Host(monkeypatch)
    assert not host.ask(plugin, given).get("failed")
    assert len(host.executed) == 1


def test_a_host_without_the_program_costs_two_more_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, has_program=False)
    host.ask(release, {"state": "active", "release": RELEASE})
    assert len(host.executed) == 3
    host.ask(release, {"state": "rolled_back"})
    assert len(host.executed) == 4
