"""The lock in a file: real processes at once, a torn file, a history that is kept and bounded."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pathlib
import stat
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import lease, lease_file, room, system
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from test_lease import at, who

CONTENDERS = 12


def perform(folder: pathlib.Path, operation: str, **more: Any) -> dict[str, Any]:
    return lease_file.perform("shop", {"environment": "production", "operation": operation, **more}, str(folder))


def acquire(folder: pathlib.Path, run: str, **more: Any) -> dict[str, Any]:
    return perform(folder, "acquire", owner=who(run)._asdict(), seconds=900, **more)


def contend(folder: pathlib.Path, run: str, start: Any, answers: Any) -> None:
    start.wait()
    answers.put((run, acquire(folder, run)["held"]))


def test_of_many_processes_at_once_exactly_one_wins(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(CONTENDERS), context.Queue()
    processes = [context.Process(target=contend, args=(tmp_path, f"run-{number}", start, answers)) for number in range(CONTENDERS)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    (winner,) = [run for run, held in found.items() if held]
    shown = perform(tmp_path, "show")
    assert (shown["token"], shown["lease"]["owner"]["run"]) == (1, winner)


def count(folder: pathlib.Path, times: int) -> None:
    for number in range(times):
        given = acquire(folder, f"{number}")
        while not given["held"]:
            given = acquire(folder, f"{number}", take_over=given["token"])


def test_no_token_is_given_twice_to_processes_that_take_from_each_other(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=count, args=(tmp_path, 10)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    events = [json.loads(line) for line in history(tmp_path).read_text().splitlines()]
    tokens = [event["token"] for event in events]
    assert tokens == sorted(set(tokens))
    assert perform(tmp_path, "show")["token"] == tokens[-1]


def history(folder: pathlib.Path) -> pathlib.Path:
    return folder / "production" / "shop.history.jsonl"


def test_the_token_is_kept_while_the_lock_is_free(tmp_path: pathlib.Path) -> None:
    assert acquire(tmp_path, "a")["token"] == 1
    freed = perform(tmp_path, "free", run="a", token=1)
    assert (freed["token"], freed["lease"]) == (1, None)
    assert acquire(tmp_path, "b")["token"] == 2


def test_environments_do_not_share_a_lock(tmp_path: pathlib.Path) -> None:
    assert acquire(tmp_path, "a")["held"]
    other = lease_file.FileBackend("shop", "staging", str(tmp_path))
    assert other.acquire(who("b"), 900, None).held


def test_everybody_reads_it_only_root_can_hold_it_and_showing_makes_no_file(tmp_path: pathlib.Path) -> None:
    assert perform(tmp_path, "show")["lease"] is None
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / "production"
    # As hosts of before have it.
    folder.mkdir(mode=0o700)
    acquire(tmp_path, "a")
    acquire(tmp_path, "b", take_over=1)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "shop.json": 0o644,
        "shop.lock": 0o600,
        "shop.history.jsonl": 0o600,
        "shop.history.jsonl.lock": 0o600,
        "reserve": 0o600,
    }


TORN = ["", "{", "[]", "null", '{"token": 3}', '{"token": "3", "lease": null, "last": null}', '{"token": 3, "lease": {}, "last": null}', "\x00\x00"]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_file_is_refused_in_words_and_set_aside_by_a_break(tmp_path: pathlib.Path, torn: str) -> None:
    acquire(tmp_path, "a")
    acquire(tmp_path, "b", take_over=1)
    path = tmp_path / "production" / "shop.json"
    path.write_text(torn)
    wanted: list[dict[str, Any]] = [
        {"operation": "show"},
        {"operation": "renew", "run": "b", "token": 2},
        {"operation": "free", "run": "b", "token": 2},
    ]
    for more in wanted:
        with pytest.raises(HostError, match=r"no record of a lock.*unlock\.yml -e .reason="):
            perform(tmp_path, **more)
    with pytest.raises(HostError, match="no record of a lock"):
        acquire(tmp_path, "c")
    assert path.read_text() == torn
    with pytest.raises(HostError, match=r"Say it with -e .reason="):
        perform(tmp_path, "break", by="bob", reason="")
    broken = perform(tmp_path, "break", by="bob", reason="it was torn")
    assert (broken["token"], broken["lease"], broken["last"]["by"]) == (3, None, "bob")
    assert pathlib.Path(f"{path}.broken").read_text() == torn
    assert acquire(tmp_path, "c")["token"] == 4


def test_breaks_and_take_overs_are_kept_line_by_line(tmp_path: pathlib.Path) -> None:
    acquire(tmp_path, "a")
    acquire(tmp_path, "b", take_over=1)
    perform(tmp_path, "break", by="bob", reason="laptop gone")
    events = [json.loads(line) for line in history(tmp_path).read_text().splitlines()]
    assert [(event["event"], event["token"], event["from"]["run"]) for event in events] == [("taken over", 2, "a"), ("broken", 3, "b")]
    assert events[1]["reason"] == "laptop gone"


def test_the_history_does_not_grow_for_ever(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_file, "LONG", 6)
    monkeypatch.setattr(lease_file, "KEEP", 3)
    for number in range(20):
        acquire(tmp_path, str(number), take_over=number)
    lines = history(tmp_path).read_text().splitlines()
    assert 3 <= len(lines) <= 6
    assert json.loads(lines[-1])["token"] == 20


@pytest.fixture
def full(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The lock's folder lies on a disk that has filled up since the last run: nothing can be written but into the room that is held back."""
    acquire(tmp_path, "a")
    reserve = tmp_path / "production" / "reserve"
    assert reserve.stat().st_blocks * 512 >= room.RESERVE_BYTES

    def where_there_is_room(does: Any) -> Any:
        def done(*arguments: Any) -> Any:
            if reserve.stat().st_size:
                raise OSError(errno.ENOSPC, "No space left on device")
            return does(*arguments)

        return done

    for name in ("write_all", "write_file"):
        monkeypatch.setattr(system, name, where_there_is_room(getattr(system, name)))
    return reserve


