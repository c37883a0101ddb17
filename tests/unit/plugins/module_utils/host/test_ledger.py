"""What was appended stays: whoever else writes, whoever is killed, whatever a crash leaves at the end."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pathlib
import signal
import tempfile
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import ledger, ledger_runs, system
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_records import ended, noted, started

FORK = multiprocessing.get_context("fork")


def names(folder: str) -> list[str]:
    records, unreadable = ledger_runs.read(f"{folder}/ledger.jsonl")
    assert unreadable == 0
    return [record["run"] for record in records]


def writer(folder: str, runs: list[str], batch: int) -> None:
    for at in range(0, len(runs), batch):
        ledger.append(folder, [started(run, reason=run * 20) for run in runs[at : at + batch]])


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(1, 25), st.integers(1, 4)), min_size=2, max_size=4))
def test_writers_at_the_same_time_lose_nothing(writers: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        planned = [[f"{number}-{count}" for count in range(counts)] for number, (counts, _batch) in enumerate(writers)]
        processes = [FORK.Process(target=writer, args=(folder, runs, batch)) for runs, (_n, batch) in zip(planned, writers, strict=True)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        found = names(folder)
        assert sorted(found) == sorted(run for runs in planned for run in runs)
        for runs in planned:
            assert [run for run in found if run in runs] == runs, "each in its own order"


def chatterbox(folder: str, answers: Any) -> None:
    for number in range(10_000):
        ledger.append(folder, [started(f"killed-{number}", reason="x" * 3000)])
        answers.send(number)


@settings(max_examples=6)
@given(st.integers(1, 12))
def test_what_was_answered_outlives_the_writer(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, there = FORK.Pipe(duplex=False)
        process = FORK.Process(target=chatterbox, args=(folder, there))
        process.start()
        there.close()
        last = [here.recv() for _answer in range(count)][-1]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        while here.poll():
            try:
                last = here.recv()
            except EOFError:
                break
        here.close()
        ledger.append(folder, [started("next")])
        found = names(folder)
        assert found[-1] == "next"
        assert found[: last + 1] == [f"killed-{number}" for number in range(last + 1)]


@given(st.integers(0, 3), st.one_of(st.binary(min_size=1, max_size=400), st.integers(1, 200)))
def test_any_torn_tail_costs_no_record(count: int, tail: bytes | int) -> None:
    """The tail is anything at all, or the beginning of a record."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            ledger.append(folder, [started(str(number))])
        torn = tail if isinstance(tail, bytes) else ledger.encode(started("torn"))[:tail]
        with open(f"{folder}/ledger.jsonl", "ab") as file:
            file.write(torn)
        answer = ledger.append(folder, [started("next")])
        assert names(folder) == [*map(str, range(count)), "next"]
        assert answer.torn
        kept = pathlib.Path(folder, "ledger.torn").read_bytes()
        assert kept in (torn, torn + b"\n"), "nothing of it is thrown away"


