"""Waves add up to the fleet, or say what is wrong."""

from __future__ import annotations

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import waves
from hypothesis import given
from hypothesis import strategies as st

WAVE = st.one_of(st.integers(1, 30), st.integers(1, 100).map(lambda share: f"{share}%"))


@pytest.mark.parametrize(
    ("words", "hosts", "sizes"),
    [
        ([1, "25%", "100%"], 4, [1, 1, 2]),
        ([1, "25%", "100%"], 20, [1, 5, 14]),
        ([1, "25%", "100%"], 1, [1]),
        (["50%", "100%"], 3, [1, 2]),
        (["5", "100%"], 10, [5, 5]),
        ([2, 2], 3, [2, 1]),
    ],
)
def test_sizes(words: list[int | str], hosts: int, sizes: list[int]) -> None:
    assert waves.sizes(words, hosts) == sizes


@given(st.lists(WAVE), st.integers(1, 200))
def test_every_host_is_in_exactly_one_wave(words: list[int | str], hosts: int) -> None:
    assert sum(waves.sizes([*words, "100%"], hosts)) == hosts


@pytest.mark.parametrize(
    ("kept", "hosts", "serving", "capacity"),
    [
        ("50%", 4, 4, 2),
        ("50%", 3, 3, 2),
        ("50%", 1, 1, 1),
        (3, 4, 4, 1),
        ("0", 4, 4, 4),
        (0, 1, 1, 1),
        ("75%", 10, 10, 3),
        ("50%", 4, 3, 1),
        (9, 4, 0, 4),
    ],
)
def test_capacity(kept: int | str, hosts: int, serving: int, capacity: int) -> None:
    assert waves.capacity(kept, hosts, serving) == capacity


@pytest.mark.parametrize(("kept", "serving"), [(4, 4), ("100%", 4), (5, 4), ("50%", 2), (-1, 4), ("half", 4), (True, 4), (None, 4), ("101%", 4)])
def test_a_capacity_that_lets_nobody_switch_is_refused(kept: object, serving: int) -> None:
    with pytest.raises(ValueError, match="rollout_min_healthy"):
        waves.capacity(kept, 4, serving)  # type: ignore[arg-type]  # what an inventory may hold


@given(st.lists(st.integers(1, 40)), st.integers(1, 10))
def test_a_split_wave_keeps_every_host_and_never_exceeds_the_capacity(sizes: list[int], most: int) -> None:
    smaller = waves.split(sizes, most)
    assert sum(smaller) == sum(sizes)
    assert all(1 <= size <= most for size in smaller)
    assert smaller == sizes or max(sizes) > most


@pytest.mark.parametrize("words", [[1, "25%"], [1]])
def test_a_list_that_leaves_hosts_out_is_refused(words: list[int | str]) -> None:
    with pytest.raises(ValueError, match="End the list with '100%'"):
        waves.sizes(words, 4)


@pytest.mark.parametrize("words", [[], "100%", [0], [True], ["0%"], ["101%"], ["half"], [-1]])
def test_what_is_no_wave_is_refused_by_name(words: object) -> None:
    with pytest.raises(ValueError, match="rollout_waves"):
        waves.sizes(words, 4)  # type: ignore[arg-type]  # what an inventory may hold


@pytest.mark.parametrize(
    ("words", "hosts", "budget"), [(0, 4, 0), (1, 4, 1), ("2", 4, 2), ("10%", 4, 0), ("10%", 25, 2), ("100%", 3, 3), ("0%", 9, 0)]
)
def test_failure_budget(words: int | str, hosts: int, budget: int) -> None:
    assert waves.failure_budget(words, hosts) == budget


@pytest.mark.parametrize("words", [-1, "few", None, True, "101%", [], 0.5])
def test_what_is_no_budget_is_refused_by_name(words: object) -> None:
    with pytest.raises(ValueError, match="rollout_failure_budget"):
        waves.failure_budget(words, 4)  # type: ignore[arg-type]  # what an inventory may hold


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.lists(WAVE))
def test_absent_hosts_lie_between_the_waves_and_change_none(here: list[bool], words: list[int | str]) -> None:
    hosts = [f"app{number}" for number in range(len(here))]
    absent = {host for host, present in zip(hosts, here, strict=True) if not present}
    sizes = waves.sizes([*words, "100%"], len(hosts) - len(absent))
    cut, start = [], 0
    for size in waves.spread(sizes, hosts, absent):
        cut.append(hosts[start : start + size])
        start += size
    assert start == len(hosts)
    assert [sum(host not in absent for host in wave) for wave in cut] == (sizes or [0])
