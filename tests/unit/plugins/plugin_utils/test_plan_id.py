"""A plan's name follows from all that decides what happens and from nothing else; what is confirmed is what was shown."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import plan_id
from hypothesis import given
from hypothesis import strategies as st

WHAT = {"app": "shop", "kind": "deploy", "environment": "lab", "version": "2", "release": "2-bb", "digest": "bb"}
MOVES = {host: {"from": "1-aa", "to": "2-bb", "changes": True} for host in ("app1", "app2", "app3")}
REPORTS: dict[str, dict[str, Any]] = {host: {"configuration": {"live": "c1", "wanted": "c2", "changes": ["+NEW", "~OTHER"]}} for host in MOVES}


def decides() -> dict[str, Any]:
    return plan_id.decides(WHAT, plan_id.place(MOVES, [1, 2]), REPORTS, [1, 2], 1, ["0007_add_column"])


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of the data that is not a dict or a list with something in it."""
    if isinstance(data, dict) and data:
        return [leaf for key, value in data.items() for leaf in leaves(value, (*path, key))]
    if isinstance(data, list) and data:
        return [leaf for at, value in enumerate(data) for leaf in leaves(value, (*path, at))]
    return [path]


def changed(data: Any, path: tuple[Any, ...], to: Any) -> Any:
    found = copy.deepcopy(data)
    part = found
    for step in path[:-1]:
        part = part[step]
    assert part[path[-1]] != to
    part[path[-1]] = to
    return found


def shuffled(data: Any, order: Callable[[list[Any]], list[Any]]) -> Any:
    if isinstance(data, dict):
        return {key: shuffled(data[key], order) for key in order(list(data))}
    return [shuffled(value, order) for value in data] if isinstance(data, list) else data


def test_a_name_looks_like_one() -> None:
    assert re.fullmatch(r"plan-[0-9a-f]{8}", plan_id.name(decides()))


@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(random: Any) -> None:
    other = shuffled(decides(), lambda keys: random.sample(keys, len(keys)))
    assert plan_id.name(other) == plan_id.name(decides())


@given(st.sampled_from(leaves(decides())), st.one_of(st.text(min_size=1), st.integers(min_value=1000), st.none()))
def test_every_single_thing_that_decides_matters(path: tuple[Any, ...], to: Any) -> None:
    part: Any = decides()
    for step in path:
        part = part[step]
    if part != to:
        assert plan_id.name(changed(decides(), path, to)) != plan_id.name(decides())


@given(st.dictionaries(st.sampled_from(["run", "token", "by", "reason", "since", "free_bytes", "switch_seconds", "fence"]), st.text(), min_size=1))
def test_who_and_when_and_how_long_do_not_matter(more: dict[str, str]) -> None:
    reports = {host: {**report, **more} for host, report in REPORTS.items()}
    other = plan_id.decides({**WHAT, **more}, plan_id.place(MOVES, [1, 2]), reports, [1, 2], 1, ["0007_add_column"])
    assert plan_id.name(other) == plan_id.name(decides())


@given(st.permutations(list(MOVES)))
def test_which_host_is_in_which_wave_matters_and_their_order_within_it_does_not(order: list[str]) -> None:
    placed = plan_id.place({host: MOVES[host] for host in order}, [1, 2])
    same = plan_id.name(plan_id.decides(WHAT, placed, REPORTS, [1, 2], 1, ["0007_add_column"])) == plan_id.name(decides())
    assert same == (order[0] == "app1")


def test_a_host_without_a_configuration_has_a_plan_too() -> None:
    bare = plan_id.decides(WHAT, plan_id.place(MOVES, [1, 2]), {host: {} for host in MOVES}, [1, 2], 1)
    assert plan_id.name(bare) != plan_id.name(decides())


def test_what_the_next_deployment_would_configure_does_not_decide_a_rollback() -> None:
    def back(live: str, wanted: str) -> str:
        reports = {host: {"configuration": {"live": live, "wanted": wanted, "changes": ["~" + wanted]}} for host in MOVES}
        return plan_id.name(plan_id.decides({**WHAT, "kind": "rollback"}, plan_id.place(MOVES, [1, 2]), reports, [1, 2], 1))

    assert back("c1", "c2") == back("c1", "c3")
    assert back("c1", "c2") != back("c4", "c2")


