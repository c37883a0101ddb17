"""How the robot understands a switch of a flag, and what it tells of all of them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_made import live_flags
from test_robot_words import NOW, load, words

flags = load("robot_flags")


@pytest.mark.parametrize(
    ("line", "shown", "handed_on"),
    [
        ("flag checkout off because it is slow", "flag checkout off", {"flag": "checkout", "state": "off"}),
        ("flag new-search ON", "flag new-search on", {"flag": "new-search", "state": "on"}),
        ("flag checkout reset", "flag checkout reset", {"flag": "checkout", "state": "reset"}),
        ("flag checkout 10%", "flag checkout 10%", {"flag": "checkout", "percent": "10"}),
        ("flag checkout percent=0.5", "flag checkout 0.5%", {"flag": "checkout", "percent": "0.5"}),
        ("panic", "panic", {}),
        ("panic 30 because errors", "panic 30 minutes", {"minutes": "30"}),
        ("panic checkout", "panic group checkout", {"group": "checkout"}),
    ],
)
def test_a_switch_is_understood(line: str, shown: str, handed_on: dict[str, str]) -> None:
    wish = flags.order(line.split(), "ada", "#ops")
    assert (str(wish), dict(wish.given)) == (shown, handed_on)
    assert wish.reason == (line.partition("because ")[2] or "asked by ada in #ops")
    told = words.variables(wish, "storefront", "robot", words.Speaker("ada", "ada"))
    assert (told["by"], told["on_behalf_of"]) == ("robot", "ada")


@pytest.mark.parametrize(
    "line",
    [
        "flag",
        "flag checkout",
        "flag {{x}} off",
        "flag checkout maybe",
        "flag checkout 101%",
        "flag checkout 10",
        "flag a on now",
        "panic 0 1",
        "panic ../x",
    ],
)
def test_anything_else_is_answered_with_what_to_say(line: str) -> None:
    assert isinstance(flags.order(line.split(), "ada", "#ops"), str)


@given(st.lists(st.text(alphabet=string.printable + "{}", min_size=1, max_size=9), max_size=4), st.sampled_from(["flag", "panic"]))
def test_nothing_that_ansible_would_run_as_a_template_gets_through(told: list[str], verb: str) -> None:
    wish = flags.order([verb, *told], "ada", "#ops")
    if not isinstance(wish, str):
        handed_on = words.variables(wish, "storefront", "robot", words.Speaker("ada", "ada"))
        assert not {"{", "}"} & set("".join(handed_on.values()))


def test_each_flag_is_told_and_first_those_that_are_not_as_declared(tmp_path: Path) -> None:
    assert flags.answer(*flags.read(tmp_path), NOW) == ["No feature flags are live."]
    for name, content in live_flags(NOW.timestamp()).items():
        (tmp_path / name).write_text(json.dumps(content))
    head, checkout, gone, rest = flags.answer(*flags.read(tmp_path), NOW)
    assert head == "3 flags in production, generation 7: 2 not as declared"
    assert checkout.startswith("checkout: 10 %, 2 hours ago by robot@ops1 on behalf of ada@desk, because: <script>")
    assert checkout.endswith("which is over")
    assert gone.startswith("gone (not declared any more): off, 2 hours ago")
    assert rest == "as declared: by rules: search; on: discount"


def test_many_switches_are_told_in_as_many_lines_as_a_channel_bears() -> None:
    overrides = {f"flag{number}": {"state": "off", "by": "ada", "at": "2026-11-25T10:00:00Z"} for number in range(9)}
    definitions: dict[str, Any] = {name: {"defaultVariant": "on"} for name in [*overrides, "other"]}
    said = flags.answer({"overrides": overrides, "environment": "lab", "generation": 3}, {"flags": definitions}, NOW)
    assert len(said) == 6
    assert said[4] == "6 more: flag3, flag4, flag5, flag6, flag7, flag8"


def test_what_an_order_did_is_what_the_ledger_noted_since() -> None:
    noted = [{"kind": "flag", "by": by, "text": text} for by, text in (("robot", "before"), ("robot", "checkout: on, now off"), ("ada", "other"))]
    assert flags.made(noted, 1, "robot") == "checkout: on, now off"
    wish = words.Order("flag", "checkout off", "x")
    assert words.ended(wish, "", [], NOW, "checkout: on, now off") == "flag checkout off ended well: checkout: on, now off"
    assert words.ended(wish, "no such flag", [], NOW, "") == "flag checkout off failed: no such flag"
