"""What an operator asks the ledger, and what is shown."""

from __future__ import annotations

import csv
import io
import re

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import ledger_runs
from ansible_collections.tossable.fleet.plugins.plugin_utils import ledger_view
from ledger_records import ended, noted, started

NOW = 1_795_600_800.0  # 2026-11-25T10:00:00Z
RUNS = ledger_runs.runs(
    [
        started("a", 0, reason="the new cart, with a comma", lock_broken={"by": "bo", "reason": "laptop gone", "run": "z"}),
        ended("a", 12, seconds=12.34),
        started(
            "b",
            20,
            by="robot",
            on_behalf_of="cy@chat",
            commits={
                "from": "1" * 40,
                "to": "2" * 40,
                "list": [{"commit": "2" * 40, "author": "Dee", "at": "2026-11-25T09:00:00.000Z", "subject": "Sell more"}],
            },
        ),
        ended("b", 30, outcome="rolled_back", cause="app1: 2-bbbbbbbb did not become healthy: it answers 503, and that is all that there is to say"),
        started("c", 40, **{"from": ["1-aaaaaaaa", "3-cccccccc"]}),
        started("d", 50, continues="c"),
        noted("e", 60),
    ],
    set(),
)


@pytest.mark.parametrize(
    ("word", "moment"),
    [
        ("7d", "2026-11-18T10:00:00.000Z"),
        ("12h", "2026-11-24T22:00:00.000Z"),
        ("30m", "2026-11-25T09:30:00.000Z"),
        ("2w", "2026-11-11T10:00:00.000Z"),
        ("99999w", "1970-01-01T00:00:00.000Z"),
        ("2026-11-01", "2026-11-01T00:00:00.000Z"),
        ("2026-11-01T10:00:00", "2026-11-01T10:00:00.000Z"),
        ("2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00.000Z"),
    ],
)
def test_since_is_said_in_many_ways(word: str, moment: str) -> None:
    assert ledger_view.since(word, NOW) == moment


@pytest.mark.parametrize("word", ["7", "yesterday", "d", "7 d", "-7d", "2026-13-01"])
def test_another_word_is_answered_with_those_that_are_possible(word: str) -> None:
    with pytest.raises(ValueError, match=r"which is no time: say it as 30m, 12h, 7d or 2w"):
        ledger_view.wanted({"since": word}, NOW)


def test_an_outcome_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="outcome is 'green', and there are only: deployed, rolled_back, failed, interrupted, running, noted"):
        ledger_view.wanted({"outcome": "green"}, NOW)


def test_without_a_filter_the_newest_are_meant() -> None:
    assert ledger_view.wanted({"since": "", "by": ""}, NOW)["last"] == ledger_view.LAST
    assert ledger_view.wanted({"by": "ada"}, NOW)["last"] == 0


def test_a_name_that_the_ledger_has_never_seen_is_answered_with_those_that_it_has() -> None:
    known = {"by": ["ada@desk", "bo"], "app": ["shop"], "run": ["a", "b"]}
    assert ledger_view.nothing({"by": "eve"}, known) == "The ledger has no person 'eve' (there are: ada@desk, bo)."
    assert ledger_view.nothing({"app": "show"}, known) == "The ledger has no application 'show' (there are: shop)."
    assert ledger_view.nothing({"run": "c"}, known) == "The ledger has no run 'c' (the newest are: a, b)."
    assert ledger_view.nothing({"by": "ada", "app": "shop"}, known) == ""
    assert ledger_view.nothing({"app": "shop"}, {"by": [], "app": [], "run": []}) == "The ledger has no application 'shop' (it is empty)."


