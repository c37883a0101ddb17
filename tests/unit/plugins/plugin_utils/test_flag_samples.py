"""What sample users get, by the evaluator of applications."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_samples

RULE = {"if": [{"==": [{"var": "plan"}, "gold"]}, "big"]}


def published(**flags: Any) -> bytes:
    return json.dumps({"flags": {key: {"state": "ENABLED", "metadata": {}, **flag} for key, flag in flags.items()}, "metadata": {}}).encode() + b"\n"


@pytest.mark.parametrize("values", [("a", "b"), (1, 2), (0.5, 1.5), (True, False), ({"x": 1}, {"x": 2})])
def test_each_user_is_told_with_value_and_variant(values: tuple[Any, Any]) -> None:
    big, small = values
    line = published(size={"variants": {"big": big, "small": small}, "defaultVariant": "small", "targeting": RULE})
    users = [{}, {"targetingKey": "ada", "plan": "gold"}]
    floats = isinstance(big, int) and not isinstance(big, bool)
    assert flag_samples.lines(line, ["size", "gone"], users) == [
        f"size for nobody known: {json.dumps(float(small) if floats else small)} (small)",
        f"size for ada plan=gold: {json.dumps(float(big) if floats else big)} (big)",
        "gone for nobody known: no such flag",
        "gone for ada plan=gold: no such flag",
    ]


def test_what_the_evaluator_refuses_is_shown() -> None:
    line = published(size={"variants": {"big": True}, "defaultVariant": "big", "targeting": "huge"})
    assert "size for nobody known: error: " in flag_samples.lines(line, ["size"], [{}])[0]


def test_without_the_library_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openfeature.contrib.tools.flagd.core", None)
    assert "openfeature-flagd-core is not beside Ansible" in flag_samples.lines(published(), ["size"])[0]
    assert flag_samples.lines(b"", ["size"]) == []
