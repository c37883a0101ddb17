"""The journal adds up to the right "previous", whatever happened, and survives a torn tail."""

from __future__ import annotations

import json
import pathlib
import shutil
import threading
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal, system
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from hypothesis import given
from hypothesis import strategies as st


def stage(release: str) -> journal.Record:
    return {"kind": "stage", "step": "done", "release": release}


def step(kind: str, name: str, release: str, previous: str | None = None) -> journal.Record:
    return {"transaction": f"{kind}-{release}", "kind": kind, "step": name, "release": release, "previous": previous}


def ran(kind: str, name: str, release: str, previous: str | None, configuration: str | None, before: str | None) -> journal.Record:
    return {**step(kind, name, release, previous), "configuration": configuration, "previous_configuration": before}


def live(*releases: str) -> list[journal.Record]:
    return [record for release in releases for record in (stage(release), step("activate", "done", release))]


def test_the_release_before_the_live_one_is_the_one_that_was_live_before() -> None:
    state = journal.fold(live("1", "2", "3"))
    assert (state.live, state.previous) == ("3", "2")


def test_a_release_that_failed_is_never_previous() -> None:
    state = journal.fold([*live("1"), stage("2"), step("activate", "begin", "2", "1"), step("activate", "reverted", "2", "1"), *live("3")])
    assert state.history == ("1", "3")
    assert set(state.bad) == {"2"}


def test_a_deployment_given_up_before_the_switch_says_nothing_about_the_release() -> None:
    state = journal.fold([*live("1"), stage("2"), step("activate", "begin", "2", "1"), step("activate", "abandoned", "2", "1")])
    assert state.bad == {}
    assert state.live == "1"


def test_a_transaction_that_was_cut_short_says_nothing_about_its_release() -> None:
    cut = [*live("1"), stage("2"), step("activate", "restart", "2", "1"), {**step("activate", "reverted", "2", "1"), "mended": True}]
    assert journal.fold(cut).bad == {}


def test_a_release_that_failed_where_it_is_not_to_blame_is_not_bad() -> None:
    sick = {**step("activate", "failed", "2", "1"), "blame": False}
    assert journal.fold([*live("1"), stage("2"), sick]).bad == {}


def test_a_release_that_is_left_without_blame_is_not_bad() -> None:
    assert journal.fold([*live("1", "2"), {**step("rollback", "done", "1", "2"), "blame": False}]).bad == {}


def test_a_bad_release_comes_with_the_record_that_says_so_until_it_lives_again() -> None:
    failed = {**step("activate", "reverted", "2", "1"), "error": "no answer", "at": "2026-01-02T03:04:05Z"}
    assert journal.fold([*live("1"), failed]).bad == {"2": failed}
    assert journal.fold([*live("1"), failed, *live("2")]).bad == {}


def test_two_rollbacks_go_two_back() -> None:
    records = [*live("1", "2", "3"), step("rollback", "done", "2", "3")]
    assert journal.fold(records).previous == "1"
    records.append(step("rollback", "done", "1", "2"))
    state = journal.fold(records)
    assert (state.live, state.previous) == ("1", None)
    assert set(state.bad) == {"2", "3"}


def test_a_rollback_to_a_release_that_was_never_live_here_replaces_the_live_one() -> None:
    state = journal.fold([*live("2"), stage("1"), step("rollback", "done", "1", "2")])
    assert state.history == ("1",)
    assert set(state.bad) == {"2"}


def test_a_retired_release_leaves_nothing_live() -> None:
    state = journal.fold([*live("1"), step("retire", "done", "1", "1")])
    assert state.live is None
    assert set(state.bad) == {"1"}


def test_a_transaction_without_an_end_is_in_flight() -> None:
    state = journal.fold([*live("1"), step("activate", "begin", "2", "1"), step("activate", "switch", "2", "1")])
    assert state.flight == journal.Flight("activate-2", "switch", "2", "1")
    assert state.live == "1"


