"""The page of figures says what ran, what failed and what did not run."""

from __future__ import annotations

import json
from typing import Any

import reliability


def record(test: str, outcome: str = "passed", **more: Any) -> dict[str, Any]:
    return {"test": test, "outcome": outcome, "kind": "gate", "case": "good", "requests": 100, "failed": 0, "lowest": 2, **more}


def test_the_last_line_of_a_case_counts() -> None:
    lines = [json.dumps(record("a", "failed")), json.dumps(record("a")), json.dumps(record("b"))]
    assert {test: one["outcome"] for test, one in reliability.newest(lines).items()} == {"a": "passed", "b": "passed"}


def test_figures_are_added_up_and_the_rest_is_named() -> None:
    bad = record("t.py::bad", kind=reliability.BAD, case="deaf", failed=7, seen=7, share=0.035, seconds=4.2, lowest=3)
    records = [record("t.py::one"), record("t.py::two", lowest=3), bad, record("t.py::red", "failed"), record("t.py::gone")]
    listed = ["t.py::one", "t.py::two", "t.py::bad", "t.py::red", "t.py::never"]
    text = reliability.figures({one["test"]: one for one in records}, listed)
    assert text.startswith("**3 of 5 cases passed, 1 failed, 1 were not run.**")
    assert "| gate | 2 | 200 | 0 | 2 |" in text
    assert "| deaf | 7 | 3.5 % | 4.2 |" in text
    assert "Failed: `t.py::red`" in text
    assert "- never\n" in text
    assert "gone" not in text