def test_hosts_that_no_wave_reaches_have_none() -> None:
    assert [move["wave"] for move in plan_id.place(MOVES, [1]).values()] == [1, None, None]


def test_nothing_was_confirmed_and_nothing_is_in_the_way() -> None:
    assert plan_id.confirm_obstacles("", "plan-1a2b3c4d", "") == []
    assert plan_id.confirm_obstacles("plan-1a2b3c4d", "plan-1a2b3c4d", "") == []


def test_another_plan_is_told_with_both_names_and_the_command() -> None:
    (line,) = plan_id.confirm_obstacles("plan-00000000", "plan-1a2b3c4d", "ansible-playbook x.yml")
    assert line.startswith(
        "This is plan-1a2b3c4d, not plan-00000000: the fleet, the artifact or the variables have changed since plan-00000000 was shown."
    )
    assert line.endswith("to apply it: ansible-playbook x.yml")


@pytest.mark.parametrize("word", ["yes", "1a2b3c4d", "plan-1A2B3C4D", "plan-1a2b3c4", "plan-1a2b3c4d\n", "plan-1a2b3c4d5"])
def test_what_names_no_plan_is_told_apart(word: str) -> None:
    (line,) = plan_id.confirm_obstacles(word, "plan-1a2b3c4d", "")
    assert "names no plan: expected a name such as plan-1a2b3c4d" in line
    assert plan_id.confirm_obstacles(word, None, "") == [line]


def test_a_plan_that_is_not_whole_is_not_compared() -> None:
    assert plan_id.confirm_obstacles("plan-00000000", None, "") == []


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("deploy.yml --check --diff -e version=1.1.0", "deploy.yml -e version=1.1.0 -e confirm=plan-1"),
        ("-i inventories/production playbooks/rollback.yml -CD", "-i inventories/production playbooks/rollback.yml -e confirm=plan-1"),
        ("deploy.yml -vCD -e version=2 -l 'app*:!app3'", "deploy.yml -v -e version=2 -l 'app*:!app3' -e confirm=plan-1"),
        ("deploy.yml -Ce version=2", "deploy.yml -e version=2 -e confirm=plan-1"),
        ("deploy.yml -eversion=2 --extra-vars=app=blog", "deploy.yml -e version=2 -e app=blog -e confirm=plan-1"),
        ("deploy.yml -e version=2 -e confirm=plan-0", "deploy.yml -e version=2 -e confirm=plan-1"),
        (
            'deploy.yml --limit app1 -e \'{"rollout_waves": [1, "100%"]}\'',
            'deploy.yml --limit app1 -e \'{"rollout_waves": [1, "100%"]}\' -e confirm=plan-1',
        ),
        ("deploy.yml -e version=2 -e db_password=hunter2 -e @keys.yml", "deploy.yml -e version=2 -e ... -e @keys.yml -e confirm=plan-1"),
        ('deploy.yml -e \'{"announce": [{"to": "slack://a/b/hunter2"}]}\'', "deploy.yml -e ... -e confirm=plan-1"),
        ("deploy.yml -e x=ircs://robot:hunter2@irc.example -e reason=announce", "deploy.yml -e ... -e reason=announce -e confirm=plan-1"),
        ("deploy.yml --tags stage -e \"reason='it is time'\"", "deploy.yml --tags stage -e \"reason='it is time'\" -e confirm=plan-1"),
        ("deploy.yml -e 'reason=it'\\''s $5'", "deploy.yml -e 'reason=it'\"'\"'s $5' -e confirm=plan-1"),
    ],
)
def test_the_command_is_the_one_that_showed_the_plan_with_the_confirmation(typed: str, told: str) -> None:
    command = plan_id.command(["/opt/venv/bin/ansible-playbook", *shlex.split(typed)], "plan-1")
    assert command == f"ansible-playbook {told}"
    assert shlex.split(command)[-2:] == ["-e", "confirm=plan-1"]


@pytest.mark.parametrize("argv", [[], ["/usr/bin/ansible-runner", "worker"]])
def test_where_the_command_is_not_known_it_is_described(argv: list[str]) -> None:
    assert plan_id.command(argv, "plan-1") == "the same command without --check, and with -e confirm=plan-1"
