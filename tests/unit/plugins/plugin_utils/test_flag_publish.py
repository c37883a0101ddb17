"""Flags are put on a host by one shell command, run here in a folder of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_publish
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_publish import Found


def line(generation: int, **flags: Any) -> bytes:
    data = {"flags": flags, "metadata": {"environment": "lab", "generation": generation}}
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def sh(text: str, data: bytes = b"") -> Found:
    return flag_publish.parse(subprocess.run(["/bin/sh", "-c", text], input=data, stdout=subprocess.PIPE, check=False).stdout.decode())


def publish(folder: Path, data: bytes, generation: int) -> Found:
    return sh(flag_publish.command(data, generation, str(folder)))


def read(folder: Path) -> Found:
    return sh(flag_publish.read_command(str(folder)))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_first_line_makes_the_folder_with_its_modes(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "it's flags"
    said = line(7, text="it's $HOME, `id` and \\n %s")
    assert publish(folder, said, 7) == Found(7, digest(said), "", changed=True)
    assert (folder / "flags.json").read_bytes() == said
    assert [oct((folder / name).stat().st_mode & 0o7777) for name in (".", "flags.json")] == ["0o755", "0o644"]
    assert read(folder) == Found(7, digest(said), "")


def test_the_same_bytes_change_nothing(tmp_path: Path) -> None:
    publish(tmp_path, line(7), 7)
    before = (tmp_path / "flags.json").stat()
    assert publish(tmp_path, line(7), 7) == Found(7, digest(line(7)), "")
    after = (tmp_path / "flags.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_lower_generation_and_other_bytes_of_the_same_are_refused(tmp_path: Path) -> None:
    publish(tmp_path, line(7), 7)
    lower = publish(tmp_path, line(6), 6)
    assert (lower.generation, lower.changed) == (7, False)
    assert "generation 7, which is later" in lower.trouble
    other = publish(tmp_path, line(7, a=1), 7)
    assert (other.generation, other.digest, other.changed) == (7, digest(line(7)), False)
    assert "other flags of the same generation 7" in other.trouble
    assert (tmp_path / "flags.json").read_bytes() == line(7)
    assert sorted(os.listdir(tmp_path)) == ["flags.json", "lock", "published"]


@pytest.mark.parametrize("of_own", [True, False], ids=["published", "put there at boot"])
def test_generations_count_however_the_file_came_there(tmp_path: Path, of_own: bool) -> None:
    if of_own:
        publish(tmp_path, line(9), 9)
    else:
        publish(tmp_path, line(3), 3)
        (tmp_path / "flags.json").write_bytes(line(9))
    assert read(tmp_path) == Found(9, digest(line(9)), "")
    assert "which is later" in publish(tmp_path, line(8), 8).trouble
    assert "same generation" in publish(tmp_path, line(9, a=1), 9).trouble
    assert publish(tmp_path, line(10), 10).changed


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def garble(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"flags", b"fl}gs"))


def older(path: Path) -> None:
    path.write_bytes(line(2))


DAMAGE: list[Callable[[Path], Any]] = [
    cut,
    garble,
    older,
    Path.unlink,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"\0" * 500),
    # JSON, and no flags: applications keep what they had.
    lambda path: path.write_bytes(b"{}\n"),
    lambda path: path.write_bytes(b"[]\n"),
    lambda path: path.write_bytes(b'{"flags": {}}\n'),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("generation", [7, 8])
def test_a_damaged_file_is_named_and_put_right_by_the_same_line_or_a_later_one(
    tmp_path: Path, damage: Callable[[Path], Any], generation: int
) -> None:
    publish(tmp_path, line(7, a=1), 7)
    damage(tmp_path / "flags.json")
    assert any(word in read(tmp_path).trouble for word in ("damaged", "no flags yet"))
    wanted = line(generation, a=1)
    assert publish(tmp_path, wanted, generation) == Found(generation, digest(wanted), "", changed=True)
    assert (tmp_path / "flags.json").read_bytes() == wanted


@pytest.mark.parametrize("record", [b"", b"x y\n", b"-3 z\n", None])
def test_without_its_record_the_file_itself_tells_its_generation(tmp_path: Path, record: bytes | None) -> None:
    publish(tmp_path, line(7), 7)
    if record is None:
        (tmp_path / "published").unlink()
    else:
        (tmp_path / "published").write_bytes(record)
    assert read(tmp_path) == Found(7, digest(line(7)), "")
    assert "which is later" in publish(tmp_path, line(6), 6).trouble
    assert not publish(tmp_path, line(7), 7).changed
    assert publish(tmp_path, line(8), 8).changed


def test_the_time_of_the_file_is_later_even_when_the_clock_went_back(tmp_path: Path) -> None:
    publish(tmp_path, line(1), 1)
    path = tmp_path / "flags.json"
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    for generation in range(2, 6):
        before = path.stat().st_mtime
        assert publish(tmp_path, line(generation), generation).changed
        assert path.stat().st_mtime > before


def test_a_line_that_is_too_long_for_an_argument_comes_from_standard_input(tmp_path: Path) -> None:
    said = line(4, long="x" * 300_000)
    assert sh(flag_publish.command(said, 4, str(tmp_path), piped=True), said) == Found(4, digest(said), "", changed=True)
    cut_off = line(5, long="y" * 10)
    broken = sh(flag_publish.command(cut_off, 5, str(tmp_path), piped=True), cut_off[:-20])
    assert "could not be written" in broken.trouble
    assert (tmp_path / "flags.json").read_bytes() == said
    assert sorted(os.listdir(tmp_path)) == ["flags.json", "lock", "published"]


def test_one_that_sends_nothing_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    text = flag_publish.command(line(1), 1, str(tmp_path), piped=True)
    with subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as silent:
        deadline = time.monotonic() + 10
        while (
            "cat" not in subprocess.run(["ps", "-o", "comm=", "--ppid", str(silent.pid)], capture_output=True, text=True, check=False).stdout.split()
        ):
            assert time.monotonic() < deadline, "it reads nothing"
        assert publish(tmp_path, line(2), 2).changed
        assert "which is later" in flag_publish.parse(silent.communicate(line(1))[0].decode()).trouble


def test_writers_at_once_and_a_reader_in_a_loop_never_see_a_torn_file(tmp_path: Path) -> None:
    publish(tmp_path, line(1), 1)
    over, seen = threading.Event(), []

    def look() -> None:
        while not over.is_set():
            seen.append((json.loads((tmp_path / "flags.json").read_bytes())["metadata"]["generation"], (tmp_path / "flags.json").stat().st_mtime))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for generation in range(2, 12, 2):
            # Two of one generation with different bytes, and one later: of the two at most one is taken, and the later one stays.
            given = [line(generation, a="x" * 5000), line(generation, b="y" * 9000), line(generation + 1, c="z" * 7000)]
            commands = [flag_publish.command(data, json.loads(data)["metadata"]["generation"], str(tmp_path)) for data in given]
            running = [subprocess.Popen(["/bin/sh", "-c", text], stdout=subprocess.PIPE, text=True) for text in commands]
            found = [flag_publish.parse(process.communicate()[0]) for process in running]
            assert found[2].changed, found
            assert sum(one.changed for one in found[:2]) <= 1, found
            assert (tmp_path / "flags.json").read_bytes() == given[2]
    finally:
        over.set()
        reader.join()
    assert len(seen) > 10, "the reader has seen nothing"
    assert seen == sorted(seen)


def test_a_killed_writer_leaves_nothing_that_the_next_one_minds(tmp_path: Path) -> None:
    publish(tmp_path, line(1), 1)
    text = flag_publish.command(line(2), 2, str(tmp_path))
    for step in ("sync $part", "mv -fT", 'echo "$generation $want" >published || tell failed "$accepted"', "tell changed"):
        (tmp_path / "flags.json").write_bytes(line(1))
        (tmp_path / "published").write_text(f"1 {digest(line(1))}\n")
        killed = text.replace(step, f"kill -9 $$; {step}", 1)
        assert killed != text
        assert "no answer" in sh(killed).trouble
        assert (tmp_path / "flags.json").read_bytes() in (line(1), line(2))
        sh(text)
        assert read(tmp_path) == Found(2, digest(line(2)), ""), step
        assert publish(tmp_path, line(3), 3).changed
        assert sorted(os.listdir(tmp_path)) == ["flags.json", "lock", "published"]


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere").trouble.startswith("it has no flags yet")
    (tmp_path / "file").write_text("")
    assert "could not be written" in publish(tmp_path / "file", line(1), 1).trouble
    assert flag_publish.parse("sudo: a password is required\n").trouble == "the host gave no answer: sudo: a password is required"
    with pytest.raises(ValueError, match="one line"):
        flag_publish.command(b"{}\n{}\n", 1)
