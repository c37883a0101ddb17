# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of feature flags, evaluated by flagd's own evaluator for Python: whom they match, and what is refused at which column."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_rules import RuleError, compile_rule, within_percent
from hypothesis import given
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext


def matches(logic: Any, user: str | None = "somebody", **attributes: Any) -> bool:
    """Whether a user with these attributes is one that the condition matches."""
    core = FlagdCore()
    flag = {"state": "ENABLED", "variants": {"in": True, "out": False}, "defaultVariant": "out", "targeting": {"if": [logic, "in", "out"]}}
    core.set_flags(json.dumps({"flags": {"probe": flag}}))
    return core.resolve_boolean_value("probe", False, EvaluationContext(user, attributes)).value


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ("transaction_volume >= 100000", [100000, 100000.5, 2**52], [99999.99, 0, -1, "200000", True, None]),
        ("transaction_volume < 5", [4, 0, -3.5], [5, "4", True, False, None, ""]),
        ("100000 <= transaction_volume", [100000], [99999]),
        ("1 <= transaction_volume < 3", [1, 2.5], [0, 3]),
        ("transaction_volume == 1", [1, 1.0], [True, "1", None]),
        ("transaction_volume != 1", [0, 2], [1, True, "2", None]),
        ("transaction_volume == -2", [-2], [2]),
        ("transaction_volume in [1, 2]", [1, 2], [3, True, "1", None]),
        ("transaction_volume not in [1, 2]", [3], [1, False, "3", None]),
        ("not transaction_volume >= 5", [4, None], [5]),
        ("transaction_volume == true", [True], [False, 1, "true", None]),
        ("transaction_volume != true", [False], [True, 0, "false", None]),
    ],
)
def test_numbers_and_truth_values_match_only_their_like(rule: str, inside: list[Any], outside: list[Any]) -> None:
    logic = compile_rule(rule, "probe")
    assert [value for value in inside if not matches(logic, transaction_volume=value)] == []
    assert [value for value in outside if matches(logic, transaction_volume=value)] == []
    assert matches(logic) is rule.startswith("not "), "an attribute that is missing"


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ("plan == 'gold'", ["gold"], ["silver", "", 1, None, "Gold"]),
        ("plan != 'gold'", ["silver", ""], ["gold", 1, None]),
        ("plan in ['gold', 'silver']", ["gold", "silver"], ["old", "", None]),
        ("plan not in ['gold']", ["silver"], ["gold", None]),
        ("starts_with(plan, 'go')", ["gold", "go"], ["ago", 1, None]),
        ("ends_with(plan, '@shop.example')", ["ada@shop.example"], ["ada@shop.example.org", None]),
        ("semver(plan) >= '1.2.0'", ["1.2.0", "v1.10.0", "2"], ["1.1.9", "1.2.0-rc.1", "gold", 2, None]),
        ("semver(plan) == '1.2'", ["1.2.0"], ["1.2.1"]),
        ("semver_match(plan, '^1.2.0')", ["1.0.0", "1.9.9"], ["2.0.0", "", None]),
        ("semver_match(plan, '~1.2.0')", ["1.2.7"], ["1.3.0"]),
        ("plan == 'gold' and country == 'NL'", [], ["gold"]),
        ("plan == 'gold' or country == 'NL'", ["gold"], ["silver"]),
    ],
)
def test_texts_match_only_texts(rule: str, inside: list[Any], outside: list[Any]) -> None:
    logic = compile_rule(rule, "probe")
    assert [value for value in inside if not matches(logic, plan=value)] == []
    assert [value for value in outside if matches(logic, plan=value)] == []
    assert not matches(logic)


@pytest.mark.parametrize("rule", ["a >= 0", "a < 5", "a == 1", "a != 1", "a in [1, 2]", "a not in [7]"])
@pytest.mark.parametrize("value", [[], [1], {}, {"a": 1}], ids=str)
def test_lists_and_objects_are_no_numbers(rule: str, value: Any) -> None:
    assert not matches(compile_rule(rule, "probe"), a=value)


