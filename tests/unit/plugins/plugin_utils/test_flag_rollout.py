"""A rollout in steps: what is planned, where one goes on, what is refused, and what a look makes of it."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_rollout, flag_set, flag_steps
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_live import Live, Order
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_rollout import Wish
from hypothesis import given
from hypothesis import strategies as st

TODAY = date(2026, 11, 25)
ORDER = Order("ada", None, "the new checkout", "2026-11-25T18:00:00Z")
DECLARED = """\
flags:
  checkout: {purpose: Buy, owner: shop, kind: release, expires: 2099-01-01, state: off}
  cart: {purpose: Carry, owner: shop, kind: release, expires: 2099-01-01, state: off}
  reviews: {purpose: Say, owner: shop, kind: release, expires: 2099-01-01, state: off, requires: [cart]}
  colour: {purpose: See, owner: shop, kind: experiment, expires: 2099-01-01, state: red, off: red, on: blue, variants: {red: "#f00", blue: "#00f"}}
  prices: {purpose: Sell, owner: shop, kind: permission, state: {rule: "transaction_volume >= 5"}}
  mine: {purpose: Own, owner: shop, kind: ops, state: off, may_change: [lin]}
  old: {purpose: Gone, owner: shop, kind: release, expires: 2026-11-24, state: off}