def test_on_a_full_disk_the_lock_is_freed_taken_and_taken_over_all_the_same(tmp_path: pathlib.Path, full: pathlib.Path) -> None:
    assert perform(tmp_path, "free", run="a", token=1)["lease"] is None
    assert acquire(tmp_path, "b")["held"]
    assert perform(tmp_path, "renew", run="b", token=2)["held"]
    assert acquire(tmp_path, "c", take_over=2)["held"]
    assert perform(tmp_path, "show")["lease"]["owner"]["run"] == "c"
    assert [json.loads(line)["event"] for line in history(tmp_path).read_text().splitlines()] == ["taken over"]
    assert full.stat().st_size == room.RESERVE_BYTES, "what is free again is held back for the next one"


def test_of_the_room_as_much_is_held_back_as_there_is(tmp_path: pathlib.Path, full: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocate = os.posix_fallocate

    def with_little_left(descriptor: int, begin: int, size: int) -> None:
        if size > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(descriptor, begin, size)

    monkeypatch.setattr(os, "posix_fallocate", with_little_left)
    perform(tmp_path, "free", run="a", token=1)
    assert full.stat().st_size == 16 * 1024


def test_a_disk_on_which_nothing_is_left_is_told_in_words(tmp_path: pathlib.Path, full: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "give_up", lambda _folder: False)
    with pytest.raises(HostError, match=r"production is full, also what was held back there: make room"):
        perform(tmp_path, "free", run="a", token=1)
    assert full.stat().st_size


def test_a_lease_runs_by_the_clock_of_the_machine_that_keeps_it(tmp_path: pathlib.Path) -> None:
    elapsed = 0.0
    backend = lease_file.FileBackend("shop", "production", str(tmp_path), lambda: at(elapsed))
    assert backend.acquire(who("a"), 900, None).held
    elapsed = 899.0
    assert not backend.acquire(who("b"), 900, None).held
    elapsed = 900.0
    assert not backend.renew("a", 1, 0).held
    assert backend.acquire(who("b"), 900, None).record.token == 2


def test_the_real_clock_is_that_of_this_boot() -> None:
    first, second = lease.clock(), lease.clock()
    assert first.boot == second.boot
    assert len(first.boot) == 36
    assert first.uptime <= second.uptime


@pytest.mark.parametrize(("app", "environment"), [("../x", "production"), ("shop", ".."), ("shop", ""), ("a/b", "production")])
def test_names_stay_in_their_folder(tmp_path: pathlib.Path, app: str, environment: str) -> None:
    with pytest.raises(HostError, match="is no name for an"):
        lease_file.FileBackend(app, environment, str(tmp_path))


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(HostError, match="steal"):
        lease_file.perform("shop", {"environment": "production", "operation": "steal"})


def test_the_program_answers_on_a_host_that_has_no_application() -> None:
    """As the ops host is asked; an unknown operation, so that nothing is written on this machine."""
    given = json.dumps({"environment": "production", "operation": "steal"})
    code = "import sys; from ansible_collections.tossable.fleet.plugins.module_utils.host.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "lock", "shop", given], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0, done.stderr
    assert "no operation 'steal'" in json.loads(done.stdout)["msg"]