@pytest.mark.parametrize(
    ("written", "full"), [("1", "1.0.0"), ("v1.2", "1.2.0"), ("1.2.3", "1.2.3"), ("1.2-rc.1", "1.2.0-rc.1"), ("1.2.3+build.5", "1.2.3")]
)
def test_a_version_is_written_out_as_flagds_schema_wants_it(written: str, full: str) -> None:
    assert f'">=", "{full}"]' in json.dumps(compile_rule(f"semver(app) >= '{written}'", "probe"))
    assert f'"^", "{full}"]' in json.dumps(compile_rule(f"semver_match(app, '^{written}')", "probe"))


@pytest.mark.parametrize("text", ["01.2.3", "1.2.3-", "1.2.3-rc..1", "1.2.3-01", "1.2.3.4", "", "^1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(RuleError, match="is compared with a version"):
        compile_rule(f"semver(app) >= '{text}'", "probe")


def test_attributes_may_lie_in_others() -> None:
    logic = compile_rule("address.country == 'NL'", "probe")
    assert matches(logic, address={"country": "NL"})
    assert not matches(logic, address={})
    assert not matches(logic)


@pytest.mark.parametrize(
    ("rule", "column", "why"),
    [
        ("plan =", 6, "not an expression"),
        ("plan == gold", 9, "one side of a comparison is an attribute, the other a value"),
        ("plan", 1, "a condition is a comparison"),
        ("plan == 'a' and 3", 17, "a condition is a comparison"),
        ("upper(plan) == 'A'", 1, "there is no function upper() (there are: starts_with,"),
        ("os.system('x')", 1, "there is no function os.system()"),
        ("plan > 'gold'", 8, "texts can be compared with == and != only"),
        ("plan in 'gold'", 9, "`in` wants a list"),
        ("plan in []", 9, "at least one"),
        ("plan in ['a', 1]", 9, "not both"),
        ("semver(app) >= 1.2", 16, "is compared with a version"),
        ("semver(app)", 1, "compare semver()"),
        ("semver_match(app, '1.2')", 19, "semver_match() wants"),
        ("starts_with(plan)", 1, "write it as starts_with(plan,"),
        ("percent(101)", 9, "from 0 to 100"),
        ("percent('ten')", 9, "wants a number"),
        ("plan is None", 1, "compare with"),
        ("volume == 1e300", 11, "too large"),
        ("(lambda: 1)()", 1, "there is no function"),
        ("[x for x in y]", 1, "a condition is"),
        ("(" * 500 + "a" + ")" * 500, 1, ""),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_column(rule: str, column: int, why: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rule(rule, "probe")
    assert why in caught.value.message
    if why:
        assert (caught.value.column, f"(column {column})" in str(caught.value)) == (column, True)


@given(st.text(max_size=40))
def test_any_text_is_compiled_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(RuleError):
        assert isinstance(compile_rule(text, "probe"), bool | dict)


USERS = [f"user-{number}" for number in range(400)]
VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)


@given(st.integers(0, 100), st.integers(0, 100))
def test_who_is_in_at_ten_per_cent_is_in_at_twenty(one: int, other: int) -> None:
    small, large = sorted((one, other))
    logic = [within_percent(share, "probe") for share in (small, large)]
    sets = [{user for user in USERS[:40] if matches(condition, user)} for condition in logic]
    assert sets[0] <= sets[1]


def test_a_percentage_is_of_all_users_and_of_other_ones_for_another_flag() -> None:
    one, other = ({user for user in USERS if matches(within_percent(25, key), user)} for key in ("checkout", "reviews"))
    assert 70 <= len(one) <= 130
    assert 10 <= len(one & other) <= 45, "a quarter of a quarter"
    half = {user for user in USERS if matches(within_percent(0.5, "checkout"), user)}
    assert half <= one
    assert len(half) <= 8


@pytest.mark.parametrize("user", [None, ""])
def test_nobody_without_a_targeting_key_is_in_a_percentage(user: str | None) -> None:
    assert not matches(within_percent(99, "probe"), user)


@given(
    st.sampled_from(["a < 5", "a == 1", "a != 'x'", "a in [1, 2]", "a not in ['x']", "a == true", "starts_with(a, 'x')", "semver(a) < '2'"]), VALUES
)
def test_no_value_of_an_attribute_is_an_error(rule: str, value: Any) -> None:
    assert matches(compile_rule(rule, "probe"), a=value) in (True, False)
