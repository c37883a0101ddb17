# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations and switches of feature flags: what is published, and what is refused with its place before that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_set
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_set import Flag, FlagError
from hypothesis import given
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

ROOT = Path(__file__).parents[4]
ABOUT = "purpose: a test, owner: shop, kind: ops"
TODAY = date(2026, 11, 25)


def declared(folder: Path, **flags: str) -> dict[str, Flag]:
    """Flags of these declarations, in one file."""
    folder.mkdir(exist_ok=True)
    (folder / "some.yml").write_text("flags:\n" + "".join(f"  {key}: {{{ABOUT}, {text}}}\n" for key, text in flags.items()))
    return flag_set.load(folder)


def seen(line: bytes, key: str, user: str = "somebody", **attributes: Any) -> Any:
    """The value that flagd's evaluator gives of a flag."""
    core = FlagdCore()
    core.set_flags(line.decode())
    return core.resolve_boolean_value(key, False, EvaluationContext(user, attributes)).value


def test_the_published_line_is_flagds_format_and_always_the_same_bytes(tmp_path: Path) -> None:
    flags = declared(tmp_path, checkout="expires: 2027-03-31, state: off", search="state: on")
    line = flag_set.render(flags, {}, "lab", 7)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "metadata": {"environment": "lab", "generation": 7},
        "flags": {
            "checkout": {
                "state": "ENABLED",
                "variants": {"on": True, "off": False},
                "defaultVariant": "off",
                "metadata": {"kind": "ops", "owner": "shop", "expires": "2027-03-31"},
            },
            "search": {
                "state": "ENABLED",
                "variants": {"on": True, "off": False},
                "defaultVariant": "on",
                "metadata": {"kind": "ops", "owner": "shop"},
            },
        },
    }
    assert line == flag_set.render(dict(reversed(flags.items())), {}, "lab", 7)


@pytest.mark.parametrize("word", ["on", "'on'"])
def test_a_bare_on_is_the_word(tmp_path: Path, word: str) -> None:
    assert declared(tmp_path, checkout=f"state: {word}, variants: {{on: 1, off: 0}}")["checkout"].state == {"to": "on"}


def test_a_live_state_is_laid_over_the_declared_one(tmp_path: Path) -> None:
    flags = declared(tmp_path, checkout="state: off", search="state: on")
    line = flag_set.render(flags, {"checkout": {"rule": "plan == 'gold'"}, "gone": {"to": "on"}}, "lab", 2)
    assert (seen(line, "checkout", plan="gold"), seen(line, "checkout", plan="free"), seen(line, "search")) == (True, False, True)


def test_a_flag_is_off_where_one_that_it_requires_is(tmp_path: Path) -> None:
    flags = declared(
        tmp_path, base="state: {percent: 40}", middle="state: on, requires: [base]", top="state: {rule: \"plan == 'gold'\"}, requires: [middle]"
    )
    users = [f"user-{number}" for number in range(60)]
    line = flag_set.render(flags, {}, "lab", 1)
    base = {user for user in users if seen(line, "base", user)}
    assert 10 < len(base) < 40
    assert {user for user in users if seen(line, "middle", user)} == base
    assert {user for user in users if seen(line, "top", user, plan="gold")} == base
    assert not any(seen(line, "top", user) for user in users)
    off = flag_set.render(flags, {"base": {"to": "off"}}, "lab", 2)
    assert not any(seen(off, key, user, plan="gold") for key in flags for user in users)


