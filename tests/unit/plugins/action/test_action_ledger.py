"""The action, the spool and the program's ledger together; only the connection is left out."""

from __future__ import annotations

import json
import pathlib
import types
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.tossable.fleet.plugins.action import ledger as action
from ansible_collections.tossable.fleet.plugins.module_utils.host import ledger, ledger_runs
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import ledger as plugin_ledger
from ansible_collections.tossable.fleet.plugins.plugin_utils import ledger_spool
from ledger_records import ended, noted, started

GIVEN: dict[str, Any] = {"environment": "lab", "host": "ops1", "app": "shop", "wanted": {}, "locks_here": False, "database": ""}


class Controller(action.ActionModule):
    """The action without Ansible around it; the ops host is a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / "ops1"
        self.spool = folder / "spool"
        self.trouble: BaseException | None = None
        self.deaf = False
        self._task = types.SimpleNamespace(check_mode=False)

    def call(self, verb: str, app: str, given: dict[str, Any], own_unit: bool = False) -> dict[str, Any]:
        assert verb == "ledger"
        if self.trouble:
            if isinstance(self.trouble, HostError):
                return {"failed": True, "msg": self.trouble.message}
            raise self.trouble
        answer = ledger.perform(app, json.loads(json.dumps(given)), str(self.folder))
        return {"failed": True, "msg": "The host cannot be reached: reset"} if self.deaf else answer

    def write(self, record: dict[str, Any], host: str = "ops1") -> dict[str, Any]:
        return self._deliver({**GIVEN, "spool": str(self.spool), "host": host}, record)

    def show(self, **wanted: str) -> dict[str, Any]:
        return self._show({**GIVEN, "spool": str(self.spool), "wanted": wanted})

    def written(self) -> list[str]:
        records, unreadable = ledger_runs.read(f"{self.folder}/ledger.jsonl")
        assert unreadable == 0
        return [f"{record['run']} {record['event']}" for record in records]

    def waits(self) -> list[pathlib.Path]:
        return sorted((self.spool / "lab").glob("*"))


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    return Controller(tmp_path)


def test_a_record_is_written_and_nothing_stays_behind(controller: Controller) -> None:
    answer = controller.write(started("a"))
    assert answer == {"recorded": True, "said": []}
    assert controller.written() == ["a started"]
    assert controller.waits() == []


@pytest.mark.parametrize("trouble", [HostError("No space left on device."), AnsibleError("The transaction program could not be put there")])
def test_what_cannot_be_written_waits_and_comes_first_the_next_time(controller: Controller, trouble: Exception) -> None:
    controller.write(started("a", 0))
    controller.trouble = trouble
    for record in (ended("a", 1), started("b", 2), ended("b", 3)):
        answer = controller.write(record)
        (line,) = answer["said"]
        assert not answer["recorded"]
        assert f"the {record['event'].removesuffix('ed')} of run" in line
        why = str(getattr(trouble, "message", trouble)).strip().rstrip(".")
        assert f" of run {record['run']} could not be recorded: {why}. It is kept in {controller.waits()[-1]}." in line
        assert json.loads(controller.waits()[-1].read_text()) == record
    assert controller.waits()[0].name == "2026-11-25T100001.000Z-a-ended@ops1.json"
    controller.trouble = None
    answer = controller.write(started("c", 4))
    assert "brought up to date with 3 records" in answer["said"][0]
    assert controller.written() == ["a started", "a ended", "b started", "b ended", "c started"]
    assert controller.waits() == []


def test_a_record_whose_answer_was_lost_is_written_once(controller: Controller) -> None:
    controller.deaf = True
    controller.write(started("a"))
    assert controller.written() == ["a started"]
    controller.deaf = False
    controller.write(ended("a"))
    assert controller.written() == ["a started", "a ended"]
    assert controller.waits() == []


def test_a_controller_that_dies_while_it_asks_has_kept_the_record(controller: Controller) -> None:
    controller.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        controller.write(started("a"))
    controller.trouble = None
    controller.write(started("b", 9))
    assert controller.written() == ["a started", "b started"]


def test_each_ops_host_catches_up_by_itself(controller: Controller) -> None:
    controller.trouble = HostError("away")
    controller.write(started("a"), host="ops1")
    controller.write(started("a"), host="ops2")
    controller.trouble = None
    controller.write(ended("a"), host="ops1")
    assert [path.name.partition("@")[2] for path in controller.waits()] == ["ops2.json"]


def test_where_nothing_can_wait_either_the_record_is_in_the_output(controller: Controller) -> None:
    controller.spool.write_text("a file, and no folder")
    assert controller.write(started("a"))["recorded"], "the ledger can be written all the same"
    controller.trouble = HostError("away")
    said = controller.write(ended("a"))["said"]
    assert "records cannot wait in" in said[0]
    assert json.loads(said[1].partition("Keep this line, it is the record: ")[2]) == ended("a")


def test_what_is_no_record_is_set_aside(controller: Controller) -> None:
    controller.trouble = HostError("away")
    controller.write(noted("a"))
    controller.trouble = None
    (path,) = controller.waits()
    path.write_text("{")
    said = controller.write(started("b"))["said"]
    assert said == [f"ledger: {path}.unreadable held no record and was set aside."]
    assert controller.written() == ["b started"]
    assert controller.write(ended("b"))["said"] == []


def test_a_torn_end_is_told(controller: Controller) -> None:
    controller.write(started("a"))
    with (controller.folder / "ledger.jsonl").open("a") as file:
        file.write('{"event": "en')
    assert "its end was torn and was moved to ledger.torn" in controller.write(ended("a"))["said"][0]
    assert controller.written() == ["a started", "a ended"]


def test_showing_brings_it_up_to_date_but_not_in_check_mode(controller: Controller) -> None:
    controller.trouble = HostError("away")
    controller.write(started("a"))
    controller.trouble = None
    controller._task.check_mode = True
    assert controller.show()["runs"] == []
    controller._task.check_mode = False
    shown = controller.show()
    assert [run["run"] for run in shown["runs"]] == ["a"]
    assert "brought up to date with 1 record that" in shown["said"][0]


def test_a_wrong_filter_is_refused_in_words(controller: Controller) -> None:
    controller.write(started("a"))
    assert "say it as" in controller.show(since="soon")["msg"]
    assert controller.show(by="eve") == {"failed": True, "msg": "The ledger has no person 'eve' (there are: ada@desk).", "said": []}
    assert controller.show(by="ada", outcome="failed")["lines"] == ["No run fits."]
    assert controller.show(run="a")["lines"][0].endswith("a: deploy shop in lab")


def test_a_ledger_that_cannot_be_read_is_said(controller: Controller) -> None:
    controller.trouble = HostError("The host cannot be reached: timed out")
    assert controller.show()["msg"] == "The ledger cannot be read. The host cannot be reached: timed out"


def test_the_last_run_is_told_and_never_fails(controller: Controller) -> None:
    assert controller._last(GIVEN) == {"summary": "last run: none in the ledger"}
    for record in (started("a"), ended("a"), noted("x", 5), started("b", 9, application="other")):
        controller.write(record)
    assert controller._last(GIVEN)["summary"] == "last run: deploy to 2-bbbbbbbb by ada@desk at 2026-11-25T10:00:00Z: deployed; run a"
    controller.trouble = HostError("The host cannot be reached: timed out")
    assert controller._last(GIVEN) == {"summary": "last run: unknown. The host cannot be reached: timed out"}


def test_names_sort_like_times_and_stay_in_the_folder(tmp_path: pathlib.Path) -> None:
    names = [pathlib.Path(ledger_spool.put(str(tmp_path), "ops1", noted("../../x y", second))).name for second in (1, 59, 61)]
    assert names == sorted(names)
    assert len(list(tmp_path.iterdir())) == 3
    assert ledger_spool.waiting(str(tmp_path), "ops*").paths == []


def test_a_letter_that_was_cut_in_half_on_the_command_line_costs_no_record(controller: Controller) -> None:
    """As Ansible hands on a byte that is no UTF-8; the record says so in its place."""
    reason = b"the caf\xc3".decode("utf-8", "surrogateescape")
    given = {
        **GIVEN,
        "state": "noted",
        "kind": "toss",
        "text": "x",
        "flags": [],
        "reason": reason,
        "by": reason,
        "run": "",
        "plan": None,
        "on_behalf_of": "",
    }
    record = plugin_ledger.writable(action._assembled(given, 0.0, 0.0))
    assert controller.write(record) == {"recorded": True, "said": []}
    assert (record["reason"], record["by"]) == ("the caf?", "the caf?")
    assert len(controller.written()) == 1


def test_a_record_that_another_run_appends_meanwhile_is_no_reason_not_to_keep_ones_own(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.trouble = HostError("No space left on device.")
    controller.write(started("a"))
    (waits,) = controller.waits()
    monkeypatch.setattr(pathlib.Path, "glob", lambda _self, _pattern: [waits, waits.with_name("2-gone@ops1.json")])
    assert ledger_spool.waiting(str(controller.spool / "lab"), "ops1").paths == [str(waits)]
