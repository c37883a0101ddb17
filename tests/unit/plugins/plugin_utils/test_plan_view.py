"""The plan on the terminal: everything that changes, once, and short enough to be read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import plan_view

HOSTS = {f"app{number}": {"from": "1-aa", "to": "2-bb", "changes": True, "wave": number} for number in range(1, 5)}
COMMITS = {
    "from": "a" * 40,
    "to": "b" * 40,
    "added": {"count": 25, "first": [f"{number:07} Change {number}" for number in range(20)]},
    "removed": {"count": 0, "first": []},
    "unknown": None,
}
FILES = {"added": {"count": 12, "first": ["new"] * 10}, "changed": {"count": 1, "first": ["web.py"]}, "removed": {"count": 0, "first": []}}
ESTIMATE = {"seconds": 8.6, "switching": 8.6, "staging": 0, "baking": 0, "fewest": 10, "most": 10, "without_history": []}


def change(**more: Any) -> dict[str, Any]:
    return {"from": "1-aa", "hosts": list(HOSTS), "unknown": None, "commits": COMMITS, "files": FILES, **more}


def plan(**more: Any) -> dict[str, Any]:
    return {
        "id": "plan-1a2b3c4d",
        "confirmed": False,
        "command": "ansible-playbook deploy.yml -e confirm=plan-1a2b3c4d",
        "hosts": HOSTS,
        "changes": [change()],
        "first_on": [],
        "files": 61,
        "fetch": {"bytes": 3 * 2**20, "hosts": list(HOSTS)},
        "configuration": [{"hosts": list(HOSTS), "changes": ["+NEW", "~OTHER", "-GONE"]}],
        "estimate": ESTIMATE,
        "capacity": 2,
        "ordered": "ada@desk, because: the new cart",
        "obstacles": [],
        **more,
    }


def row(label: str, lines: list[str]) -> str:
    (found,) = [line for line in lines if line.startswith(f"{label} ")]
    return found[plan_view.LABEL :]


def test_every_line_has_its_label() -> None:
    lines = plan_view.lines(plan())
    assert row("commits", lines) == "25 new against 1-aa (aaaaaaaaaa..bbbbbbbbbb)"
    assert row("files", lines) == "12 added, 1 changed, 0 removed against 1-aa"
    assert row("to fetch", lines) == "3.0 MiB on every host"
    assert row("environment", lines) == "+NEW ~OTHER -GONE on every host"
    assert row("takes", lines) == "about 9 s (from the last 10 switches of each host)"
    assert row("at a time", lines) == "at most 2 hosts out of service"
    assert row("in the way", lines) == "nothing"
    assert f"{'':{plan_view.LABEL}}~ web.py" in lines
    assert any(line.endswith("new and 2 more") for line in lines)
    assert [line for line in plan_view.lines(plan(), "20261125T100000Z-1a2b3c") if line not in lines] == [
        "run          20261125T100000Z-1a2b3c",
        "by           ada@desk, because: the new cart",
    ]


def test_who_ordered_a_run_and_why_is_one_line() -> None:
    assert plan_view.ordered("ada@desk", "the new\n  cart") == "ada@desk, because: the new cart"
    assert plan_view.ordered("ada@desk", " ") == "ada@desk, no reason given"


def test_a_plan_for_four_hosts_fits_a_screen_also_where_two_releases_are_live() -> None:
    two = plan(changes=[change(hosts=["app1"]), change(**{"from": "0-zz", "hosts": ["app2", "app3", "app4"]})])
    for shown in (plan(), two):
        assert len(plan_view.lines(shown)) + len(plan_view.closing(shown, True)) + len(HOSTS) + 1 <= 40
    lines = plan_view.lines(two)
    assert f"{'':{plan_view.LABEL}}+ and 16 more" in lines
    assert any("against 0-zz on app2, app3, app4" in line for line in lines)


def test_commits_that_go_are_taken_away() -> None:
    back = {**COMMITS, "added": COMMITS["removed"], "removed": {"count": 1, "first": ["1234567 Change"]}}
    lines = plan_view.lines(plan(changes=[change(commits=back)]))
    assert row("commits", lines).startswith("1 taken away against 1-aa")
    assert f"{'':{plan_view.LABEL}}- 1234567 Change" in lines


@pytest.mark.parametrize(
    ("commits", "told"),
    [
        ({**COMMITS, "unknown": "no git checkout at build_source"}, "aaaaaaaaaa..bbbbbbbbbb against 1-aa (no git checkout at build_source)"),
        ({**COMMITS, "to": None, "unknown": "the wanted release names no commit"}, "unknown against 1-aa: the wanted release names no commit"),
        ({**COMMITS, "to": "a" * 40}, "none against 1-aa: both are aaaaaaaaaa"),
        ({**COMMITS, "added": COMMITS["removed"]}, "none that touches build_source against 1-aa (aaaaaaaaaa..bbbbbbbbbb)"),
    ],
)
def test_what_is_not_known_of_commits_is_said(commits: dict[str, Any], told: str) -> None:
    assert row("commits", plan_view.lines(plan(changes=[change(commits=commits)]))) == told


def test_a_release_that_the_store_lost_is_said() -> None:
    gone = change(commits=None, files=None, unknown="1 is no longer in the store")
    lines = plan_view.lines(plan(changes=[gone]))
    assert row("commits", lines) == "unknown against 1-aa: 1 is no longer in the store"
    assert row("files", lines) == "unknown, for the same reason"


def test_a_first_release_is_all_new() -> None:
    lines = plan_view.lines(plan(changes=[], first_on=["app3"], configuration=[], fetch={"bytes": 9, "hosts": []}))
    assert row("files", lines) == "all of 61, the first release on app3"
    assert row("to fetch", lines) == "nothing, every host has it"
    assert not [line for line in lines if line.startswith("environment")]


def test_hosts_that_differ_in_their_variables_have_a_line_each_kind() -> None:
    groups = [{"hosts": ["app1"], "changes": []}, {"hosts": ["app2", "app3", "app4"], "changes": [f"+V{number}" for number in range(14)]}]
    found = [line[plan_view.LABEL :] for line in plan_view.lines(plan(configuration=groups)) if line.startswith("environment")]
    assert found[0] == "nothing changes on app1"
    assert found[1].endswith("+V11 and 2 more on app2, app3, app4")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"fewest": 1, "most": 1}, "about 9 s (from the last switch of each host)"),
        ({"fewest": 2}, "about 9 s (from the last 2 to 10 switches of each host)"),
        (
            {"without_history": ["app4"]},
            "about 9 s (from the last 10 switches of each host; app4: no history yet, counted as the slowest other)",
        ),
        ({"seconds": 98.6, "baking": 90}, "about 99 s, up to 90 s of it baking (from the last 10 switches of each host)"),
        ({"seconds": None}, "no history yet"),
        ({"seconds": None, "baking": 90}, "no history yet; bakes up to 90 s"),
        ({"seconds": 0.0, "fewest": 0, "most": 0}, "nothing to switch"),
        ({"seconds": 0.2}, "about 1 s (from the last 10 switches of each host)"),
    ],
)
def test_the_estimate_says_what_it_is_made_of(more: dict[str, Any], told: str) -> None:
    assert plan_view.duration({**ESTIMATE, **more}) == told


def test_the_end_of_a_plan_that_is_shown_is_what_applies_it() -> None:
    assert plan_view.closing(plan(), True) == ["plan-1a2b3c4d; to apply exactly this:", "  ansible-playbook deploy.yml -e confirm=plan-1a2b3c4d"]
    assert plan_view.closing(plan(), False) == ["plan-1a2b3c4d"]
    assert plan_view.closing(plan(confirmed=True), True) == ["plan-1a2b3c4d, as confirmed"]


def test_a_plan_with_something_in_its_way_cannot_be_confirmed() -> None:
    stuck = plan(obstacles=["a freeze"])
    assert plan_view.closing(stuck, True) == []
    assert row("in the way", plan_view.lines(stuck)) == "1 thing, listed at the end"
    assert plan_view.closing(plan(id=None), True) == []


def test_without_a_version_there_is_what_the_hosts_run() -> None:
    reports: dict[str, dict[str, Any]] = {"app1": {"live": "1-aa"}, "app22": {"reachable": False}, "app3": {"live": None}}
    assert plan_view.unplanned("deploy", "shop", reports) == [
        "deploy shop: no plan yet; what 3 hosts run now:",
        "  app1   1-aa",
        "  app22  unknown",
        "  app3   nothing",
    ]
