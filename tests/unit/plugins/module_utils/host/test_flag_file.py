"""A host takes newer flags, whole, with a time that providers notice; whatever else it is offered it leaves its own as they are."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import stat
import subprocess
import time

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import flag_file
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_publish
from hypothesis import given
from hypothesis import strategies as st


def line(generation: object, **flags: object) -> bytes:
    """As a controller publishes it."""
    told = {"flags": flags, "metadata": {"environment": "lab", "generation": generation}}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def offered(generation: int, **flags: object) -> flag_file.Flags:
    return flag_file.parse(line(generation, **flags), "lab")


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans())))
def test_whatever_is_offered_in_whatever_order_the_generation_only_grows(offers: list[tuple[int, bool]]) -> None:
    held = flag_file.Held(b"", 0, "")
    for generation, other in offers:
        one = offered(generation, **({"x": {}} if other else {}))
        what = flag_file.decide(held, one)
        if what == "write":
            assert one.generation > held.generation
            held = flag_file.Held(one.line, one.generation, one.digest)
        else:
            assert what == ("older" if generation < held.generation else "there" if one.line == held.line else "other")


def test_it_is_replaced_whole_with_a_time_that_is_newer_even_where_the_clock_went_back(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "flags"
    assert flag_file.publish(str(folder), offered(1)) == "write"
    path = folder / "flags.json"
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    assert flag_file.publish(str(folder), offered(2)) == "write"
    found = path.stat()
    assert found.st_mtime > ahead / 1e9, "providers compare the time as a float"
    assert (stat.S_IMODE(found.st_mode), path.read_bytes()) == (0o644, line(2))
    assert sorted(one.name for one in folder.iterdir()) == ["flags.json", "lock", "published"]


def test_what_is_there_already_is_not_touched(tmp_path: pathlib.Path) -> None:
    flag_file.publish(str(tmp_path), offered(2))
    before = (tmp_path / "flags.json").stat()
    for one, what in ((offered(2), "there"), (offered(1), "older"), (offered(2, x={}), "other")):
        assert flag_file.publish(str(tmp_path), one) == what
    assert (tmp_path / "flags.json").stat() == before


@pytest.mark.parametrize("torn", [b"", b"{", line(9)[:-1], line(9) + b"x", line(True), line("9"), b"[" * 100_000 + b"\n"])
def test_a_file_that_is_no_line_of_flags_is_replaced(tmp_path: pathlib.Path, torn: bytes) -> None:
    (tmp_path / "flags.json").write_bytes(torn)
    assert flag_file.publish(str(tmp_path), offered(1)) == "write"
    assert (tmp_path / "flags.json").read_bytes() == line(1)


def test_damage_is_mended_by_what_was_published_and_by_nothing_older(tmp_path: pathlib.Path) -> None:
    flag_file.publish(str(tmp_path), offered(5))
    for damaged in (line(5, x={}), b"", line(5)[:-5]):
        (tmp_path / "flags.json").write_bytes(damaged)
        assert flag_file.publish(str(tmp_path), offered(4)) == "older"
        assert flag_file.publish(str(tmp_path), offered(5)) == "write"
        assert (tmp_path / "flags.json").read_bytes() == line(5)


def test_a_switch_that_is_under_way_is_waited_for_and_not_for_ever(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_file, "LOCK_SECONDS", 0.0)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(HostError, match="lock"):
            flag_file.publish(str(tmp_path), offered(1))
    assert flag_file.publish(str(tmp_path), offered(1)) == "write"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot be written: "):
        flag_file.publish(str(tmp_path / "file"), offered(1))


def test_a_source_that_is_not_whole_names_the_file(tmp_path: pathlib.Path) -> None:
    assert flag_file.source(str(tmp_path / "none.json")) is None
    (tmp_path / "source.json").write_text('{"url": "http://ops/flags-lab.signed"}')
    with pytest.raises(HostError, match=r"source\.json is not what the role"):
        flag_file.source(str(tmp_path / "source.json"))


def shell(command: str) -> flag_publish.Found:
    """What the command of a switch says."""
    return flag_publish.parse(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout)


def test_a_switch_and_a_boot_take_what_the_other_has_put_there_for_their_own(tmp_path: pathlib.Path) -> None:
    folder = str(tmp_path)
    assert flag_publish.FOLDER == flag_file.FOLDER
    assert shell(flag_publish.command(line(5), 5, folder)).changed
    assert [flag_file.publish(folder, offered(number)) for number in (4, 5)] == ["older", "there"]
    assert flag_file.publish(folder, offered(5, x={})) == "other"
    assert flag_file.publish(folder, offered(6)) == "write"
    assert shell(flag_publish.read_command(folder)) == flag_publish.Found(6, offered(6).digest, "")
    assert "later" in shell(flag_publish.command(line(5), 5, folder)).trouble
    assert not shell(flag_publish.command(line(6), 6, folder)).changed
    (tmp_path / "flags.json").write_bytes(line(6)[:-3])
    assert flag_file.publish(folder, offered(6)) == "write", "damage is mended"
    assert shell(flag_publish.command(line(7), 7, folder)).changed
