"""The plan names everything that stands in its way, and goes where the hosts agree to go."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host.desired import Desired
from ansible_collections.tossable.fleet.plugins.plugin_utils import planning

TARGET = planning.Target("2", "2-bb", "bb", 100)


def report(**more: Any) -> dict[str, Any]:
    return {"reachable": True, "trouble": None, "live": "1-aa", "release": "1-aa", "previous": None, "staged": ["1-aa"], "free_bytes": 10**12, **more}


def test_what_a_host_runs_and_can_go_back_to_is_in_use() -> None:
    three = report(live="3-cc", previous="2-bb", history=["1-aa", "2-bb", "3-cc"])
    assert planning.in_use([three, report(live="0.9-rc1-ee", history=["0.9-rc1-ee"])], "4-dd") == ["0.9-rc1", "2", "3", "4"]
    # After a rollback to 2 the next one goes to 1.
    assert planning.in_use([three], "2-bb") == ["1", "2", "3"]
    assert planning.in_use([{"reachable": False, "trouble": "off"}, report(live=None)], "4-dd") == ["4"]


def test_a_dead_host_is_named_with_ways_out() -> None:
    (line,) = planning.host_obstacles("app2", {"reachable": False, "trouble": "timed out"})
    assert line.startswith("app2 is down: timed out")
    assert "--limit '!app2'" in line


@pytest.mark.parametrize(
    "unasked",
    [
        {"reachable": True, "trouble": "No space left on device"},
        {"failed": True, "msg": "No space left on device"},
    ],
)
def test_a_host_that_answers_and_cannot_be_asked_is_neither_dead_nor_to_be_tossed(unasked: dict[str, Any]) -> None:
    assert planning.host_obstacles("app2", unasked) == ["app2: No space left on device. Or leave it out with --limit '!app2'."]
    assert planning.dead_hosts({"app2": unasked}) == {}
    assert planning.dead_hosts({"app2": {"unreachable": True, "msg": "timed out"}}) == {"app2": "timed out"}


def test_a_full_disk_is_named_with_both_figures() -> None:
    (line,) = planning.space_obstacles("app1", report(free_bytes=10 * 2**20), TARGET)
    assert "10 MiB free" in line


def test_a_release_that_is_staged_needs_no_room() -> None:
    assert planning.space_obstacles("app1", report(free_bytes=0, staged=["2-bb"]), TARGET) == []


def test_a_balancer_that_passes_a_ready_host_by_stands_in_the_way() -> None:
    balancer = {"backends": {"shop": {"app1": {"status": "UP"}, "app2": {"status": "DOWN"}}}}
    (line,) = planning.balancer_obstacles("lb1", balancer, "shop", ["app1", "app2"])
    assert "app2 (it says: DOWN)" in line


def test_a_balancer_without_the_backend_names_those_it_has() -> None:
    (line,) = planning.balancer_obstacles("lb1", {"backends": {"blog": {"app1": {}}}}, "shop", [])
    assert "it has: blog" in line


def test_a_balancer_that_is_down_is_named_with_how_to_go_on_without_it() -> None:
    seen: dict[str, Any] = {"lb1": {"backends": {}}, "lb2": {"trouble": "It is down."}, "lb3": {"trouble": "Too.\nits unit says"}}
    (line,) = planning.balancer_obstacles("lb2", seen["lb2"], "shop", [], seen)
    assert line == """Load balancer lb2: It is down. Mend it. Or, where no client reaches it, leave it out with -e '{"release_balancers": ["lb1"]}'"""
    (line,) = planning.balancer_obstacles("lb3", seen["lb3"], "shop", [], seen)
    assert line.splitlines()[2].startswith("  Mend it. Or")
    (line,) = planning.balancer_obstacles("lb2", seen["lb2"], "shop", [], {"lb2": seen["lb2"]})
    assert line.endswith("It is down. Mend it.")


def test_a_release_that_any_host_saw_fail_is_refused_with_the_last_reason() -> None:
    bad = {"app1": "2026-01-01T00:00:00Z", "app2": "2026-01-02T00:00:00Z"}
    reports = {host: report(bad={"2-bb": {"at": at, "error": f"{host} was slow"}}) for host, at in bad.items()}
    (line,) = planning.bad_obstacles({**reports, "app3": report()}, TARGET)
    assert "taken back on app1, app2, last on app2 at 2026-01-02T00:00:00Z (app2 was slow)" in line
    assert "force='why'" in line


def test_a_release_that_no_host_saw_fail_is_not_refused() -> None:
    assert planning.bad_obstacles({"app1": report(bad={"1-aa": {}}), "app2": report()}, TARGET) == []


def test_in_service_is_what_the_poorest_balancer_says_of_the_whole_fleet() -> None:
    def seen(*words: str) -> dict[str, Any]:
        return {"backends": {"shop": {f"app{number}": {"status": word} for number, word in enumerate(words)}}}

    some = {"app0": report(balancer_word="ready"), "app1": report(balancer_word="maint")}
    assert planning.in_service(some, [seen("UP", "UP 1/2", "MAINT"), seen("UP", "DOWN", "DOWN")], "shop") == (3, 1)
    assert planning.in_service(some, [], "shop") == (2, 1)


def test_a_machine_made_anew_follows_its_fleet_back() -> None:
    assert planning.previous_release({"app1": report(previous="0-zz"), "app2": report()}) == "0-zz"


def test_hosts_that_disagree_are_listed() -> None:
    with pytest.raises(ValueError, match="0-yy: app2; 0-zz: app1"):
        planning.previous_release({"app1": report(previous="0-zz"), "app2": report(previous="0-yy")})


def test_a_deployment_that_was_cut_short_is_taken_back_to_what_the_rest_still_runs() -> None:
    switched, waiting = report(live="2-bb", previous="1-aa", run="2026"), report(live="1-aa", previous="0-zz", run="2025")
    assert planning.previous_release({"app1": switched, "app2": waiting, "app3": report(live=None)}) == "1-aa"


def test_a_rollback_that_was_cut_short_goes_on_to_where_it_was_going() -> None:
    back, waiting = report(live="1-aa", previous="0-zz", run="2026"), report(live="2-bb", previous="1-aa", run="2025")
    assert planning.previous_release({"app1": back, "app2": waiting}) == "1-aa"


def test_it_is_the_newest_run_that_is_taken_back_where_both_releases_were_live_before() -> None:
    switched, waiting = report(live="2-bb", previous="1-aa", run="2026"), report(live="1-aa", previous="2-bb", run="2025")
    assert planning.previous_release({"app1": switched, "app2": waiting}) == "1-aa"
    assert planning.previous_release({"app1": {**switched, "run": "2024"}, "app2": waiting}) == "2-bb"


def test_a_fleet_with_one_release_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="has run only one"):
        planning.previous_release({"app1": report()})


def test_a_rollback_that_was_cut_short_is_continued_not_begun_again() -> None:
    """All have arrived, and only the report is missing: the release before the one that is live now is not the goal."""
    arrived = {host: report(live="1-aa", previous="0-zz", run="dead") for host in ("app1", "app2")}
    assert planning.previous_release(arrived) == "0-zz"
    assert planning.previous_release(arrived, ["killed too", "dead"]) == "1-aa"
    assert planning.previous_release(arrived, ["another"]) == "0-zz"


def test_the_plan_tells_who_moves_in_which_wave() -> None:
    reports = {"app1": report(), "app2": report(live=None, release=None), "app3": report(live="2-bb", release="2-bb")}
    plan = planning.moves(reports, TARGET)
    lines = planning.summary("deploy", "shop", TARGET, plan, [1, 2])
    assert lines[0] == "deploy shop 2 (2-bb) on 3 hosts in 2 waves"
    assert lines[1].split() == ["wave", "1", "app1", "1-aa", "->", "2-bb"]
    assert lines[2].split() == ["wave", "2", "app2", "nothing", "->", "2-bb"]
    assert lines[3].endswith("2-bb (already there)")


def brought(**more: Any) -> dict[str, Any]:
    """What a host reports that run-1 has brought the target."""
    return report(**{"live": "2-bb", "release": "2-bb", "previous": "1-aa", "came_from": "1-aa", "run": "run-1", **more})


@pytest.mark.parametrize(
    ("first", "unfinished", "origin"),
    [
        (report(), [], "1-aa"),
        (brought(), [], "2-bb"),
        (brought(), ["run-2"], "2-bb"),
        (brought(), ["run-1"], "1-aa"),
        (brought(), ["run-2", "run-1"], "1-aa"),
        (brought(previous=None, came_from=None), ["run-1"], None),
        (brought(previous=None, came_from=None), [], "2-bb"),
        (brought(came_from="2-bb"), ["run-1"], "2-bb"),  # only the configuration was new
        (brought(came_from="3-cc"), ["run-1"], "2-bb"),  # it was gone back to
        (report(live=None, release=None, previous=None), ["run-1"], None),
    ],
)
def test_a_host_that_a_dead_deployment_has_switched_goes_back_to_what_it_ran_before(
    first: dict[str, Any], unfinished: list[str], origin: str | None
) -> None:
    """Where the deployment that goes on fails: the canary of the dead one must not stay on a release that the gate has stopped."""
    reports = {"app1": first, "app2": report()}
    assert planning.moves(reports, TARGET, unfinished=unfinished)["app1"]["origin"] == origin
    assert planning.moves(reports, TARGET, "rollback", unfinished)["app1"]["origin"] == first["live"]


@pytest.mark.parametrize(
    ("behind", "signed", "origin"),
    [
        (report(fence={"token": 7, "run": "run-1"}), 6, "1-aa"),
        (report(fence={"token": 7, "run": "run-1"}), 7, "2-bb"),  # run-1 was finished without a host that had died
        (report(fence={"token": 5, "run": "run-0"}), 4, "2-bb"),  # dead all along, or left out by --limit
        (report(fence={"token": 8, "run": "run-2"}), 6, "2-bb"),
        (report(live="0-cc", fence={"token": 7, "run": "run-1"}), 6, "2-bb"),
    ],
)
def test_hosts_that_a_finished_run_has_switched_stay_where_a_host_was_left_behind(behind: dict[str, Any], signed: int, origin: str) -> None:
    """Only a run that has left a host which it was about on the release before, and after which nothing was signed, was cut short."""
    reports = {"app1": brought(), "app2": brought(), "app3": behind}
    assert [move["origin"] for move in planning.moves(reports, TARGET, signed=lambda: signed).values()] == [origin, origin, behind["live"]]


def test_where_all_hosts_had_been_switched_by_the_dead_deployment_all_go_back() -> None:
    moves = planning.moves({"app1": brought(), "app2": brought()}, TARGET, unfinished=["run-1"], signed=lambda: pytest.fail("nobody asks the store"))
    assert {move["origin"] for move in moves.values()} == {"1-aa"}


def test_another_wanted_configuration_is_something_to_do_for_a_deployment_alone() -> None:
    reports = {"app1": report(live="2-bb", release="2-bb", configuration={"live": "c", "wanted": "d"})}
    assert planning.moves(reports, TARGET)["app1"]["changes"]
    assert not planning.moves(reports, TARGET, "rollback")["app1"]["changes"]


def test_a_plan_with_gaps_shows_where_they_are() -> None:
    moves = planning.moves({"app1": report(), "app22": {"reachable": False}}, TARGET)
    lines = planning.summary("deploy", "shop", TARGET, moves, [], migrations=["migrations   0007 (reversible)"], unknown=["app22"])
    assert lines == [
        "deploy shop 2 (2-bb) on 2 hosts in ? waves",
        "  wave ?  app1   1-aa -> 2-bb",
        "  wave ?  app22  unknown -> 2-bb",
        "migrations   0007 (reversible)",
    ]


def test_the_newest_token_is_that_of_another_run() -> None:
    reports = {"a": {"fence": {"token": 0, "run": ""}}, "b": {"fence": {"token": 7, "run": "x"}}, "c": {"fence": {"token": 9, "run": "me"}}}
    assert planning.newest_token(reports, "me") == 7
    assert planning.newest_token({"c": reports["c"]}, "me") == 0


def test_a_host_that_nobody_reaches_is_dead_and_one_in_trouble_is_not() -> None:
    reports = {"app1": report(), "app2": {"reachable": False, "trouble": "no route"}, "app3": report(trouble="never provisioned")}
    assert planning.dead_hosts(reports) == {"app2": "no route"}
    assert planning.skipped({"app2": "no route\nat all"}) == ["  left out app2         no route"]


@pytest.mark.parametrize(
    ("dead", "budget", "hosts", "told"),
    [
        (0, 0, 4, None),
        (1, 1, 4, None),
        (1, 0, 4, "-e rollout_failure_budget=1"),
        (2, 1, 4, "2 of 4 hosts cannot be reached"),
        (4, 4, 4, "No host"),
        (0, 0, 0, None),
    ],
)
def test_as_many_hosts_may_be_dead_as_the_budget_says_but_not_all(dead: int, budget: int, hosts: int, told: str | None) -> None:
    lines = planning.budget_obstacles([f"app{number}" for number in range(dead)], budget, hosts)
    assert [told in line for line in lines] == ([True] if told else []) if told else lines == []


def test_a_host_that_nobody_reaches_is_not_in_service_whatever_the_balancer_says() -> None:
    seen = {"backends": {"shop": {f"app{number}": {"status": "UP"} for number in range(4)}}}
    reports = {f"app{number}": report(balancer_word="ready") for number in range(3)}
    assert planning.in_service(reports, [seen], "shop", {"app3": "dead"}) == (4, 3)
    assert planning.in_service(reports, [], "shop", {"app3": "dead"}) == (4, 3)


def wish(release: str, token: int) -> Desired:
    return Desired("shop", "lab", "deploy", release, release.rpartition("-")[0], "", "", "run", token, "")


LIVES = {"app1": report(live="2-bb"), "app2": report(live="2-bb"), "app3": report(live="1-aa"), "app4": report(live=None)}


@pytest.mark.parametrize(
    ("desired", "newest", "version"),
    [(None, 9, "2"), (wish("1-aa", 9), 9, "1"), (wish("3-cc", 9), 8, "3"), (wish("2-bb", 7), 9, "2")],
)
def test_the_goal_is_what_was_signed_or_else_what_most_hosts_run(desired: Desired | None, newest: int, version: str) -> None:
    assert planning.reconcile_goal(LIVES, desired, newest) == version


def test_what_was_signed_before_a_newer_run_and_most_do_not_run_is_for_a_person_to_decide() -> None:
    with pytest.raises(ValueError, match=r"says 1-aa .*left 2-bb on 2, 1-aa on 1.*-e version="):
        planning.reconcile_goal(LIVES, wish("1-aa", 8), 9)


@pytest.mark.parametrize(("lives", "common"), [([], None), ([None, None], None), (["b", None, "a", "b"], "b"), (["b", "a"], "b")])
def test_the_common_release_is_the_one_that_most_hosts_run(lives: list[str | None], common: str | None) -> None:
    assert planning.common_release({f"app{number}": {"live": live} for number, live in enumerate(lives)}) == common


def test_a_fleet_that_is_split_evenly_and_signed_nothing_has_no_goal() -> None:
    even = {"app1": report(live="2-bb"), "app2": report(live="1-aa")}
    with pytest.raises(ValueError, match="no release that most hosts run"):
        planning.reconcile_goal(even, None, 0)
    with pytest.raises(ValueError, match="nothing on any"):
        planning.reconcile_goal({"app1": report(live=None)}, None, 0)


def test_a_run_that_changes_only_hosts_out_of_service_takes_none_out_of_it() -> None:
    reports = {"app1": report(balancer_word="ready", live="2-bb", release="2-bb"), "app2": report(balancer_word="maint", live=None)}
    assert planning.out_of_service_only(reports, planning.moves(reports, TARGET))
    reports["app1"]["live"] = "1-aa"
    assert not planning.out_of_service_only(reports, planning.moves(reports, TARGET))
