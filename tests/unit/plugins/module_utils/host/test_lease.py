"""The lock's decisions: one holder at a time, a token that only grows, and a lease that the clock's whims neither end nor prolong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import lease
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.lease import EMPTY, Decision, Now, Owner, Record
from hypothesis import given
from hypothesis import strategies as st

START = 1_800_000_000.0


def at(seconds: float, boot: str = "boot-1", wall: float | None = None) -> Now:
    """So many seconds after the start; the machine was up for a day by then."""
    return Now(START + (seconds if wall is None else wall), boot, 86_400.0 + seconds)


def who(run: str, **more: Any) -> Owner:
    told: dict[str, Any] = {
        "by": "ada",
        "reason": "to see",
        "what": "deploy 1.4.2",
        "account": "ops",
        "controller": "ci7",
        "boot": "boot-c",
        "namespace": "pid:[1]",
        "pid": 100,
        "started": 1000,
    }
    return Owner(run, **{**told, **more})


def taken(run: str = "a", now: Now | None = None, record: Record = EMPTY, **more: Any) -> Record:
    decision = lease.acquire(record, who(run, **more), 900, None, now or at(0))
    assert decision.held
    return decision.record


def test_a_free_lock_is_given_with_a_greater_token() -> None:
    first = taken("a")
    freed = lease.free(first, "a", first.token).record
    assert (first.token, freed.token, freed.lease) == (1, 1, None)
    assert taken("b", record=freed).token == 2


def test_a_held_lock_is_refused_and_says_who_has_it() -> None:
    decision = lease.acquire(taken("a"), who("b", by="bob"), 900, None, at(899))
    assert not decision.held
    assert decision.record.lease is not None
    assert (decision.record.lease.owner.by, decision.record.lease.until) == ("ada", lease.iso(START + 900))


def test_a_run_that_has_the_lock_gets_it_again_as_when_an_answer_was_lost() -> None:
    decision = lease.acquire(taken("a"), who("a"), 900, None, at(10))
    assert (decision.held, decision.record.token, decision.event) == (True, 1, None)


def test_a_lease_that_ran_out_is_taken_over_and_that_is_recorded() -> None:
    decision = lease.acquire(taken("a"), who("b", by="bob"), 900, None, at(900))
    assert (decision.held, decision.record.token) == (True, 2)
    assert decision.event is not None
    assert (decision.event["event"], decision.event["by"], decision.event["from"]["run"]) == ("taken over", "bob", "a")
    assert "its lease had run out" in decision.said


@pytest.mark.parametrize(
    ("other", "token", "held"),
    [
        ({}, 1, True),
        ({}, None, False),
        ({}, 2, False),
        ({"account": "eve"}, 1, False),
        ({"controller": "ci8"}, 1, False),
        ({"boot": "boot-d"}, 1, False),
        ({"namespace": "pid:[2]"}, 1, False),
    ],
)
def test_a_dead_holder_is_taken_over_by_the_same_account_on_the_same_controller_only(other: dict[str, Any], token: int | None, held: bool) -> None:
    decision = lease.acquire(taken("a"), who("b", pid=200, **other), 900, token, at(1))
    assert (decision.held, decision.record.token) == (held, 2 if held else 1)


def test_controllers_that_cannot_tell_their_boot_are_never_the_same_place() -> None:
    assert not lease.same_place(who("a", boot=""), who("b", boot=""))


def test_a_renewal_prolongs_the_lease_and_keeps_the_token() -> None:
    decision = lease.renew(taken("a"), "a", 1, 0, at(800))
    assert (decision.held, decision.record.token, decision.event) == (True, 1, None)
    assert decision.record.lease is not None
    assert not lease.expired(decision.record.lease, at(1699))
    assert decision.record.lease.since == lease.iso(START)


@pytest.mark.parametrize(
    ("record", "now", "said"),
    [
        (EMPTY, at(1), ""),
        (taken("a"), at(900), "was not renewed in time"),
        (taken("b", at(900), taken("a")), at(901), ""),
        (lease.break_(taken("a"), "bob", "why not", at(1)).record, at(2), ""),
        (taken("a", record=Record(6, None, None)), at(1), ""),
    ],
)
def test_a_renewal_after_the_loss_is_refused_and_changes_nothing(record: Record, now: Now, said: str) -> None:
    decision = lease.renew(record, "a", 1, 0, now)
    assert not decision.held
    assert decision.record == record
    assert said in decision.said


def test_a_token_that_hosts_have_outrun_is_raised_above_theirs() -> None:
    decision = lease.renew(taken("a"), "a", 1, 57, at(1))
    assert (decision.held, decision.record.token) == (True, 58)
    assert decision.event is not None
    assert "57" in decision.event["reason"]
    assert lease.renew(decision.record, "a", 58, 57, at(2)).record.token == 58


def test_only_the_holder_frees() -> None:
    record = taken("b", at(900), taken("a"))
    assert lease.free(record, "a", 1).record == record
    assert lease.free(record, "b", 1).record == record
    assert lease.free(record, "b", 2).record.lease is None


def test_a_break_needs_a_reason_and_is_recorded() -> None:
    with pytest.raises(HostError, match=r"Say it with -e .reason="):
        lease.break_(taken("a"), "bob", " ", at(1))
    decision = lease.break_(taken("a"), "bob", "laptop gone", at(1))
    assert (decision.record.token, decision.record.lease) == (2, None)
    assert decision.event is not None
    assert decision.event == decision.record.last
    assert (decision.event["by"], decision.event["reason"], decision.event["from"]["by"]) == ("bob", "laptop gone", "ada")


def test_there_is_nothing_to_break_where_the_lock_is_free() -> None:
    decision = lease.break_(EMPTY, "bob", "to be sure", at(1))
    assert (decision.record, decision.event) == (EMPTY, None)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_neither_ends_nor_prolongs_a_lease(hours: int) -> None:
    held = taken("a").lease
    assert held is not None
    assert not lease.expired(held, at(899, wall=899 + hours * 3600))
    assert lease.expired(held, at(900, wall=900 + hours * 3600))


def test_after_a_reboot_the_wall_clock_counts_but_never_longer_than_the_lease() -> None:
    held = taken("a").lease
    assert held is not None
    assert not lease.expired(held, Now(START + 60, "boot-2", 20.0))
    assert lease.expired(held, Now(START + 900, "boot-2", 20.0))
    assert lease.expired(held, Now(START - 3600, "boot-2", 900.0))


def test_a_record_survives_json() -> None:
    for record in (EMPTY, taken("a"), taken("b", at(900), taken("a")), lease.break_(taken("a"), "bob", "x", at(1)).record):
        assert lease.from_data(json.loads(json.dumps(lease.to_data(record)))) == record


RUNS = ("a", "b", "c")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "take over", "renew", "free", "break"]),
        st.sampled_from(RUNS),
        st.integers(0, 1000),
        st.integers(-7200, 7200),
        st.integers(0, 6),
    ),
    max_size=40,
)


def one(step: str, record: Record, run: str, token: int, above: int, now: Now) -> Decision:
    """One operation by a run that believes it has ``token``."""
    if step in ("acquire", "take over"):
        return lease.acquire(record, who(run), 900, record.token if step == "take over" else None, now)
    if step == "renew":
        return lease.renew(record, run, token, above, now)
    return lease.free(record, run, token) if step == "free" else lease.break_(record, run, "because", now)


@given(STEPS)
def test_whatever_happens_there_is_one_holder_and_the_token_never_goes_down(steps: list[tuple[str, str, int, int, int]]) -> None:
    """A run believes what it was told last; of all that believe they hold the lock only the one with the newest token can act."""
    record, elapsed = EMPTY, 0
    believed: dict[str, int] = {}
    granted: set[tuple[int, str]] = set()
    for step, run, pause, skew, above in steps:
        elapsed += pause
        now = at(elapsed, wall=elapsed + skew)
        decision = one(step, record, run, believed.get(run, 0), above, now)
        after = decision.record
        assert after.token >= record.token
        if after.lease is not None and (record.lease is None or after.lease.owner.run != record.lease.owner.run):
            assert after.token > record.token, "an acquisition without a new token"
        if step == "break" and record.lease is not None:
            assert after.token > record.token
        if decision.held:
            assert after.lease is not None
            assert after.lease.owner.run == run
            assert not lease.expired(after.lease, now)
            believed[run] = after.token
            granted.add((after.token, run))
        else:
            assert after.lease is None or after.lease == record.lease
        record = after
        holders = [name for name, token in believed.items() if token == record.token and record.lease and record.lease.owner.run == name]
        assert len(holders) <= 1
    tokens = [token for token, _run in granted]
    assert len(tokens) == len(set(tokens)), "one token, two runs"
