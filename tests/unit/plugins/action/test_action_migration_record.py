"""The action and the program's record together; only the connection is left out."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.action import migration_record as action
from ansible_collections.tossable.fleet.plugins.module_utils.host import migration_record

MIGRATION = {"id": "0001", "phase": "expand", "class": "forward-only"}
BLANK = dict.fromkeys(("release", "host", "deadline_seconds", "seconds", "error", "id", "migration", "by", "lock"))
GIVEN: dict[str, Any] = {**BLANK, "app": "shop", "environment": "lab", "run": "r", "by": "ada", "reason": ""}


class Controller(action.ActionModule):
    """The action without Ansible around it; the ops host is a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._task = types.SimpleNamespace(check_mode=False)

    def call(self, verb: str, app: str, given: dict[str, Any], own_unit: bool = False) -> dict[str, Any]:
        assert verb == "migrations"
        return migration_record.perform(app, given, str(self.folder))

    def note(self, state: str, **more: Any) -> dict[str, Any]:
        return self._note({**GIVEN, "state": state, "migration": MIGRATION, "release": "1-a", "host": "app1", **more})

    def undo(self, name: str, reason: str) -> dict[str, Any]:
        return self._undo({**GIVEN, "state": "undone", "id": name, "reason": reason})


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    return Controller(tmp_path)


def test_an_event_says_what_where_for_which_release_and_by_whom(controller: Controller) -> None:
    controller.note("begun", deadline_seconds=600)
    known = controller.note("done", seconds=1.5)["migrations"]["0001"]
    assert {**MIGRATION, "event": "done", "release": "1-a", "host": "app1", "run": "r", "by": "ada", "seconds": 1.5}.items() <= known.items()


def test_a_run_that_has_lost_the_lock_notes_no_beginning_but_still_how_it_ended(controller: Controller) -> None:
    lock = {"held": True, "run": "r", "deadline": 1e12, "said": ""}
    assert "0001" in controller.note("begun", deadline_seconds=600, lock=lock)["migrations"]
    lost = {**lock, "held": False, "said": "bob has it"}
    answer = controller.note("begun", deadline_seconds=600, migration={**MIGRATION, "id": "0002"}, lock=lost)
    assert (answer["failed"], answer["refused"], answer["msg"]) == (True, True, "bob has it")
    known = controller.note("done", seconds=1.5, lock=lost)["migrations"]
    assert {name: record["event"] for name, record in known.items()} == {"0001": "done"}


def test_check_mode_adds_nothing(controller: Controller) -> None:
    controller._task.check_mode = True
    assert controller.note("begun", deadline_seconds=600)["migrations"] == {}
    assert list(controller.folder.iterdir()) == []


def test_what_was_undone_is_noted_with_its_reason_and_keeps_its_class(controller: Controller) -> None:
    assert controller.undo("0001", "restored")["refused"]
    controller.note("done", seconds=1.0)
    assert controller.undo("0001", "")["refused"]
    known = controller.undo("0001", "restored")["migrations"]["0001"]
    assert (known["event"], known["class"], known["reason"]) == ("undone", "forward-only", "restored")