def test_variants_may_have_other_names_and_values(tmp_path: Path) -> None:
    (tmp_path / "some.yml").write_text(
        f"flags:\n  theme: {{{ABOUT}, variants: {{light: paper, dark: night, high: contrast}}, on: dark, off: light,\n"
        "    state: {rules: [{when: \"plan == 'gold'\", give: high}, {percent: 50, give: dark}]}}\n"
    )
    flags = flag_set.load(tmp_path)
    core = FlagdCore()
    core.set_flags(flag_set.render(flags, {}, "lab", 1).decode())
    values = [core.resolve_string_value("theme", "", EvaluationContext(f"user-{number}")).value for number in range(100)]
    assert set(values) == {"paper", "night"}
    assert core.resolve_string_value("theme", "", EvaluationContext("user-1", {"plan": "gold"})).value == "contrast"
    assert flag_set.told(flags["theme"].state) == "high: plan == 'gold'; dark: 50 %"


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ({"state": "on"}, {"to": "on"}),
        ({"state": True}, {"to": "on"}),
        ({"state": "off", "percent": "", "rule": None}, {"to": "off"}),
        ({"state": "reset"}, None),
        ({"percent": "10"}, {"percent": 10}),
        ({"percent": 0.5}, {"percent": 0.5}),
        ({"rule": "plan == 'gold'"}, {"rule": "plan == 'gold'"}),
    ],
)
def test_an_operators_words(tmp_path: Path, words: Mapping[str, Any], state: Any) -> None:
    assert flag_set.asked(declared(tmp_path, checkout="state: off")["checkout"], words, TODAY) == state


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({}, "say one of state=on"),
        ({"state": "on", "percent": 10}, "found: state and percent"),
        ({"state": "blue"}, "there is no variant 'blue' (there are: on, off)"),
        ({"percent": "ten"}, "percent is a number from 0 to 100, not 'ten'"),
        ({"percent": 101}, "from 0 to 100"),
        ({"percent": True}, "from 0 to 100"),
        ({"percent": "nan"}, "from 0 to 100"),
        ({"rule": "plan == "}, "not an expression"),
        ({"rule": "plan == gold"}, "(column 9)"),
    ],
)
def test_words_that_cannot_be_meant(tmp_path: Path, words: Mapping[str, Any], why: str) -> None:
    flag = declared(tmp_path, checkout="state: off")["checkout"]
    with pytest.raises(FlagError) as caught:
        flag_set.asked(flag, words, TODAY)
    assert str(caught.value).startswith(f"{flag.where}: checkout: ")
    assert flag.where.endswith("/some.yml:2")
    assert why in str(caught.value)