"""
HOSTS = ("app1", "app2")


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, flag_set.Flag]:
    (tmp_path / "shop.yml").write_text(DECLARED)
    return flag_set.load(tmp_path)


def counted(on: tuple[int, int] = (0, 0), off: tuple[int, int] = (0, 0), began: float = 1.0) -> dict[str, Any]:
    """What state=counted returns of a host: (errors, requests) of both variants."""
    requests = {"checkout": {"on": on, "off": off}}
    address = {"http://a": {"began": began, "requests": requests, "evaluations": {}, "counts_requests": True, "counts_evaluations": True}}
    return {"trouble": "", "counted": address}


SILENT = {"trouble": "http://a: refused", "counted": {}}
WATCHED = (
    "Each is watched for 10 s, or until there is a verdict: variant on against variant off, by the errors that applications count on 2 of 2 hosts."
)
COUNTED = {host: counted(off=(0, 1000)) for host in HOSTS}


def override(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"state": state, "by": "lin", "at": "2026-11-25T15:00:00Z", "reason": "earlier", "until": None, "on_behalf_of": None, **more}


def planned(flags: Any, hosts: Any = COUNTED, overrides: Any = None, flag: str = "checkout", **wish: Any) -> dict[str, Any]:
    live = Live("lab", 7, overrides or {}, {}, "d" * 64)
    asked = Wish(flag, **{"steps": "10,50,100", "bake_seconds": 10, "look_seconds": 2, **wish})
    return flag_rollout.plan(flags, live, asked, ORDER, {}, TODAY, "r1", hosts, 0.0)


@given(st.lists(st.integers(1, 100), min_size=1, unique=True).map(sorted))
def test_steps_that_rise_are_taken_as_typed_or_listed(steps: list[int]) -> None:
    assert flag_rollout.percents(",".join(str(step) for step in steps)) == steps
    assert flag_rollout.percents(steps) == steps


@pytest.mark.parametrize("typed", ["", "0,10", "10,10", "50,10", "10,101", "ten", "10,,50", "-1", "nan", "10,inf", [], [True, "x"], None])
def test_steps_that_are_no_way_up_are_refused(typed: Any) -> None:
    with pytest.raises(flag_set.FlagError, match="is no way up"):
        flag_rollout.percents(typed)


def test_the_plan_says_each_step_and_what_it_would_go_back_to(flags: Any) -> None:
    plan = planned(flags)
    assert plan["lines"] == [
        "checkout is off, as declared.",
        "- step 1 of 3, 10 %",
        "- step 2 of 3, 50 %",
        "- step 3 of 3, on",
        f"{WATCHED} Where that is inconclusive it goes on.",
        "On harm it goes back by itself to what was live before: off, as declared.",
    ]
    assert [step["alone"] for step in plan["steps"]] == [False, False, True]
    assert [step["reason"] for step in plan["steps"]] == [f"step {number} of 3: the new checkout" for number in (1, 2, 3)]
    assert plan["steps"][0]["changes"]["checkout"]["rollout"]["found"] is None
    assert "found" not in plan["steps"][1]["changes"]["checkout"]["rollout"]
    assert (plan["bake_looks"], plan["dozens"]) == (5, [[0, 1, 2, 3, 4]])
    waits = planned(flags, on_inconclusive="wait", wait_seconds=20)
    assert (waits["bake_looks"], waits["dozens"]) == (5, [list(range(12)), [12, 13, 14]])


def left(plan: dict[str, Any]) -> list[int]:
    return [step["number"] for step in plan["steps"]]


def test_one_that_was_ended_in_the_middle_goes_on_where_it_was(flags: Any) -> None:
    note = {"run": "r0", "step": 2, "of": 3, "before": override({"percent": 3})}
    plan = planned(flags, overrides={"checkout": override({"percent": 50}, rollout=note)})
    assert left(plan) == [2, 3]
    assert "A rollout is under way, step 2 of 3 (run r0): this one goes on from there." in plan["lines"]
    assert plan["before"] == "3 %, by lin at 2026-11-25T15:00:00Z (earlier)"
    assert left(planned(flags, overrides={"checkout": override({"to": "on"}, rollout=note)})) == [3]


def test_a_share_that_somebody_has_given_is_not_made_smaller(flags: Any) -> None:
    assert left(planned(flags, overrides={"checkout": override({"percent": 20})})) == [2, 3]
    assert left(planned(flags, overrides={"checkout": override({"to": "off"})})) == [1, 2, 3]
    done = planned(flags, overrides={"checkout": override({"to": "on"})})
    assert (done["steps"], done["lines"]) == ([], ["checkout is on, by lin at 2026-11-25T15:00:00Z (earlier): nothing is left to be rolled out."])


def test_a_flag_that_needs_another_one_is_compared_as_long_as_somebody_has_it_off(flags: Any) -> None:
    plan = planned(flags, flag="reviews", overrides={"cart": override({"percent": 50})})
    assert [step["alone"] for step in plan["steps"]] == [False, False, False]
    assert planned(flags, flag="reviews", overrides={"cart": override({"to": "on"})})["steps"][2]["alone"]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"flag": "chekout"}, "there is no flag 'chekout'"),
        ({"flag": "colour"}, "colour has not two variants, true and false"),
        ({"flag": "prices"}, "prices is of kind permission"),
        ({"flag": "prices"}, "prices is by a rule now"),
        ({"flag": "reviews"}, "reviews requires cart, and as that is now nobody would get reviews"),
        ({"flag": "mine"}, "'ada' may not change mine"),
        ({"flag": "old"}, "old expired on 2026-11-24"),
        ({"steps": "5,1"}, "-e steps=5,1 is no way up"),
        ({"steps": "5,8", "overrides": {"checkout": override({"percent": 20})}}, "checkout is at 20 % already, above every step (5, 8)"),
        ({"bake_seconds": 0}, "-e bake_seconds=0 has to be 1 or more"),
        ({"look_seconds": 0}, "-e rollout_look_seconds=0 has to be 1 or more"),
        ({"hosts": {"app1": SILENT}}, "nothing could be judged. Say where by flag_metrics"),
        ({"hosts": {"app1": SILENT}}, "- app1: http://a: refused"),
        ({"hosts": {"app1": {"trouble": "", "counted": {"http://a": {"counts_requests": False}}}}}, "has no such counter"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused_in_words(flags: Any, wish: dict[str, Any], said: str) -> None:
    with pytest.raises(flag_set.FlagError) as error:
        planned(flags, **wish)
    assert said in str(error.value)


def watched(plan: dict[str, Any], figures: list[dict[str, Any]], step: int = 0, now: dict[str, Any] | None = None, lost: str = "") -> dict[str, Any]:
    """Where a rollout stands once these were counted at a step, one look each, as far as there has to be one."""
    now = now or dict(plan["now"])
    for look, hosts in enumerate(figures):
        if now["goes_on"] and now["passed"] < plan["steps"][step]["number"]:
            now = flag_rollout.judged(plan, now, plan["steps"][step], look, hosts, lost, now["readings"][-1]["at"] + 2)
    return now


def course(on: float, looks: int = 5, errors: float = 0.0, requests: int = 200) -> list[dict[str, Any]]:
    """Hosts that count steadily: a share of requests has the on variant, of which a share fails."""
    per = [int(requests * on) * look for look in range(1, looks + 1)]
    return [{host: counted((int(new * errors), new), (0, 1000 + requests * look - new)) for host in HOSTS} for look, new in enumerate(per, 1)]


def test_harm_takes_the_flag_back_early_and_names_the_measure_and_both_sides(flags: Any) -> None:
    plan = planned(flags, bake_seconds=100)
    now = watched(plan, course(0.1, looks=50, errors=0.5))
    assert (now["goes_on"], now["verdict"], now["changes"]) == (False, "fail", {"checkout": flag_steps.back("r1")})
    assert len(now["readings"]) < 5
    assert "checkout, step 1 of 3, 10 %: fail: errors 50 % of " in now["line"]
    assert "against 0 % of 360 (variant off), tolerated +0.2 points, evidence " in now["line"]
    well, said = flag_rollout.ended(plan, now, "checkout: off (was 10 %), generation 9", "")
    assert not well
    assert said == f"checkout was taken back to what was live before (off, as declared). {now['line']}"
    assert flag_rollout.ended(plan, now, "", "1 of 2 hosts did not get the flags")[1].splitlines()[0] == "1 of 2 hosts did not get the flags"


def test_a_step_without_harm_passes_when_its_time_is_over_or_harm_is_excluded(flags: Any) -> None:
    plan = planned(flags)
    now = watched(plan, course(0.5, requests=40))
    assert (now["goes_on"], now["passed"], now["verdict"], len(now["readings"])) == (True, 1, "pass", 6)
    assert "checkout, step 1 of 3, 10 %: pass: no sign of harm; errors 0 % of 200 against 0 % of 200 (variant off)" in now["line"]
    early = watched(planned(flags, bake_seconds=600), course(0.5, looks=300, requests=2000))
    assert (early["passed"], len(early["readings"]) < 20) == (1, True)
    assert "pass: harm is excluded" in early["line"]
    assert flag_rollout.ended(plan, now, "checkout: on, generation 9", "") == (
        True,
        f"checkout is rolled out. checkout: on, generation 9. {now['line']}",
    )
    assert not flag_rollout.ended(plan, now, "checkout: on, generation 9", "1 of 2 hosts did not get the flags")[0]


def test_too_little_traffic_is_no_pass_and_what_follows_is_what_the_inventory_says(flags: Any) -> None:
    few = course(0.1, looks=9, requests=30)
    for policy, looks, goes_on, passed in (("proceed", 5, True, 1), ("stop", 5, False, 0), ("wait", 7, False, 0)):
        now = watched(planned(flags, on_inconclusive=policy, wait_seconds=4), few)
        assert (len(now["readings"]) - 1, now["goes_on"], now["passed"], now["verdict"]) == (looks, goes_on, passed, "inconclusive")
        assert f"{6 * looks} requests since this step began, 100 needed on each side" in now["line"]
    nobody = watched(planned(flags, on_inconclusive="stop"), [COUNTED] * 5)
    assert "inconclusive: no requests on the new side" in nobody["line"]


def test_the_last_step_is_compared_with_what_the_off_variant_did_before(flags: Any) -> None:
    plan = planned(flags, steps="100")
    for errors, verdict in ((0.0, "pass"), (0.2, "fail")):
        now = watched(plan, [{host: counted((int(n * errors), n), (0, 1000)) for host in HOSTS} for n in (100, 200, 300, 400, 500)])
        assert now["verdict"] == verdict
        assert "of 2000 (baseline)" in now["line"]


def test_the_next_step_needs_requests_of_its_own(flags: Any) -> None:
    plan = planned(flags, on_inconclusive="stop")
    first = watched(plan, course(0.5))
    second = watched(plan, [course(0.5)[len(first["readings"]) - 2]] * 5, step=1, now=first)
    assert (second["goes_on"], second["verdict"]) == (False, "inconclusive")
    assert second["line"].startswith("checkout, step 2 of 3, 50 %: inconclusive: 0 requests since this step began")


def test_what_somebody_else_has_switched_ends_the_rollout(flags: Any) -> None:
    lost = flag_steps.lost("checkout", "off", override({"to": "off"}, reason="nobody can pay"))
    now = watched(planned(flags), course(0.5), lost=lost)
    assert (now["goes_on"], now["verdict"], now["step"]) == (False, "lost", 1)
    assert flag_rollout.ended(planned(flags), now, "", "") == (False, lost)
    assert "it is off, by lin at 2026-11-25T15:00:00Z (nobody can pay)" in lost


def test_a_host_that_was_silent_is_named_and_counts_when_it_speaks_again(flags: Any) -> None:
    looks = course(0.5, requests=40)
    looks[1]["app2"] = SILENT
    now = watched(planned(flags, bake_seconds=4), looks[:2])
    assert "no answer from app2: http://a: refused" in now["line"]
    assert "errors 0 % of 200 against 0 % of 200" in watched(planned(flags), looks)["line"]


def test_an_application_that_was_started_anew_counts_from_zero(flags: Any) -> None:
    looks = course(0.5, requests=40)
    looks[4]["app1"] = counted((0, 120), (0, 2000), began=2.0)
    assert "errors 0 % of 300 against 0 % of 2180" in watched(planned(flags), looks)["line"]


def test_readings_out_of_order_are_refused() -> None:
    reading = {"at": 2.0, "step": 1, "alone": False, "counted": {}}
    with pytest.raises(ValueError, match="not in the order of time"):
        flag_rollout.looks([reading, {**reading, "at": 1.0}], "on", "off")


def test_a_good_flag_is_hardly_ever_taken_back(flags: Any) -> None:
    rng, stopped = random.Random(1), 0
    plan = planned(flags, bake_seconds=30)
    for _ in range(100):
        on, off, looks = [0, 0], [0, 1000], []
        for _look in range(15):
            for side, number in ((on, 20), (off, 180)):
                side[0] += sum(rng.random() < 0.01 for _request in range(number))
                side[1] += number
            looks.append({"app1": counted((on[0], on[1]), (off[0], off[1]))})
        stopped += not watched(plan, looks)["goes_on"]
    assert stopped <= 3
