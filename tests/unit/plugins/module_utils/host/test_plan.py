"""What the program decides: mend, roll back, prune, drift."""

from __future__ import annotations

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import plan
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.journal import STEPS, Flight, HostState, fold
from hypothesis import given
from hypothesis import strategies as st


def state(*history: str, staged: tuple[str, ...] | None = None, bad: str = "", flight: Flight | None = None) -> HostState:
    return HostState(history, history if staged is None else staged, {release: {} for release in bad}, flight, None)


@pytest.mark.parametrize("step", STEPS)
def test_only_a_release_that_proved_healthy_is_kept_when_a_transaction_was_cut_short(step: str) -> None:
    mend = plan.mend(Flight("run", step, "2", "1", "new", "old"))
    assert mend == (plan.Mend(True, "2", "new") if step == "ready" else plan.Mend(False, "1", "old"))


@pytest.mark.parametrize("step", ["revert", "ready"])
def test_the_way_back_is_never_turned_round(step: str) -> None:
    assert plan.mend(Flight("run", step, "2", "1", "new", "old", reverting=True)) == plan.Mend(False, "1", "old")


def test_a_first_release_that_was_cut_short_goes_back_to_nothing() -> None:
    assert plan.mend(Flight("run", "switch", "1", None)) == plan.Mend(False, None)


def test_a_rollback_goes_to_the_last_good_release() -> None:
    assert plan.rollback_target(state("1", "2"), None) == "1"


def test_a_rollback_with_nowhere_to_go_says_what_to_do() -> None:
    with pytest.raises(HostError, match=r"deploy\.yml -e version="):
        plan.rollback_target(state("1"), None)


def test_a_rollback_to_a_release_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(HostError, match="there are: 1, 2"):
        plan.rollback_target(state("1", "2"), "3")


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1), st.sets(st.sampled_from("abcdefgh")), st.integers(1, 6))
def test_the_live_and_the_last_good_release_are_never_pruned(history: list[str], bad: set[str], keep: int) -> None:
    lived = state(*history, staged=tuple(dict.fromkeys(history)), bad="".join(bad))
    gone = plan.to_prune(lived, keep)
    assert lived.live not in gone
    assert lived.previous not in gone
    assert len(lived.staged) - len(gone) >= min(keep, len(lived.staged))


def test_bad_releases_go_first_then_the_oldest() -> None:
    assert plan.to_prune(state("1", "2", "3", "4", staged=("1", "2", "x", "3", "4"), bad="x"), 3) == ["x", "1"]


def test_what_waits_to_be_deployed_is_not_pruned_ahead_of_what_was_live_before() -> None:
    records: list[dict[str, object]] = [{"kind": "stage", "step": "done", "release": release} for release in "abcd"]
    records += [{"kind": "activate", "step": "done", "release": release} for release in "bca"]
    records.append({"kind": "stage", "step": "done", "release": "e"})
    lived = fold(records)
    assert [plan.to_prune(lived, keep) for keep in (5, 4, 3, 1)] == [[], ["d"], ["d", "b"], ["d", "b", "e"]]


def test_drift_is_told_in_words() -> None:
    found = plan.drift(state("1"), "0", ["a"], ["web is failed"])
    assert found == ["current points to 0, the journal says 1", "1 files differ from the manifest, first a", "web is failed"]


def test_a_host_as_recorded_has_no_drift() -> None:
    assert plan.drift(state("1"), "1", [], []) == []
    assert plan.configuration_drift("a", "a") == []
    assert plan.configuration_drift(None, "a") == [], "the journal is from before configurations were kept"