def test_the_table() -> None:
    lines = ledger_view.table(RUNS, False)
    came = ["2026-11-25 10:00:00", "shop", "deploy", "1-aaaaaaaa", "2-bbbbbbbb", "ada@desk", "the new cart, with a comma", "12.3", "deployed"]
    assert [re.split(r"  +", line) for line in lines[:2]] == [
        ["when (UTC)", "application", "kind", "from", "to", "who", "why", "seconds", "outcome"],
        came,
    ]
    assert "robot for cy@chat" in lines[2]
    assert lines[2].endswith("  rolled_back (app1: 2-bbbbbbbb did not become healthy: it answers 503, ...)")
    assert "  1-aaaaaaaa, 3-cccccccc  " in lines[3]
    assert lines[3].endswith("  interrupted (run d went on)")
    assert lines[4].endswith("  -        interrupted")
    assert lines[5].endswith("  noted (the lock was broken)")
    assert len({line.index("  shop  ") for line in lines[1:]}) == 1


def test_the_table_says_when_there_is_more_or_nothing() -> None:
    assert ledger_view.table(RUNS[-2:], True)[-1] == "There are more: -e since=30d, by, app, outcome; one run whole: -e run=..."
    assert len(ledger_view.table(RUNS[-2:], False)) == 3
    assert ledger_view.table([], True) == ["No run fits."]
    assert ledger_view.table([], False) == ["The ledger is empty: nothing has been deployed since it is kept."]


def test_a_run_is_shown_with_the_flags_that_were_switched_meanwhile() -> None:
    (run,) = ledger_runs.runs([started("a", 0), ended("a", 12, flags=[{"flag": "checkout", "before": "off", "after": "10 %"}])], set())
    assert "flags         checkout: off -> 10 %" in ledger_view.whole(run)


def test_one_run_whole() -> None:
    shown = "\n".join(ledger_view.whole(RUNS[0]))
    for words in (
        "12.3 s",
        "because: laptop gone",
        "1-aaaaaaaa -> 2-bbbbbbbb",
        "app1: deployed, 1.0 s",
        "runs 2-bbbbbbbb (switch 0.10 s)",
        "roll 1.0 s",
    ):
        assert words in shown, shown
    assert "2222222222 Dee: Sell more" in "\n".join(ledger_view.whole(RUNS[1]))
    assert "continued by  d" in ledger_view.whole(RUNS[2])
    assert len(ledger_view.whole(RUNS[4])) == 5


@pytest.mark.parametrize(("account", "shown"), [("deploy@desk", "ada (account deploy@desk)"), ("ada", "ada"), (None, "ada")])
def test_a_name_that_was_typed_is_told_with_the_account_it_was_typed_by(account: str | None, shown: str) -> None:
    for record in (noted("e", 60, by="ada", account=account), started("e", 60, by="ada", account=account)):
        (run,) = ledger_runs.runs([record], set())
        assert ledger_view.whole(run)[2].split(maxsplit=1) == ["who", shown]


def test_csv_holds_every_run_whatever_stands_in_it() -> None:
    rows = list(csv.DictReader(io.StringIO(ledger_view.as_csv(RUNS))))
    assert [row["run"] for row in rows] == list("abcde")
    assert rows[0]["reason"] == "the new cart, with a comma"
    assert rows[2]["from"] == "1-aaaaaaaa 3-cccccccc"
    assert (rows[2]["seconds"], rows[2]["continued_by"]) == ("", "d")


@pytest.mark.parametrize("words", ['=HYPERLINK("http://evil.example")', "+1", "-5 % errors", "@somebody"])
def test_a_reason_is_no_formula_of_the_spreadsheet_that_opens_it(words: str) -> None:
    (row,) = csv.DictReader(io.StringIO(ledger_view.as_csv([{**RUNS[0], "reason": words}])))
    assert row["reason"] == f"'{words}"


def test_the_last_run_in_one_line() -> None:
    assert ledger_view.last_line(RUNS[:2]).startswith(
        "last run: deploy to 2-bbbbbbbb by robot for cy@chat at 2026-11-25T10:00:20Z: rolled_back (app1: "
    )
    assert ledger_view.last_line(RUNS).endswith("by ada@desk at 2026-11-25T10:00:50Z: interrupted; run d")
    assert ledger_view.last_line([]) == "last run: none in the ledger"
