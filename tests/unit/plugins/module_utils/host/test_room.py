# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full before a transaction refuses it; one that fills up in its middle does not stop it."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal, room, stage, system, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def config(tmp_path: pathlib.Path) -> Config:
    (tmp_path / "srv" / "releases").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    return Config("shop", "shop", "shop", str(tmp_path / "srv"), str(tmp_path / "state"), (), None, None, None, 3, "")


def test_room_is_held_back_for_good(config: Config) -> None:
    room.hold(config.state_dir)
    room.hold(config.state_dir)
    assert os.stat(f"{config.state_dir}/reserve").st_blocks * 512 >= room.RESERVE_BYTES
    assert room.give_up(config.state_dir)
    assert not room.give_up(config.state_dir), "it is given up once"


def test_without_room_nothing_begins(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def fallocate(*_arguments: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    asked = transaction.Request("activate", "1-a", "run", "ada", "", token=7)
    with pytest.raises(HostError, match="is full") as refused:
        transaction.perform(config, asked)
    assert config.state_dir in refused.value.message
    with pytest.raises(HostError, match="is full"):
        stage.perform(config, stage.Artifact("1", "a" * 64, "http://127.0.0.1:9"), "run", "ada", 7)
    assert set(os.listdir(config.state_dir)) <= {"reserve"}


def test_a_disk_that_fills_up_in_the_middle_is_written_to_all_the_same(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    room.hold(config.state_dir)
    journal.append(config.journal, {"kind": "activate", "step": "begin"})
    write = system.write_all

    def write_where_there_is_room(descriptor: int, data: bytes, offset: int) -> None:
        if os.stat(f"{config.state_dir}/reserve").st_size:
            write(descriptor, data[:5], offset)
            raise FULL
        write(descriptor, data, offset)

    monkeypatch.setattr(system, "write_all", write_where_there_is_room)
    journal.append(config.journal, {"kind": "activate", "step": "drain"})
    assert [record["step"] for record in journal.read(config.journal)] == ["begin", "drain"]


def test_other_errors_are_not_hidden(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    room.hold(config.state_dir)
    monkeypatch.setattr(system, "write_all", broken)
    with pytest.raises(OSError, match="Input/output"):
        journal.append(config.journal, {"kind": "activate", "step": "drain"})


def test_a_file_that_could_not_be_written_leaves_no_part(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        system.write_file(str(tmp_path / "token.json"), b"{}", 0o600)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_while_unpacking_is_told_in_words_and_left_clean(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(_config: Config, _artifact: stage.Artifact, part: str) -> int:
        os.mkdir(part)
        raise FULL

    monkeypatch.setattr(stage, "_bring", fetch)
    with pytest.raises(HostError, match=r"1-aaaaaaaa could not be unpacked below .*: No space left on device"):
        stage.perform(config, stage.Artifact("1", "a" * 64, "http://127.0.0.1:9"), "run", "ada")
    assert os.listdir(config.releases) == []