def test_a_release_is_bad_as_soon_as_the_way_back_begins() -> None:
    revert = {**step("activate", "revert", "2", "1"), "error": "no answer"}
    state = journal.fold([*live("1"), stage("2"), revert, step("activate", "ready", "2", "1")])
    assert state.flight == journal.Flight("activate-2", "ready", "2", "1", reverting=True)
    assert state.bad == {"2": revert}
    assert journal.fold([*live("1"), {**revert, "blame": False}]).bad == {}
    begun_again = [*live("1"), revert, step("activate", "begin", "2", "1"), step("activate", "ready", "2", "1")]
    assert journal.fold(begun_again).flight == journal.Flight("activate-2", "ready", "2", "1")


def test_a_pruned_release_is_no_target() -> None:
    state = journal.fold([*live("1", "2"), {"kind": "prune", "step": "remove", "release": "1"}])
    assert (state.staged, state.history, state.previous) == (("2",), ("2",), None)


def test_a_release_is_as_young_as_when_it_was_last_staged_or_became_live() -> None:
    records = [*live("1", "2"), stage("3"), step("rollback", "done", "1", "2"), step("restart", "done", "1", "1"), stage("4")]
    assert journal.fold(records).staged == ("2", "3", "1", "4")
    assert journal.fold([*records, step("restart", "done", "1", "1"), step("activate", "reverted", "3", "1")]).staged == ("2", "3", "1", "4")
    assert journal.fold([*records, step("activate", "done", "5", "1")]).staged == ("2", "3", "1", "4"), "it is not on the host"


def test_the_live_record_survives_a_restart() -> None:
    records = [stage("1"), {**step("activate", "done", "1"), "by": "ada"}, {**step("restart", "done", "1", "1"), "by": "bob"}]
    record = journal.fold(records).live_record
    assert record is not None
    assert record["by"] == "ada"


def test_each_release_has_the_configuration_it_ran_with_last() -> None:
    records = [*live("1"), ran("restart", "done", "1", "1", "b", "a"), stage("2"), ran("activate", "done", "2", "1", "c", "b")]
    state = journal.fold(records)
    assert state.configurations == {"1": "b", "2": "c"}
    assert state.configuration == "c"
    state = journal.fold([*records, ran("rollback", "done", "1", "2", "b", "c")])
    assert (state.live, state.configuration) == ("1", "b")


def test_what_was_taken_back_changes_no_configuration() -> None:
    records = [ran("activate", "done", "1", None, "a", None), ran("restart", "reverted", "1", "1", "b", "a")]
    assert journal.fold(records).configurations == {"1": "a"}


def test_a_journal_from_before_configurations_were_kept_tells_none_until_the_first_transaction_does() -> None:
    assert journal.fold(live("1", "2")).configuration is None
    taken_over = journal.fold([*live("1"), ran("activate", "reverted", "2", "1", "b", "a")])
    assert taken_over.configurations == {"1": "a"}
    shortened: journal.Record = {"kind": "sum", "history": ["1"], "staged": ["1"], "bad": {}, "live_record": None}
    state = journal.fold([{**shortened, "flight": ["run", "switch", "2", "1"]}])
    assert (state.configurations, state.flight) == ({}, journal.Flight("run", "switch", "2", "1", None, None))


def test_a_flight_carries_both_configurations_and_a_pruned_release_none() -> None:
    records = [ran("activate", "done", "1", None, "a", None), ran("activate", "switch", "2", "1", "b", "a")]
    assert journal.fold(records).flight == journal.Flight("activate-2", "switch", "2", "1", "b", "a")
    assert journal.fold([*records, {"kind": "prune", "step": "remove", "release": "1"}]).configurations == {}


