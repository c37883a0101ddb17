"""Handing over never fails a run; what cannot be sent as it stands is refused before one begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.tossable.fleet.plugins.action import announce as action
from ansible_collections.tossable.fleet.plugins.plugin_utils import announce_spool

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


def test_what_cannot_be_sent_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce_spool, "readable", lambda addresses: ["hunter2" not in one for one in addresses])
    action._check(TWO)
    with pytest.raises(AnsibleActionFail, match=r"announce\[1\]\.to cannot be read") as refused:
        action._check([TWO[0], {"to": "nonsense://hunter2"}])
    assert "hunter2" not in str(refused.value)
    with pytest.raises(AnsibleActionFail, match=r"announce\[0\]\.events: 'x' is not known: there are started"):
        action._check([{"to": "json://x", "events": ["x"]}])


def test_without_the_library_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_addresses: list[str]) -> list[bool]:
        raise ImportError

    monkeypatch.setattr(announce_spool, "readable", none)
    with pytest.raises(AnsibleActionFail, match="pip install apprise"):
        action._check(TWO)