def test_an_expired_flag_can_only_be_switched_off_or_reset(tmp_path: Path) -> None:
    flag = declared(tmp_path, checkout="state: off, expires: 2026-11-24")["checkout"]
    with pytest.raises(FlagError, match=r"checkout expired on 2026-11-24 \(.*/some.yml:2\)"):
        flag_set.asked(flag, {"state": "on"}, TODAY)
    assert flag_set.asked(flag, {"state": "on"}, date(2026, 11, 24)) == {"to": "on"}
    assert flag_set.asked(flag, {"state": "off"}, TODAY) == {"to": "off"}
    assert flag_set.asked(flag, {"state": "reset"}, TODAY) is None


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("flag: {}", 1, "the file has 'flag', which is none of flags"),
        ("flags: [checkout]", 1, "flags is no mapping"),
        ("flags:\n  Checkout: {}", 2, "is no name of a flag"),
        (f"flags:\n  a: {{{ABOUT}}}", 2, "the flag a has no state"),
        ("flags:\n  a: {owner: b, kind: ops, state: on}", 2, "the flag a has no purpose"),
        ("flags:\n  a: {purpose: a, owner: b, kind: relase, state: on}", 2, "kind is one of release, experiment, ops, permission, not 'relase'"),
        ("flags:\n  a: {purpose: a, owner: b, kind: release, state: on}", 2, "of kind release and has no expires"),
        (f"flags:\n  a:\n    {{{ABOUT}, state: on,\n    expires: soon}}", 4, "expires is a date"),
        (f"flags:\n  a: {{{ABOUT}, state: on}}\n  a: {{}}", 3, "flags has 'a' twice"),
        (f"flags:\n  a: {{{ABOUT}, state: on, colour: red}}", 2, "the flag a has 'colour'"),
        (f"flags:\n  a: {{{ABOUT}, state: blue}}", 2, "state of a: there is no variant 'blue'"),
        (f"flags:\n  a: {{{ABOUT}, variants: {{on: 1, off: no-number}}, state: on}}", 2, "of one type"),
        (f"flags:\n  a: {{{ABOUT}, variants: {{on: 1}}, state: on}}", 2, "the variant 'off' (off) is not among the variants (on)"),
        (f"flags:\n  a: {{{ABOUT}, variants: {{x: 1, y: 2}}, on: x, off: z, state: on}}", 2, "the variant 'z' (off) is not among"),
        (f"flags:\n  a:\n    {{{ABOUT},\n    state: {{rule: 'plan == gold'}}}}", 4, "state of a: rule: one side of a comparison"),
        (f"flags:\n  a: {{{ABOUT}, state: {{percent: 200}}}}", 2, "from 0 to 100"),
        (f"flags:\n  a: {{{ABOUT}, state: {{percent: on}}}}", 2, "percent"),
        (f"flags:\n  a: {{{ABOUT}, state: {{rules: []}}}}", 2, "a list of clauses"),
        (f"flags:\n  a: {{{ABOUT}, state: on, requires: [b]}}", 2, "a requires b, which is not declared"),
        (f"flags:\n  a: {{{ABOUT}, state: on, requires: b}}", 2, "requires is a list"),
        (f"flags:\n  a: {{{ABOUT}, state: on, requires: [b]}}\n  b: {{{ABOUT}, state: on, requires: [a]}}", 2, "a requires itself: a -> b -> a"),
        (
            f"flags:\n  a: {{{ABOUT}, variants: {{\n    on: .inf, off: 0}}, state: on}}",
            3,
            "the variant on holds .inf, .nan or itself, which JSON cannot",
        ),
        (f"flags:\n  a: {{{ABOUT}, variants: {{\n    on: 1,\n    off: -.inf}}, state: on}}", 4, "the variant off holds .inf, .nan"),
        (f"flags:\n  a: {{{ABOUT}, variants: {{on: .nan, off: 0}}, state: on}}", 2, "the variant on holds .inf, .nan or itself, which JSON cannot"),
        (f"flags:\n  a: {{{ABOUT}, variants: {{on: {{x: [.nan]}}, off: {{y: 1}}}}, state: on}}", 2, "the variant on holds .inf, .nan"),
        (f"flags:\n  a: {{{ABOUT}, variants: {{on: &x {{x: *x}}, off: {{}}}}, state: on}}", 2, "the variant on holds .inf, .nan or itself"),
        (f"flags:\n  a: {{{ABOUT}, state: on, expires: 2027-02-30}}", 2, "no plain value: day"),
        ("flags:\n  a:\n    purpose: a\bb\n", 3, "a character that YAML does not allow: U+0008"),
        ("\x00", 1, "a character that YAML does not allow: U+0000"),
        ("flags: {a: *nowhere}", 1, "no YAML"),
        ("flags:\n  a: {\n", 3, "no YAML"),
    ],
)
def test_what_is_declared_wrongly_is_refused_with_its_place(tmp_path: Path, text: str, line: int, why: str) -> None:
    folder = tmp_path / "flags"
    folder.mkdir()
    (folder / "shop.yml").write_text(text)
    with pytest.raises(FlagError) as caught:
        flag_set.load(folder)
    assert [fault for fault in str(caught.value).splitlines() if fault.startswith(f"flags/shop.yml:{line}: ") and why in fault], caught.value


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"flags:\n  a: {{{ABOUT}, state: blue}}\n")
    (tmp_path / "b.yml").write_text(f"flags:\n  b: {{{ABOUT}, state: red}}\n")
    with pytest.raises(FlagError) as caught:
        flag_set.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("name", ["new.yaml", "new.YML", "new.Yaml"])
