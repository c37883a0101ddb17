"""A declaration that changes is followed, and never takes back what somebody switched."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import flag_file
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_following as following
from hypothesis import given
from hypothesis import strategies as st

WHO = {"at": "2026-11-25T10:00:00Z", "by": "ada", "reason": "declared so"}
NOTHING = following.Found(None, b"", b"", 0)
OFF = {"to": "off"}


def render(declared: Mapping[str, Any]) -> following.Render:
    """Stands in for the compiler: each flag is what is live, else what is declared."""

    def line(live: Mapping[str, Any], generation: int) -> bytes:
        told = {"flags": {**declared, **live}, "metadata": {"environment": "lab", "generation": generation}}
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    return line


def follow(found: following.Found, declared: Mapping[str, Any]) -> following.Kept:
    return following.follow(found, declared, render(declared), "lab", WHO)


def found_after(kept: following.Kept) -> following.Found:
    return following.Found(kept.state, following.encode(kept.state), kept.line, kept.generation)


def switched(kept: following.Kept, declared: Mapping[str, Any], **to: Any) -> following.Found:
    """As a switch leaves it."""
    generation = kept.generation + 1
    line = render(declared)(to, generation)
    overrides = {name: {"state": state, "by": "lin", "at": "then", "reason": "slow"} for name, state in to.items()}
    state = {**kept.state, "generation": generation, "overrides": overrides, "digest": hashlib.sha256(line).hexdigest()}
    return following.Found(state, following.encode(state), line, generation)


def test_the_first_state_is_what_is_declared_and_the_second_run_changes_nothing() -> None:
    first = follow(NOTHING, {"pay": 1})
    assert (first.changed, first.generation, first.state["overrides"], first.state["changed"]) == (True, 1, {}, {})
    assert first.state["digest"] == hashlib.sha256(first.line).hexdigest()
    again = follow(found_after(first), {"pay": 1})
    assert (again.changed, again.line) == (False, first.line)


def test_a_changed_declaration_is_followed_and_a_switch_stays() -> None:
    before = switched(follow(NOTHING, {"pay": 1, "search": 1}), {"pay": 1, "search": 1}, pay=OFF)
    after = follow(before, {"pay": 2, "search": 2, "new": 1})
    assert (after.changed, after.generation) == (True, 3)
    assert json.loads(after.line)["flags"] == {"pay": OFF, "search": 2, "new": 1}
    assert list(after.state["overrides"]) == ["pay"]
    assert after.state["changed"] == {"search": WHO, "new": WHO}


def test_a_switch_of_a_flag_that_is_not_declared_any_more_stays_without_effect() -> None:
    before = switched(follow(NOTHING, {"pay": 1}), {"pay": 1}, pay=OFF)
    after = follow(before, {})
    assert (after.gone, json.loads(after.line)["flags"], list(after.state["overrides"])) == (("pay",), {}, ["pay"])
    back = follow(found_after(after), {"pay": 1})
    assert (back.gone, json.loads(back.line)["flags"]) == ((), {"pay": OFF})


@pytest.mark.parametrize("line", [b"", b"{", b'{"flags":{}}\n'])
def test_a_line_that_was_lost_or_altered_is_written_again_with_a_generation_that_hosts_take(line: bytes) -> None:
    first = follow(NOTHING, {"pay": 1})
    after = follow(found_after(first)._replace(line=line), {"pay": 1})
    assert (after.changed, after.generation) == (True, 2)


def test_a_state_that_was_lost_begins_above_what_hosts_may_have() -> None:
    assert follow(NOTHING._replace(signed=41), {"pay": 1}).generation == 42
    assert follow(NOTHING._replace(line=render({})({}, 7)), {"pay": 1}).generation == 8


def test_a_state_of_another_environment_is_refused() -> None:
    found = found_after(follow(NOTHING, {}))
    with pytest.raises(HostError, match="environment 'lab', and here it is 'production'"):
        following.follow(found, {}, render({}), "production", WHO)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)), min_size=1, max_size=6))
def test_whatever_is_declared_one_after_the_other_the_generation_grows_and_a_second_run_rests(declarations: list[dict[str, int]]) -> None:
    found = NOTHING
    for declared in declarations:
        kept = follow(found, declared)
        assert kept.changed or kept.line == found.line
        assert kept.generation == (found.state["generation"] if found.state else 0) + (1 if kept.changed else 0)
        found = found_after(kept)
        assert not follow(found, declared).changed


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(flag_file, "FOLDER", str(tmp_path / "flags"))
    return tmp_path / "flags"


def shell(command: str, given_in: bytes = b"") -> str:
    done = subprocess.run(["sh", "-c", command], input=given_in, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_what_is_written_is_read_back_and_only_over_what_was_found(folder: pathlib.Path) -> None:
    signed = str(folder.parent / "flags-lab.signed")
    nothing = following.parse(shell(following.read_command(signed)))
    assert nothing == NOTHING
    kept = follow(nothing, {"pay": "it's ä"})
    assert shell(following.write_command(nothing), following.encode(kept.state) + kept.line) == ""
    (folder.parent / "flags-lab.signed").write_bytes(kept.line + b"signature\n")
    found = following.parse(shell(following.read_command(signed)))
    assert (found.state, found.line, found.signed) == (kept.state, kept.line, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["flags.json", "lock", "state.json"]
    before = (folder / "flags.json").stat()
    later = follow(found, {"pay": 2})
    assert shell(following.write_command(nothing), following.encode(later.state) + later.line).strip() == following.MOVED
    assert (folder / "flags.json").stat() == before
    shell(following.write_command(found), following.encode(later.state) + later.line)
    assert (folder / "flags.json").stat().st_mtime > before.st_mtime
    assert (folder / "flags.json").read_bytes() == later.line
    (folder / "state.json").write_text('{"generation": "x"}')
    with pytest.raises(HostError, match="Put it back from the backup"):
        following.parse(shell(following.read_command(signed)))