@given(st.lists(st.text(min_size=1, max_size=5), max_size=5), st.binary(max_size=30).filter(lambda tail: b"\n" not in tail))
def test_a_torn_tail_loses_no_whole_record(tmp_path_factory: pytest.TempPathFactory, releases: list[str], tail: bytes) -> None:
    path = str(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    for release in releases:
        journal.append(path, stage(release))
    with open(path, "ab") as file:
        file.write(tail)
    assert [record["release"] for record in journal.read(path)] == releases
    journal.append(path, stage("last"))
    assert [record["release"] for record in journal.read(path)] == [*releases, "last"]


@pytest.mark.parametrize(
    ("module", "name"), [(system, "line_start"), (system, "write_all"), (shutil, "copyfile")], ids=["looks for the end", "writes", "shortens"]
)
def test_two_who_write_at_a_time_lose_no_record(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
    """The second one comes when the first has looked for the end, is about to write, or is about to replace a journal that has grown long."""
    monkeypatch.setattr(journal, "LONG", 0)
    path = str(tmp_path / "journal.jsonl")
    second = threading.Thread(target=lambda: journal.append(path, stage("a longer name than the other's")))
    journal.append(path, stage("first"))
    real = getattr(module, name)

    def interrupted(*given: Any) -> Any:
        found = real(*given) if name == "line_start" else None
        if second.ident is None:
            second.start()
            # Let in, it is done within a few milliseconds; shut out, it is after this one.
            second.join(0.2)
        return found if name == "line_start" else real(*given)

    monkeypatch.setattr(module, name, interrupted)
    if name == "copyfile":
        journal.rotate(path)
    else:
        journal.append(path, stage("b"))
    second.join(30)
    expected = {"first", "a longer name than the other's", *([] if name == "copyfile" else ["b"])}
    assert set(journal.fold(journal.read(path)).staged) == expected


@pytest.mark.parametrize("line", ["not json", '["done"]', "\udcff"])
def test_a_line_that_cannot_be_read_is_named(tmp_path: pathlib.Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    journal.append(str(path), stage("1"))
    path.write_text(f"{path.read_text()}{line}\n", errors="surrogateescape")
    with pytest.raises(HostError, match=r"journal\.jsonl is no journal \(line 2.*mend or remove that line"):
        journal.read(str(path))


def test_a_record_is_one_line_with_its_time(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal.append(str(path), stage("1"))
    assert path.read_bytes().endswith(b"\n")
    assert json.loads(path.read_text())["at"].endswith("Z")
    assert path.stat().st_mode & 0o777 == 0o600


RELEASES = st.sampled_from("abcd")
RECORDS = st.lists(
    st.one_of(
        st.builds(stage, RELEASES),
        st.builds(lambda release: {"kind": "prune", "step": "remove", "release": release}, RELEASES),
        st.builds(
            step,
            st.sampled_from(["activate", "rollback", "restart", "retire"]),
            st.sampled_from([*journal.STEPS, "revert", *journal.ENDS]),
            RELEASES,
            RELEASES | st.none(),
        ),
        st.builds(
            ran,
            st.sampled_from(["activate", "rollback", "restart", "retire"]),
            st.sampled_from([*journal.STEPS, "revert", *journal.ENDS]),
            RELEASES,
            RELEASES | st.none(),
            st.none() | st.sampled_from("pq"),
            st.none() | st.sampled_from("pq"),
        ),
    )
)


@given(RECORDS, st.integers(0, 5))
def test_a_shortened_journal_tells_the_same(records: list[journal.Record], keep: int) -> None:
    shortened = json.loads(json.dumps(journal.shorten(records, keep)))
    assert journal.fold(shortened) == journal.fold(records)
    assert len(shortened) <= keep + 1


@given(RECORDS)
def test_a_bad_release_is_never_the_one_before_the_live_one_by_a_rollback(records: list[journal.Record]) -> None:
    state = journal.fold([*live("x", "y"), *records, *live("z"), step("rollback", "done", "y", "z")])
    assert state.live == "y"
    assert "z" in state.bad


def test_a_long_journal_is_cut_and_kept_beside(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.jsonl"
    records = [stage(str(number)) for number in range(journal.LONG + 1)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    journal.rotate(str(path))
    assert journal.fold(journal.read(str(path))) == journal.fold(records)
    assert len(journal.read(str(path))) == journal.KEEP + 1
    assert len(journal.read(f"{path}.1")) == journal.LONG + 1


def test_the_seconds_of_the_last_switches_are_those_that_ended_well() -> None:
    def took(kind: str, end: str, seconds: float) -> dict[str, object]:
        return {**step(kind, end, "1"), "seconds": seconds}

    records = [*(took("activate", "done", number) for number in range(12)), took("rollback", "done", 99.0)]
    others = [took("restart", "done", 7), took("activate", "reverted", 7), {**step("activate", "done", "1"), "mended": True}, stage("2")]
    assert journal.seconds([*records, *others], ("activate", "rollback")) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 99.0]
    assert journal.seconds([{"kind": "sum", "history": []}, *others], ("activate", "rollback")) == []