def test_a_whole_ledger_is_not_mended(tmp_path: pathlib.Path) -> None:
    for run in ("a", "b"):
        assert ledger.append(str(tmp_path), [started(run)]) == ledger.Appended(1, 0, [])
    assert not (tmp_path / "ledger.torn").exists()
    assert (tmp_path / "ledger.jsonl").stat().st_mode & 0o777 == 0o644


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_the_same_record_is_written_once(asked: list[tuple[str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = 0
        for run, over in asked:
            answer = ledger.append(folder, [ended(run) if over else started(run)])
            assert answer.written + answer.known == 1
            written += answer.written
        records, _bad = ledger_runs.read(f"{folder}/ledger.jsonl")
        assert written == len(records) == len({(record["run"], record["event"]) for record in records}) == len(set(asked))


def test_notes_of_one_run_are_several_when_their_times_are(tmp_path: pathlib.Path) -> None:
    assert [ledger.append(str(tmp_path), [noted("a", second)]).written for second in (1, 2, 1)] == [1, 1, 0]


def test_an_old_record_is_found_when_it_may_have_been_written_before(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RECENT_BYTES", 2000)
    monkeypatch.setattr(ledger, "_BLOCK", 300)
    for number in range(40):
        ledger.append(str(tmp_path), [started(str(number))])
    for number in (0, 17, 39):
        assert ledger.append(str(tmp_path), [started(str(number))], whole=True).known == 1
    assert ledger.append(str(tmp_path), [started("39")]).known == 1


def test_a_disk_that_is_full_leaves_the_ledger_as_it_was(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(str(tmp_path), [started("a")])
    before = (tmp_path / "ledger.jsonl").read_bytes()

    real = system.write_all

    def half(descriptor: int, data: bytes, offset: int) -> None:
        if not data.startswith(b"{"):  # who holds the lock
            return real(descriptor, data, offset)
        os.pwrite(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(system, "write_all", half)
        with pytest.raises(HostError, match="No space left on device"):
            ledger.perform("shop", {"operation": "append", "records": [started("b"), started("c")]}, str(tmp_path))
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert ledger.append(str(tmp_path), [started("b"), started("c")]).written == 2


def test_what_cannot_be_written_is_said_with_its_place(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    for asked in ({"operation": "append", "records": [started("a")]}, {"operation": "show"}):
        with pytest.raises(HostError, match=rf"{tmp_path}/ledger\.jsonl cannot be read or written: Is a directory"):
            ledger.perform("shop", asked, str(tmp_path))


def test_it_is_on_the_disk_before_the_answer(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    ledger.append(str(tmp_path), [started("a")])
    assert synced == [str(tmp_path), f"{tmp_path}/ledger.jsonl"]


def test_it_is_shown_as_runs(tmp_path: pathlib.Path) -> None:
    records = [started("a", 0), ended("a", 1), started("b", 2, application="other"), noted("c", 3)]
    ledger.perform("shop", {"operation": "append", "records": records}, str(tmp_path))
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write("no record\n" + json.dumps(started("d", 4)) + "\n")
    answer = ledger.perform("shop", {"operation": "show", "wanted": {"app": "shop"}, "brief": True}, str(tmp_path))
    assert [(run["run"], run["outcome"]) for run in answer["runs"]] == [("a", "deployed"), ("c", "noted"), ("d", "running")]
    assert (answer["more"], answer["unreadable"], answer["changed"]) == (True, 1, False)
    assert "started" not in answer["runs"][0]
    (whole,) = ledger.perform("shop", {"operation": "show", "wanted": {"run": "a"}}, str(tmp_path))["runs"]
    assert (whole["started"], whole["ended"]) == (records[0], records[1])


def test_there_is_nothing_to_show_before_the_first_run(tmp_path: pathlib.Path) -> None:
    answer = ledger.perform("shop", {"operation": "show"}, str(tmp_path))
    assert (answer["runs"], answer["more"], answer["known"]) == ([], False, {"by": [], "app": [], "run": []})
    assert list(tmp_path.iterdir()) == []


def test_the_newest_are_found_without_reading_all_of_a_long_ledger(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(str(tmp_path), [started(str(number), number) for number in range(50)])
    monkeypatch.setattr(ledger, "RECENT_BYTES", 5000)
    answer = ledger.perform("shop", {"operation": "show", "wanted": {"last": 3}, "recent": True}, str(tmp_path))
    assert ([run["run"] for run in answer["runs"]], answer["more"]) == (["47", "48", "49"], True)
    assert len(answer["known"]["run"]) < 20


SWITCHED = {"flag": "checkout", "before": "off", "after": "10 %"}


@pytest.mark.parametrize(
    ("seconds", "more", "found"),
    [
        ((2, 5), {}, [SWITCHED]),
        ((1, 6), {}, [SWITCHED]),
        ((3, 6), {}, []),
        ((0, 1), {}, []),
        ((0, 9), {"environment": "production"}, []),
        ((0, 9), {"kind": "maintenance"}, []),
        ((0, 9), {"flags": None}, []),
    ],
)
def test_the_end_of_a_run_has_the_flags_that_were_switched_while_it_ran(
    tmp_path: pathlib.Path, seconds: tuple[int, int], more: dict[str, Any], found: list[dict[str, str]]
) -> None:
    began, ends = seconds
    # The flags of all applications are switched together.
    note = noted("f", 2, **{"kind": "flag", "application": "all", "flags": [SWITCHED], **more})
    first, second = ended("a", ends, seconds=float(ends - began)), ended("b", ends, seconds=float(ends - began))
    assert ledger.append(str(tmp_path), [started("a", began), note]).written == 2
    ledger.append(str(tmp_path), [first])
    # As where the ledger could not be written meanwhile.
    ledger.append(str(tmp_path / "late"), [started("b", began), second, note])
    for folder in (tmp_path, tmp_path / "late"):
        (end,) = [record for record in ledger_runs.read(f"{folder}/ledger.jsonl")[0] if record["event"] == "ended"]
        assert end["flags"] == found


def test_several_switches_stand_in_their_order(tmp_path: pathlib.Path) -> None:
    back = {"flag": "checkout", "before": "10 %", "after": "off"}
    late = noted("g", 4, kind="flag", flags=[back])
    ledger.append(str(tmp_path), [late, noted("f", 3, kind="flag", flags=[SWITCHED]), ended("a", 9, seconds=8.0)])
    assert ledger_runs.read(f"{tmp_path}/ledger.jsonl")[0][-1]["flags"] == [SWITCHED, back]
