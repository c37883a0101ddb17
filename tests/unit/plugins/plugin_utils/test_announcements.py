"""Who is told what, in one line that no text of others can break; mistakes in the data are named with their place, and addresses are not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import announcements
from hypothesis import given
from hypothesis import strategies as st

SECRET = "hunter2"
IRC = f"ircs://robot:{SECRET}@irc.example/#ops"
STORY = {
    "kind": "deploy",
    "app": "storefront",
    "environment": "lab",
    "version": "1.1.0",
    "run": "20261125T100000Z-abcdef",
    "by": "ada@desk",
    "on_behalf_of": "",
    "reason": "faster checkout",
}
#: Seconds since the controller's boot.
UPTIME = 1000.0
NOW = datetime(2026, 11, 25, 10, 0, 41, tzinfo=UTC)
WAVES = {"waves": [1, 1, 2], "all": ["app1", "app2", "app3", "app4"]}
ABORTED = {"host": "app2", "reason": "it did not become healthy\nand more", "evidence": []}


def said(event: dict[str, Any], **story: str) -> str:
    told = {**STORY, **story}
    return announcements.line(told, announcements.whole(told, event, NOW, UPTIME))


def test_targets_hear_everything_unless_they_say_what() -> None:
    (one, two) = announcements.targets([{"to": IRC}, {"to": "json://hook.example", "events": ["failed"], "name": "pager"}])
    assert (one.label, one.events) == ("announce[0] (ircs)", announcements.EVENTS)
    assert (two.label, two.to, two.events) == ("pager", "json://hook.example", ("failed",))


def test_mistakes_are_all_named_with_place_and_choice_and_without_addresses() -> None:
    with pytest.raises(ValueError, match="announce") as refused:
        announcements.targets(["x", {"to": IRC, "events": ["rolledback"]}, {"events": []}, {"to": IRC, "events": "failed"}, {"to": IRC, "when": 1}])
    words = str(refused.value)
    for wanted in ("announce[0] is not", "announce[1].events: 'rolledback'", "rolled_back", "announce[2].to", "announce[3].events", "'when'"):
        assert wanted in words
    assert SECRET not in words + announcements.unreadable(3)
    assert "announce[3].to" in announcements.unreadable(3)


@given(st.text(), st.text())
def test_a_label_shows_nothing_of_an_address(place: str, rest: str) -> None:
    assert announcements.label("announce[0]", f"slack://{rest}", "") == "announce[0] (slack)"
    assert announcements.label("announce[0]", f"no address {rest}", "") == "announce[0]"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {
                "event": "started",
                "release": "1.1.0-00000002",
                "waves": [1, 1],
                "hosts": {host: {"from": "1.0.0-00000001", "changes": True} for host in ("app1", "app2")},
            },
            "started: 1.0.0-00000001 -> 1.1.0-00000002 on 2 hosts in 2 waves, by ada@desk, because: faster checkout",
        ),
        ({"event": "started", "release": "", "waves": [1], "hosts": {"app1": {"from": "", "changes": False}}}, "started: no host has to change"),
        ({"event": "interrupted", "continues": "20261125T095000Z-123456"}, "goes on with run 20261125T095000Z-123456, which was interrupted"),
        (
            {"event": "interrupted", "continues": "", "before": "20261125T095000Z-123456"},
            "follows run 20261125T095000Z-123456, which was interrupted",
        ),
        ({"event": "wave", **WAVES, "batch": ["app3", "app4"], "hosts": ["app3"]}, "wave 3 of 3 done: app3"),
        ({"event": "gate", **WAVES, "batch": ["app2"], "verdict": "pass", "line": "pass: no harm"}, "gate of wave 2 of 3: pass: no harm (run"),
        ({"event": "gate", **WAVES, "batch": ["app2"], "verdict": "error", "line": "no answer"}, "gate of wave 2 of 3: error: no answer (run"),
        ({"event": "recovering", "aborted": ABORTED}, "goes back: failed on app2: it did not become healthy (run"),
        (
            {"event": "ended", "aborted": {}, "well": True, "switched": True, "stranded": True},
            "deployed after 41 s, by ada@desk, because: faster checkout (run",
        ),
        (
            {"event": "ended", "aborted": {}, "well": True, "switched": True, "stranded": True, "lost": ["app4"]},
            "deployed after 41 s, without app4, by ada@desk",
        ),
        (
            {"event": "ended", "aborted": ABORTED, "well": False, "switched": True, "stranded": False},
            "rolled back after 41 s: failed on app2: it did not become healthy; it was ordered by ada@desk, because: faster checkout (run",
        ),
        ({"event": "ended", "aborted": ABORTED, "well": False, "switched": True, "stranded": True}, "failed after 41 s"),
        (
            {"event": "ended", "aborted": {}, "well": False, "switched": True, "stranded": True, "msg": "disk full\nx"},
            "failed after 41 s: disk full; it was ordered by ada@desk, because: faster checkout (run",
        ),
    ],
)
def test_each_event_in_words(event: dict[str, Any], words: str) -> None:
    line = said(event)
    assert line.startswith("deploy storefront 1.1.0 in lab ")
    assert words in line
    assert line.endswith("(run 20261125T100000Z-abcdef)")


def test_a_switch_of_flags_names_the_environment_and_what_was_switched() -> None:
    told = said({"event": "flag", "text": "checkout: off (was 10 %), generation 8"}, kind="flag", app="all", version="", reason="nobody can pay")
    assert told == ("flags in lab: checkout: off (was 10 %), generation 8, by ada@desk, because: nobody can pay (run 20261125T100000Z-abcdef)")
    assert ", by ada@desk, no reason given (run" in said({"event": "flag", "text": "x"}, kind="flag", reason="")


@pytest.mark.parametrize("kind", ["unlock", "maintenance", "toss"])
def test_what_is_no_run_is_told_as_it_was_noted(kind: str) -> None:
    told = said({"event": kind, "text": "the lock of bo was broken"}, kind=kind, version="", reason="his laptop is gone")
    assert told == f"{kind} storefront in lab: the lock of bo was broken, by ada@desk, because: his laptop is gone (run 20261125T100000Z-abcdef)"


def test_contract_migrations_are_named() -> None:
    assert "in lab started: a, b, by ada@desk, because: faster checkout (run" in said({"event": "started", "migrations": ["a", "b"]}, kind="contract")
    assert "started: no migration is pending, by" in said({"event": "started", "migrations": []}, kind="contract")
    assert "contract storefront 1.1.0 in lab failed after 3 s: app1: no; it was ordered by ada@desk, because: " in said(
        {"event": "failed", "seconds": 3, "cause": "app1: no"}, kind="contract"
    )


def test_a_rollback_that_went_well_is_rolled_back_and_one_that_did_not_failed() -> None:
    assert announcements.outcome("rollback", {}, True, True, False) == "rolled_back"
    assert announcements.outcome("rollback", ABORTED, False, True, False) == "failed"
    assert announcements.outcome("reconcile", {}, True, True, False) == "deployed"


def test_a_run_that_only_stages_says_so_and_one_that_fails_before_its_waves_took_nothing_back() -> None:
    assert announcements.outcome("deploy", {}, True, False, False) == "staged"
    assert announcements.outcome("deploy", ABORTED, False, False, False) == "failed"


def test_a_person_behind_a_robot_is_named() -> None:
    assert "by robot on behalf of ada" in said(
        {"event": "ended", "aborted": {}, "well": True, "switched": True, "stranded": True}, by="robot", on_behalf_of="ada"
    )


@given(st.text(), st.text(max_size=2000))
def test_a_line_is_one_short_line_and_ends_with_the_run(by: str, reason: str) -> None:
    line = said({"event": "ended", "aborted": {"host": "app1", "reason": reason}, "well": False, "switched": True, "stranded": False}, by=by)
    assert line.isprintable()
    assert len(line.encode()) <= announcements.LONGEST
    assert line.endswith("(run 20261125T100000Z-abcdef)")


def test_a_line_is_cut_by_its_bytes_and_at_a_whole_letter() -> None:
    line = said({"event": "started", "hosts": {}, "waves": [], "release": "1.1.0-00000000"}, reason="Проверка " * 30)
    assert 370 < len(line.encode()) <= announcements.LONGEST
    assert "\ufffd" not in line
    assert line.endswith("... (run 20261125T100000Z-abcdef)")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_every_host_is_in_the_wave_that_its_place_says(sizes: list[int]) -> None:
    hosts = [f"app{number}" for number in range(sum(sizes))]
    waves = [announcements.wave(sizes, hosts, [host]) for host in hosts]
    assert waves == [number for number, size in enumerate(sizes, start=1) for _ in range(size)]


def test_seconds_are_those_of_the_ledger_or_of_the_same_clock_not_those_that_the_run_waited_for_the_lock() -> None:
    event = {"event": "ended", "aborted": {}, "well": True, "switched": True, "stranded": False}
    assert "deployed after 12 s," in said({**event, "seconds": 12.345, "since": UPTIME - 12.5})
    assert "deployed after 13 s," in said({**event, "seconds": None, "since": UPTIME - 13.2})
    assert "deployed after 41 s," in said({**event, "seconds": None, "since": None})


def test_the_end_says_why_it_was_ordered_where_somebody_said_so() -> None:
    event = {"event": "ended", "aborted": {}, "well": True, "switched": True, "stranded": False}
    assert "rolled back after 41 s, by ada@desk, because: too slow (run" in said(event, kind="rollback", reason="too slow")
    assert "rolled back after 41 s, by ada@desk (run" in said(event, kind="rollback", reason="")


def test_a_run_of_another_form_has_no_seconds() -> None:
    assert announcements.seconds_since("run-2", NOW) is None
