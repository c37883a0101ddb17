"""What runs, where, and what may no longer be gone back to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import migrations

ADD = {"id": "0001-add", "phase": "expand", "class": "reversible"}
SPLIT = {"id": "0002-split", "phase": "expand", "class": "forward-only"}
DROP = {"id": "0003-drop", "phase": "contract", "class": "forward-only"}
INDEX = {"id": "0004-index", "phase": "contract", "class": "reversible"}
ALL = [ADD, SPLIT, DROP, INDEX]
AT = "2026-01-02T03:04:05Z"


def event(migration: dict[str, str], name: str = "done", **more: Any) -> dict[str, Any]:
    about = {"at": AT, "by": "ada", "release": "1.1-bb", "host": "app1", "run": "r", "deadline_seconds": 600}
    return {"event": name, **migration, **about, **more}


def seen(*records: dict[str, Any], now: str = "2026-01-03T00:00:00Z") -> dict[str, Any]:
    return {"migrations": {record["id"]: record for record in records}, "now": now}


def report(live: str = "1.1-bb", knows: dict[str, list[dict[str, str]]] | None = None, **more: Any) -> dict[str, Any]:
    known = {live: ALL} if knows is None else knows
    return {"trouble": None, "unfinished": None, "live": live, "staged": list(known), "migrations": known, **more}


def deployment(kind: str = "deploy", listed: Any = ALL, told: Any = None, release: str = "1.1-bb", live: str = "1.0-aa") -> migrations.Plan:
    reports = {"app1": report(live), "app2": report(live)}
    return migrations.deployment(kind, release, listed, seen() if told is None else told, reports, 600, 900)


def test_a_deployment_runs_what_is_not_done_in_order_on_the_first_host_and_leaves_the_rest_to_contract() -> None:
    plan = deployment()
    assert (plan.pending, plan.host, plan.obstacles) == ([ADD, SPLIT], "app1", [])
    assert [line.split()[:2] for line in plan.lines] == [
        ["migrate", "0001-add"],
        ["migrate", "0002-split"],
        ["later", "0003-drop"],
        ["later", "0004-index"],
    ]
    assert "(expand, forward-only) on app1, before the first wave" in plan.lines[1]
    assert deployment(told=seen(event(ADD), event(SPLIT))).told() == {"pending": [], "host": None}


def test_what_failed_was_interrupted_or_was_undone_runs_again_and_says_so() -> None:
    plan = deployment(told=seen(event(ADD, "failed"), event(SPLIT, "begun")))
    assert plan.pending == [ADD, SPLIT]
    assert f"failed at {AT} on app1 and runs again" in plan.lines[0]
    assert "was interrupted" in plan.lines[1]
    assert deployment(told=seen(event(ADD, "undone"), event(SPLIT))).pending == [ADD]


def test_a_rollback_runs_nothing() -> None:
    reports = {"app1": report("1.0-aa", history=["1.1-bb", "1.0-aa"]), "app2": report("1.0-aa")}
    plan = migrations.deployment("rollback", "1.1-bb", ALL, seen(), reports, 600, 900)
    assert (plan.pending, plan.lines, plan.obstacles) == ([], [], [])


@pytest.mark.parametrize("kind", ["rollback", "reconcile"])
def test_only_a_deployment_brings_a_release_that_was_never_live_and_needs_migrations(kind: str) -> None:
    (told,) = deployment(kind).obstacles
    assert "1.1-bb was never live here and needs 0001-add, 0002-split" in told
    assert deployment(kind, told=seen(event(ADD), event(SPLIT))).obstacles == []


def test_a_fleet_without_a_record_refuses_migrations_and_only_those() -> None:
    assert "no host that keeps the record" in deployment(told={}).obstacles[0]
    assert deployment(listed=[], told={}).obstacles == []
    assert deployment("rollback", told={}).obstacles == []
    assert migrations.deployment("deploy", "1.1-bb", ALL, None, {}, 600, 900) == migrations.NOTHING


@pytest.mark.parametrize("kind", ["deploy", "rollback"])
@pytest.mark.parametrize("done", [SPLIT, DROP])
def test_a_release_that_does_not_know_a_forward_only_migration_is_refused_with_when_and_by_whom(kind: str, done: dict[str, str]) -> None:
    (told,) = deployment(kind, listed=[ADD], told=seen(event(ADD), event(done)), release="0.9-zz").obstacles
    for words in ("0.9-zz does not know", done["id"], AT, "by ada", "for 1.1-bb", "Mend forward", f"-e undone={done['id']}"):
        assert words in told


def test_reversible_undone_or_unfinished_migrations_stand_in_no_way() -> None:
    told = seen(event(ADD), event(INDEX), event(SPLIT, "undone"), event(DROP, "failed"))
    assert deployment("rollback", listed=[], told=told, release="0.9-zz").obstacles == []


def test_a_release_that_a_host_still_runs_works_beside_an_expand_migration_but_not_without_what_was_taken_away() -> None:
    assert deployment("rollback", listed=[ADD], told=seen(event(SPLIT)), release="1.0-aa").obstacles == []
    assert len(deployment("rollback", listed=[ADD], told=seen(event(DROP)), release="1.0-aa").obstacles) == 1


def test_a_migration_that_was_cut_short_is_asked_for_where_it_began() -> None:
    assert migrations.runner(["app1", "app2"], seen(event(ADD, "begun", host="app2"))) == ("app2", [])


def test_a_migration_that_may_still_run_elsewhere_is_waited_for() -> None:
    begun = event(ADD, "begun", host="app9")
    host, obstacles = migrations.runner(["app1"], seen(begun, now="2026-01-02T03:14:00Z"))
    assert host == "app1"
    assert "may still run there until 2026-01-02T03:15:15Z" in obstacles[0]
    assert migrations.runner(["app1"], seen(begun, now="2026-01-02T03:15:15Z")) == ("app1", [])
    assert migrations.runner(["app1"], seen(event(ADD, "failed", host="app9"), now=AT)) == ("app1", [])


def test_a_lock_that_is_shorter_than_a_migration_is_refused() -> None:
    plan = migrations.deployment("deploy", "1.1-bb", ALL, seen(), {"app1": report()}, 900, 900)
    assert "release_migration_seconds" in plan.obstacles[0]


DONE = seen(event(ADD), event(SPLIT))


def contraction(reports: dict[str, Any], told: Any = DONE, **more: Any) -> tuple[migrations.Plan, str | None, dict[str, list[str]]]:
    asked: dict[str, Any] = {"version": None, "given_up": [], "limited": False, "seconds": 600, "lease_seconds": 900}
    return migrations.contraction(reports, told, **{**asked, **more})


def test_contract_runs_once_nobody_can_go_back_past_it() -> None:
    plan, release, gone = contraction({"app1": report(), "app2": report()})
    assert (plan.pending, plan.host, plan.obstacles, release) == ([DROP, INDEX], "app1", [], "1.1-bb")
    assert gone == {"app1": [], "app2": []}


def test_contract_names_who_can_go_back_where_and_the_ways_out() -> None:
    old = report(knows={"1.1-bb": ALL, "1.0-aa": [ADD]})
    (told,) = contraction({"app1": report(), "app2": old, "app3": old})[0].obstacles
    assert "do not know 0003-drop, 0004-index: 1.0-aa on app2, app3" in told
    assert "-e give_up=1.0 " in told


def test_what_is_given_up_holds_nothing_up_unless_it_is_live() -> None:
    old = report(knows={"1.1-bb": ALL, "1.0-aa": [ADD]})
    plan, _release, gone = contraction({"app1": report(), "app2": old}, given_up=["1.0"])
    assert plan.obstacles == []
    assert gone == {"app1": [], "app2": ["1.0-aa"]}
    assert "give up 1.0-aa on app2" in plan.lines[-1]
    assert "1.1-bb is live" in contraction({"app1": report()}, given_up=["1.1"])[0].obstacles[0]


@pytest.mark.parametrize(
    ("two", "more", "told"),
    [
        (report("1.0-aa"), {}, "do not all run one release (1.0-aa: app2; 1.1-bb: app1)"),
        (report(trouble="timed out"), {}, "app2 does not say what it can go back to (timed out)"),
        (report(live="", knows={}), {}, "app2 runs no release"),
        (report(unfinished={"transaction": "x-activate"}), {}, "app2 has an unfinished x-activate"),
        (report(), {"version": "2.0"}, "The hosts run 1.1-bb, not 2.0"),
        (report(), {"limited": True}, "Run it without --limit"),
        (report(), {"told": seen(event(ADD))}, "0002-split of 1.1-bb has not run yet"),
        (report(), {"told": {}}, "no host that keeps the record"),
    ],
)
def test_contract_is_refused(two: dict[str, Any], more: dict[str, Any], told: str) -> None:
    plan, _release, _gone = contraction({"app1": report(), "app2": two}, **more)
    assert plan.pending == [] or plan.obstacles
    assert any(told in line for line in plan.obstacles), plan.obstacles


def test_contract_that_has_run_has_nothing_to_do() -> None:
    plan, _release, gone = contraction({"app1": report(knows={"1.1-bb": ALL, "1.0-aa": []})}, seen(*map(event, ALL)), given_up=["1.0"])
    assert (plan.pending, plan.host, plan.obstacles, gone) == ([], None, [], {"app1": []})
    assert "nothing is pending" in plan.lines[0]


def test_the_record_is_shown_with_what_was_interrupted() -> None:
    head, first, second = migrations.table(seen(event(ADD), event(DROP, "begun")))
    assert head.split()[0] == "migration"
    assert first.split() == ["0001-add", "expand", "reversible", "done", AT, "1.1-bb", "app1", "ada"]
    assert second.split()[3] == "interrupted"


def test_undoing_needs_a_reason_and_something_that_is_done() -> None:
    assert "needs a reason" in str(migrations.undo_obstacle(DONE, "0001-add", ""))
    assert "not recorded as done" in str(migrations.undo_obstacle(DONE, "0003-drop", "why"))
    assert migrations.undo_obstacle(DONE, "0001-add", "why") is None
