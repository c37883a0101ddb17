"""The action and the program's lock together: two runs, waiting, a dead holder, a loss; only the connection is left out."""

from __future__ import annotations

import os
import pathlib
import types
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.action import deployment_lock as action
from ansible_collections.tossable.fleet.plugins.module_utils.host import lease_file
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock

GIVEN = {
    "app": "shop",
    "environment": "production",
    "database": "",
    "what": "deploy 1",
    "by": None,
    "reason": "to see",
    "lease_seconds": 900,
    "wait_seconds": 0,
}


class Controller(action.ActionModule):
    """The action without Ansible around it; the ops host is a folder, and can be out of reach."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.reachable = True
        self._task = types.SimpleNamespace(check_mode=False)

    def call(self, verb: str, app: str, given: dict[str, Any], own_unit: bool = False) -> dict[str, Any]:
        assert verb == "lock"
        if not self.reachable:
            return {"failed": True, "reachable": False, "msg": "The host cannot be reached.", "evidence": []}
        try:
            return lease_file.perform(app, given, str(self.folder))
        except HostError as error:
            return {"failed": True, "msg": error.message, "evidence": error.evidence}

    def take(self, **more: Any) -> dict[str, Any]:
        return self._take({**GIVEN, **more})

    def renew(self, lock: dict[str, Any], above: int = 0) -> dict[str, Any]:
        return self._renew({**GIVEN, "lock": lock, "above": above})

    def free(self, lock: dict[str, Any]) -> dict[str, Any]:
        return self._free({**GIVEN, "lock": lock})

    def unlock(self, reason: str) -> dict[str, Any]:
        return self._break({**GIVEN, "by": "bob", "reason": reason})


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    return Controller(tmp_path)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited; the clock goes on by as much, and nothing sleeps."""
    slept: list[float] = []
    clock = types.SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept))
    monkeypatch.setattr(action, "time", clock)
    return slept