def test_a_file_whose_name_would_not_be_read_is_a_fault(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "flags"
    folder.mkdir()
    for beside in ("some.yml", name, "README.md", ".hidden.yaml"):
        (folder / beside).write_text("")
    with pytest.raises(FlagError) as caught:
        flag_set.load(folder)
    assert str(caught.value) == f"flags/{name}: only files *.yml are read: rename it to new.yml"


def test_a_flag_is_declared_in_one_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text(f"flags:\n  checkout: {{{ABOUT}, state: off}}\n")
    with pytest.raises(FlagError, match=r"b.yml:2: the flag checkout is declared twice, first at .*/a.yml:2"):
        flag_set.load(tmp_path)


def test_a_live_state_that_does_not_fit_any_more_is_named(tmp_path: Path) -> None:
    flags = declared(tmp_path, checkout="state: off")
    with pytest.raises(FlagError, match="the live state of checkout does not fit its declaration any more: there is no variant 'blue'"):
        flag_set.render(flags, {"checkout": {"to": "blue"}}, "lab", 1)


def test_a_number_that_json_has_not_is_never_published(tmp_path: Path) -> None:
    flag = declared(tmp_path, checkout="state: off, variants: {on: 1, off: 0}")["checkout"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        flag_set.render({"checkout": flag._replace(variants={"on": float("inf"), "off": 0})}, {}, "lab", 1)


def test_who_may(tmp_path: Path) -> None:
    flags = declared(tmp_path, free="state: off", mine="state: off, may_change: [ada, '@ops']")
    groups = {"ops": ["bo"]}
    assert flag_set.may(flags["free"], "anybody", groups)
    assert [who for who in ("ada", "bo", "cy", "@ops") if flag_set.may(flags["mine"], who, groups)] == ["ada", "bo"]


CONDITIONS = st.sampled_from(
    ["plan == 'gold'", "volume >= 10", "semver(app) >= '1.2'", "percent(30)", "not plan in ['a', 'b']", "true", "volume < 5 or beta == true"]
)
PERCENT = st.integers(0, 100)
CLAUSES = st.one_of(
    st.fixed_dictionaries({"when": CONDITIONS, "give": st.sampled_from(["on", "off"])}, optional={"percent": PERCENT}),
    st.fixed_dictionaries({"percent": PERCENT, "give": st.sampled_from(["on", "off"])}),
)
STATES = st.one_of(
    st.sampled_from([{"to": "on"}, {"to": "off"}]),
    st.fixed_dictionaries({"percent": PERCENT}),
    st.fixed_dictionaries({"rule": CONDITIONS}),
    st.fixed_dictionaries({"rules": st.lists(CLAUSES, min_size=1, max_size=4)}),
)
ATTRIBUTES = {
    "plan": st.text(max_size=3),
    "volume": st.integers(0, 20) | st.text(max_size=2),
    "app": st.sampled_from(["1.2.3", "x"]),
    "beta": st.booleans(),
}
REQUIRES = {"a": (), "b": ("a",), "c": ("a", "b")}


@given(st.lists(STATES, min_size=3, max_size=3), st.fixed_dictionaries({}, optional=ATTRIBUTES), st.text(max_size=4))
def test_whatever_is_accepted_is_evaluated_for_everybody(states: list[Any], context: dict[str, Any], user: str) -> None:
    flags = {
        key: Flag(key, "a test", "shop", "ops", None, {"on": True, "off": False}, "on", "off", state, REQUIRES[key], (), (), "here:1")
        for key, state in zip(REQUIRES, states, strict=True)
    }
    line = flag_set.render(flags, {}, "lab", 1)
    values = [seen(line, key, user, **context) for key in flags]
    assert all(isinstance(value, bool) for value in values)
    assert values[0] or not values[1]
    assert values[1] or not values[2]


def test_a_line_does_not_grow_with_the_ways_to_what_is_required(tmp_path: Path) -> None:
    texts = {"f0": "state: {percent: 50}", "f1": "state: on, requires: [f0]"}
    texts |= {f"f{number}": f"state: on, requires: [f{number - 1}, f{number - 2}]" for number in range(2, 30)}
    flags = declared(tmp_path, **texts)
    line = flag_set.render(flags, {}, "lab", 1)
    assert len(line) < 30 * 1000
    users = [f"user-{number}" for number in range(40)]
    assert [seen(line, "f29", user) for user in users] == [seen(line, "f0", user) for user in users]
    assert not seen(flag_set.render(flags, {"f3": {"to": "off"}}, "lab", 2), "f29", "user-1")


@pytest.mark.parametrize("folder", sorted(ROOT.glob("inventories/*/flags")), ids=lambda folder: folder.parent.name)
def test_the_examples_in_the_inventories_can_be_published(folder: Path) -> None:
    flags = flag_set.load(folder)
    assert json.loads(flag_set.render(flags, {}, folder.parent.name, 1))["flags"].keys() == flags.keys() != set()


def test_no_flag_that_the_tests_switch_expires_in_their_time() -> None:
    """On the day after, every fleet would refuse to switch it."""
    expires = [flag.expires for flag in flag_set.load(ROOT / "inventories" / "lab" / "flags").values() if flag.expires]
    assert len(expires) > 2
    assert min(expires) >= date(2099, 1, 1)
