"""Handing over never fails a run; what cannot be sent as it stands is refused before one begins."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.tossable.fleet.plugins.action import announce as action
from ansible_collections.tossable.fleet.plugins.plugin_utils import announce_spool

ROOT = Path(__file__).parents[4]
STORY = {
    "kind": "deploy",
    "app": "storefront",
    "environment": "lab",
    "version": "1.1.0",
    "run": "run-1",
    "by": "ada",
    "on_behalf_of": "",
    "reason": "",
}
TWO = [{"to": "json://one.example"}, {"to": "json://two.example", "events": ["failed"]}]


def given(*events: dict[str, Any], announce: list[Any] = TWO, **story: str) -> dict[str, Any]:
    return {"announce": announce, "events": list(events), "story": {**STORY, **story}}


def ended(well: bool) -> dict[str, Any]:
    return {"event": "ended", "aborted": {}, "well": well, "switched": True, "stranded": False, "msg": "disk full"}


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The queues that a process was started for."""
    queues: list[Path] = []
    monkeypatch.setattr(announce_spool, "send_beside", queues.append)
    return queues


def test_each_target_gets_the_events_that_it_wants_and_one_process(tmp_path: Path, begun: list[Path]) -> None:
    announced, warnings = action._hand_over(tmp_path, given({"event": "interrupted", "continues": "run-0"}, ended(True)))
    assert (len(announced), warnings) == (2, [])
    action._hand_over(tmp_path, given(ended(False)))
    waiting = [[json.loads(path.read_text())["event"] for path in announce_spool.waiting(queue)] for queue in begun]
    assert waiting == [["interrupted", "deployed", "failed"], ["interrupted", "deployed", "failed"], ["failed"]]


def test_a_folder_that_cannot_be_written_fails_nothing(tmp_path: Path, begun: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    _announced, (warning,) = action._hand_over(tmp_path / "file", given(ended(True)))
    assert "Not announced" in warning
    assert warning.endswith("The run goes on.")
    assert begun == []
    assert action._unsent(tmp_path / "file") == []


def test_facts_that_are_missing_fail_nothing(tmp_path: Path, begun: list[Path]) -> None:
    for events in ({"event": "ended"}, {"event": "none"}, {}):
        assert action._hand_over(tmp_path, given(events))[1]
    assert begun == []


class Announce(action.ActionModule):
    """The action without Ansible around it."""

    def __init__(self, **given: Any) -> None:
        self._task = types.SimpleNamespace(check_mode=False, async_val=0, args={})
        self._connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir="/tmp"))
        self._given = {"state": "checked", "strict": True, "folder": "/nowhere", "story": {}, "events": [], **given}

    def validate_argument_spec(self, argument_spec: object) -> tuple[None, dict[str, Any]]:
        assert argument_spec
        return None, self._given


def test_what_cannot_be_sent_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce_spool, "readable", lambda addresses: ["hunter2" not in one for one in addresses])
    assert "warnings" not in Announce(announce=TWO).run()
    with pytest.raises(AnsibleActionFail, match=r"Nothing was changed.*\n- announce\[1\]\.to cannot be read") as refused:
        Announce(announce=[TWO[0], {"to": "nonsense://hunter2"}]).run()
    assert "hunter2" not in str(refused.value)
    with pytest.raises(AnsibleActionFail, match=r"announce\[0\]\.events: 'x' is not known: there are started"):
        Announce(announce=[{"to": "json://x", "events": ["x"]}]).run()


def none(_addresses: list[str]) -> list[bool]:
    raise ImportError


def test_without_the_library_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce_spool, "readable", none)
    with pytest.raises(AnsibleActionFail, match="pip install apprise"):
        Announce(announce=TWO).run()


@pytest.mark.parametrize(
    ("announce", "told"), [(TWO, "pip install apprise"), ([{"to": "json://x", "events": ["x"]}], "announce[0].events"), (["x"], "announce[0] is not")]
)
def test_a_rollback_is_warned_and_goes_on(monkeypatch: pytest.MonkeyPatch, announce: list[Any], told: str) -> None:
    monkeypatch.setattr(announce_spool, "readable", none)
    done = Announce(announce=announce, strict=False).run()
    (warning,) = done["warnings"]
    assert not done.get("failed")
    assert told in warning
    assert done["unsent"] == [warning]
    assert warning.startswith("Announcements cannot be sent as they stand in the inventory; the run goes on")
    plan = yaml.safe_load((ROOT / "roles" / "release" / "tasks" / "plan.yml").read_text())
    (checked,) = [task["tossable.fleet.announce"] for task in plan if "tossable.fleet.announce" in task]
    assert checked["strict"] == "{{ release_kind != 'rollback' }}"