def test_a_worker_whose_controller_was_killed_takes_no_lock_also_where_it_waited_for_it(
    controller: Controller, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.parent_process", lambda: types.SimpleNamespace(pid=os.getppid()))
    first = controller.take(by="ada")["lock"]
    assert first["held"]
    killed_after = iter([False, False, True])
    monkeypatch.setattr(deployment_lock, "orphaned", lambda: next(killed_after))
    assert "ansible-playbook has ended" in controller.take(by="bob", wait_seconds=600)["msg"]
    assert len(pauses) == 2
    controller.free(first)
    monkeypatch.undo()
    monkeypatch.setattr("multiprocessing.parent_process", lambda: types.SimpleNamespace(pid=os.getppid() + 1))
    assert controller.take(by="bob")["failed"]
    monkeypatch.undo()
    assert controller.take(by="bob")["lock"]["token"] == 2


def test_one_wins_and_the_other_is_told(controller: Controller) -> None:
    first, second = controller.take(by="ada"), controller.take(by="bob")
    assert first["lock"]["held"]
    assert second["failed"]
    assert "ada" in second["msg"]
    assert first["lock"]["run"] in second["msg"]
    assert not controller.free(first["lock"]).get("warnings")
    assert controller.take(by="bob")["lock"]["token"] == 2


def test_a_run_waits_as_long_as_it_was_told_to(controller: Controller, pauses: list[float]) -> None:
    controller.take()
    refused = controller.take(wait_seconds=61)
    assert sum(pauses) == 61
    assert "Waited 61 s" in refused["msg"]


def test_a_run_that_waits_gets_the_lock_once_it_is_freed(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = controller.take()["lock"]
    clock = types.SimpleNamespace(sleep=lambda _seconds: controller.free(first), monotonic=lambda: 0.0)
    monkeypatch.setattr(action, "time", clock)
    assert controller.take(wait_seconds=600)["lock"]["token"] == first["token"] + 1


def test_a_dead_holder_is_taken_over_at_once(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = controller.take(by="ada")["lock"]
    monkeypatch.setattr(deployment_lock, "process_start", lambda _pid: None)
    second = controller.take(by="bob")
    assert second["lock"]["token"] == first["token"] + 1
    assert "taken over from ada" in second["summary"]
    assert "is gone" in second["summary"]


def test_what_was_lost_is_not_renewed_and_says_who_has_it(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = controller.take(by="ada")["lock"]
    controller.unlock("laptop gone")
    broken = controller.renew(first)
    assert not broken.get("failed"), "a task that runs once must not fail"
    assert "broken by bob" in broken["lock"]["said"]
    second = controller.take(by="eve")["lock"]
    lost = controller.renew(first)["lock"]
    assert "eve" in lost["said"]
    assert not lost["held"]
    controller.free(lost)
    assert controller.renew(second)["lock"]["held"], "freeing what was lost freed another run's lock"


def test_a_renewal_prolongs_the_deadline(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = controller.take()["lock"]
    monkeypatch.setattr(deployment_lock, "uptime", lambda: first["deadline"] - 1)
    assert controller.renew(first)["lock"]["deadline"] == first["deadline"] - 1 + 900


def test_hosts_that_have_seen_more_raise_the_token(controller: Controller) -> None:
    lock = controller.renew(controller.take()["lock"], above=57)["lock"]
    assert (lock["token"], lock["held"]) == (58, True)
    assert controller.renew(lock, above=57)["lock"]["token"] == 58


def test_an_ops_host_out_of_reach_stops_a_run_only_once_its_lease_is_over(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = controller.take()["lock"]
    controller.reachable = False
    kept = controller.renew(lock)
    assert kept["lock"] == lock
    assert "cannot be reached" in kept["warnings"][0]
    monkeypatch.setattr(deployment_lock, "uptime", lambda: lock["deadline"] + 1)
    assert not controller.renew(lock)["lock"]["held"]
    assert "becomes free by itself" in controller.free(lock)["warnings"][0]
    assert controller.take()["failed"]


def test_a_break_tells_whose_it_was(controller: Controller) -> None:
    nothing = {"changed": False, "broken": None, "summary": "lock of shop in production: nothing to break, it was free"}
    assert controller.unlock("to be sure") == nothing
    held = controller.take(by="ada")["lock"]
    done = controller.unlock("laptop gone")
    assert "it was held by ada" in done["summary"]
    assert (done["broken"]["run"], done["broken"]["by"]) == (held["run"], "ada")
    assert 'Say it with -e "reason=' in controller.unlock("")["msg"]


def test_a_database_is_carried_with_the_lock_and_a_password_goes_nowhere(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    real = controller.call

    def call(verb: str, app: str, given: dict[str, Any], own_unit: bool = False) -> dict[str, Any]:
        asked.append(given)
        return real(verb, app, {**given, "database": ""})

    monkeypatch.setattr(controller, "call", call)
    lock = controller.take(database="lock")["lock"]
    assert lock["database"] == "lock"
    lock = controller.renew(lock)["lock"]
    assert lock["database"] == "lock"
    assert asked[0]["database"] == "service=lock"
    refused = controller.take(database="host=db password=secret")
    assert "holds a password" in refused["msg"]
    assert "secret" not in refused["msg"]
    assert len(asked) == 2


@pytest.mark.parametrize(("seconds", "holder"), [(900, "ada"), (0, None)])
def test_whose_lease_has_run_out_is_nobody_that_is_at_work(controller: Controller, seconds: int, holder: str | None) -> None:
    """A controller that died leaves its lease in the record; who looks then is not told that hosts are as somebody means them to be."""
    controller.take(by="ada", lease_seconds=seconds)
    shown = controller._show(GIVEN)
    assert (shown["holder"] and shown["holder"]["owner"]["by"]) == holder
    assert ("its lease ran out at" in shown["summary"]) == (holder is None)
