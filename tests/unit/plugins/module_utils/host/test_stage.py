# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store sends no more than was signed, and what an artifact brings along to run runs as its application, or stops the release."""

from __future__ import annotations

import pathlib
import pwd
import subprocess
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import stage
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

#: What is read from a store at a time.
BLOCK = 1024 * 1024
#: Another account than that of the tests, on every Debian.
OTHER = pwd.getpwnam("nobody")
CONFIG = Config("shop", OTHER.pw_name, "shop", "", "", (), None, None, None, 3, "")


@pytest.mark.parametrize("size", [10, 2 * BLOCK + 10])
def test_what_the_manifest_promises_arrives_whole(tmp_path: pathlib.Path, size: int) -> None:
    sent, path = tmp_path / "sent", tmp_path / "archive"
    sent.write_bytes(b"x" * size)
    stage._fetch(sent.as_uri(), str(path), limit=size)
    assert path.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("limit", [0, 9, BLOCK, BLOCK + 9])
def test_a_store_that_sends_more_is_cut_off(tmp_path: pathlib.Path, limit: int) -> None:
    sent, path = tmp_path / "sent", tmp_path / "archive"
    sent.write_bytes(b"x" * (limit + 1))
    with pytest.raises(HostError, match=f"is larger than the {limit} bytes that its manifest promises"):
        stage._fetch(sent.as_uri(), str(path), limit=limit)
    assert path.stat().st_size <= limit, "more than was promised reached the disk"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Who the unpacked folder was given to, and as whom the hook was to run; it runs as whoever runs the tests, who may be no root."""
    noted: list[tuple[Any, ...]] = []
    run = subprocess.run

    def as_the_tests(argv: list[str], *, user: int, group: int, extra_groups: list[int], **more: Any) -> subprocess.CompletedProcess[str]:
        noted.append(("run", user, group, extra_groups))
        return run(argv, **more)

    monkeypatch.setattr(stage, "_chown_tree", lambda folder, uid, gid: noted.append((folder, uid, gid)))
    monkeypatch.setattr(subprocess, "run", as_the_tests)
    return noted


def test_the_install_hook_runs_in_its_release_as_the_application_and_sees_nothing_of_its_caller(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, done: list[tuple[Any, ...]]
) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    stage._install(CONFIG, ("/bin/sh", "-c", 'echo "$PWD $HOME ${SECRET:-nothing}" >told; cat >>told'), str(tmp_path))
    assert (tmp_path / "told").read_text() == f"{tmp_path} /nonexistent nothing\n"
    assert done == [(str(tmp_path), OTHER.pw_uid, OTHER.pw_gid), ("run", OTHER.pw_uid, OTHER.pw_gid, [])]


def test_without_an_install_hook_nothing_runs(tmp_path: pathlib.Path, done: list[tuple[Any, ...]]) -> None:
    stage._install(CONFIG, (), str(tmp_path))
    assert done == []


def test_an_install_hook_that_fails_is_an_error_with_what_it_said_last(tmp_path: pathlib.Path, done: list[tuple[Any, ...]]) -> None:
    said = "seq 20; echo 'there is no compiler' >&2; exit 3"
    with pytest.raises(HostError, match=r"The install hook /bin/sh -c .* failed with 3\.") as caught:
        stage._install(CONFIG, ("/bin/sh", "-c", said), str(tmp_path))
    assert caught.value.evidence == [*(str(number) for number in range(7, 21)), "there is no compiler"]


def test_an_install_hook_that_is_not_there_is_an_error_in_words(tmp_path: pathlib.Path, done: list[tuple[Any, ...]]) -> None:
    with pytest.raises(HostError, match=r"The install hook /nonexistent/hook could not run: .*No such file"):
        stage._install(CONFIG, ("/nonexistent/hook",), str(tmp_path))
