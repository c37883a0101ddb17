"""What has run is on record: done stays done, an interruption is seen, a torn line costs nothing, and nothing is guessed."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import migration_record
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from hypothesis import given
from hypothesis import strategies as st


def record(event: str, name: str = "0001", **more: Any) -> dict[str, Any]:
    return {"event": event, "id": name, "phase": "expand", "class": "reversible", **more}


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        (("begun",), "begun"),
        (("begun", "failed"), "failed"),
        (("begun", "failed", "begun", "done"), "done"),
        (("begun", "done", "failed"), "done"),
        (("begun", "done", "begun"), "done"),
        (("begun", "done", "undone"), "undone"),
        (("begun", "done", "undone", "begun"), "begun"),
    ],
)
def test_what_is_done_stays_done_until_it_is_undone(events: tuple[str, ...], counts: str) -> None:
    assert migration_record.fold([record(event) for event in events])["0001"]["event"] == counts


@given(st.lists(st.tuples(st.sampled_from(["begun", "done", "failed"]), st.sampled_from("abc"))))
def test_one_migration_says_nothing_about_another(events: list[tuple[str, str]]) -> None:
    state = migration_record.fold([record(event, name) for event, name in events])
    for name in {name for _event, name in events}:
        own = [event for event, other in events if other == name]
        assert state[name]["event"] == ("done" if "done" in own else own[-1])


def note(folder: pathlib.Path, event: str | None, name: str = "0001") -> dict[str, Any]:
    asked = {"environment": "lab", "record": event and record(event, name)}
    return migration_record.perform("shop", asked, str(folder))


def test_an_environment_that_has_seen_none_has_no_file_either(tmp_path: pathlib.Path) -> None:
    assert note(tmp_path, None)["migrations"] == {}
    assert list(tmp_path.iterdir()) == []


def test_an_event_is_kept_with_its_time(tmp_path: pathlib.Path) -> None:
    note(tmp_path, "begun")
    answer = note(tmp_path, "done", "0002")
    assert answer["changed"]
    assert {name: one["event"] for name, one in note(tmp_path, None)["migrations"].items()} == {"0001": "begun", "0002": "done"}
    assert answer["migrations"]["0002"]["at"].endswith("Z")
    assert answer["migrations"]["0002"]["at"] <= answer["now"]


def test_a_torn_line_is_not_read_and_is_cut_off_by_the_next_one(tmp_path: pathlib.Path) -> None:
    note(tmp_path, "begun")
    path = tmp_path / "lab" / "shop.jsonl"
    with path.open("a") as file:
        file.write('{"event": "done", "id": "00')
    assert note(tmp_path, None)["migrations"]["0001"]["event"] == "begun"
    note(tmp_path, "done")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["begun", "done"]


@pytest.mark.parametrize("text", ["not json\n", '{"id": "0001"}\n', '{"id": "0001", "event": "maybe"}\n', '["done"]\n'])
def test_a_record_that_is_none_is_refused_and_left_alone(tmp_path: pathlib.Path, text: str) -> None:
    note(tmp_path, "begun")
    path = tmp_path / "lab" / "shop.jsonl"
    path.write_text(text)
    for event in (None, "done"):
        with pytest.raises(HostError, match="Nothing runs while it is not known what has run"):
            note(tmp_path, event)
    assert path.read_text() == text


def test_nonsense_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(HostError, match="no event 'perhaps'"):
        note(tmp_path, "perhaps")
    with pytest.raises(HostError, match="no name for an environment"):
        migration_record.perform("shop", {"environment": "../etc"}, str(tmp_path))
