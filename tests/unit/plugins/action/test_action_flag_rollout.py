"""What the tasks of a rollout hand on to each other: plan, looks, end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.action import flag_rollout as action

DECLARED = "flags:\n  checkout: {purpose: Buy, owner: shop, kind: release, expires: 2099-01-01, state: off}\n"
LIVE: dict[str, Any] = {"generation": 1, "digest": "d" * 64, "overrides": {}}
DEFAULTS = {name: option.get("default") for name, option in action._SPEC["argument_spec"].items()}


def counted(on: int, off: int) -> dict[str, Any]:
    found = {"began": 1.0, "requests": {"checkout": {"on": (0, on), "off": (0, off)}}, "counts_requests": True, "counts_evaluations": True}
    return {"app1": {"trouble": "", "counted": {"http://a": found}}}


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "shop.yml").write_text(DECLARED)
    wish = {"flag": "checkout", "environment": "lab", "declared": str(tmp_path), "live": LIVE, "counted": counted(0, 500), "by": "ada"}
    return action._plan({**DEFAULTS, **wish, "steps": "50", "bake_seconds": 5})


def judged(plan: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    given = {**DEFAULTS, "plan": plan, "now": plan["now"], "step": plan["steps"][0], "live": live, "counted": counted(200, 700)}
    now: dict[str, Any] = action._judge(given)["now"]
    return now


def test_a_rollout_goes_from_plan_to_end(plan: dict[str, Any]) -> None:
    assert [step["said"] for step in plan["steps"]] == ["step 1 of 1, 50 %"]
    mine = {"overrides": {"checkout": {"rollout": {"run": plan["run"]}}}}
    now = judged(plan, mine)
    assert (now["verdict"], now["passed"]) == ("pass", 1)
    ended = action._end({"plan": plan, "now": now, "summary": "checkout: 50 %, generation 3", "missed": ""})
    assert (ended["failed"], ended["msg"].startswith("checkout is rolled out. checkout: 50 %, generation 3. ")) == (False, True)


def test_a_flag_that_somebody_has_reset_is_lost_and_an_ops_host_that_is_silent_says_nothing(plan: dict[str, Any]) -> None:
    now = judged(plan, {"overrides": {}})
    assert (now["verdict"], now["goes_on"]) == ("lost", False)
    assert "it is off, as declared: the rollout ends and leaves it so" in now["line"]
    assert judged(plan, {"failed": True, "msg": "The flags cannot be told."})["verdict"] == "pass"


def test_which_flag_has_to_be_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Say it with -e flag=NAME"):
        action._plan({**DEFAULTS, "environment": "lab", "declared": str(tmp_path), "live": LIVE, "counted": {}})
