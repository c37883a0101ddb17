"""Check mode foresees what the program would do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import release_request

SAME, OTHER = {"live": "c", "wanted": "c"}, {"live": "c", "wanted": "d"}
REPORT = {"live": "2-b", "previous": "1-a", "staged": ["1-a", "2-b"], "balancer_word": "ready", "configuration": SAME}


def given(state: str, **more: Any) -> dict[str, Any]:
    blank = {"release": None, "version": None, "digest": None, "url": None, "run": "r", "by": "b", "reason": "", "blame": True, "lock": None}
    blank["configuration"] = "wanted"
    return {"state": state, **blank, **more}


@pytest.mark.parametrize(
    ("request_", "changed", "after"),
    [
        (given("staged", version="3", digest="c" * 64), True, "2-b"),
        (given("active", release="2-b"), False, "2-b"),
        (given("active", release="1-a"), True, "1-a"),
        (given("rolled_back"), True, "1-a"),
        (given("rolled_back", release="2-b"), False, "2-b"),
        (given("retired"), True, None),
        (given("restarted"), True, "2-b"),
        (given("drained"), True, "2-b"),
        (given("ready"), False, "2-b"),
        (given("pruned"), False, "2-b"),
        (given("given_up", release="1-a"), True, "2-b"),
        (given("given_up", release="0-z"), False, "2-b"),
    ],
)
def test_foreseen(request_: dict[str, Any], changed: bool, after: str | None) -> None:
    answer = release_request.foresee(request_, REPORT)
    assert (answer["changed"], answer["release"]) == (changed, after)


def test_another_wanted_configuration_is_a_change_for_a_deployment_and_not_for_a_rollback() -> None:
    report = {**REPORT, "configuration": OTHER}
    assert release_request.foresee(given("active", release="2-b"), report)["changed"] is True
    assert release_request.foresee(given("rolled_back", release="2-b"), report)["changed"] is False
    assert not release_request.reconfigures({"configuration": {"live": None, "wanted": None}}), "the host was provisioned before they were kept"


def test_a_restart_says_which_configuration() -> None:
    assert release_request.build(given("restarted", configuration="kept")).given["configuration"] == "kept"


def test_a_host_without_a_port_has_no_balancer_to_leave() -> None:
    assert release_request.foresee(given("drained"), {**REPORT, "balancer_word": None})["changed"] is False


@pytest.mark.parametrize("state", release_request.SPEC["argument_spec"]["state"]["choices"])
def test_every_state_has_a_call(state: str) -> None:
    call = release_request.build(given(state, release="1-a", version="1", digest="a" * 64, url="http://store"))
    assert call.verb
    assert call.own_unit == (state not in ("staged", "pruned", "given_up"))


@pytest.mark.parametrize("state", ["staged", "active", "rolled_back", "restarted", "retired", "given_up"])
def test_the_fencing_token_goes_along(state: str) -> None:
    asked = given(state, release="1-a", version="1", digest="a" * 64, url="http://store")
    assert "token" not in release_request.build(asked).given
    assert release_request.build({**asked, "lock": {"token": 7, "held": True}}).given["token"] == 7


def test_the_difference_is_the_live_release() -> None:
    assert release_request.diff({"previous": None, "release": "1-a"}) == {"before": "", "after": "release: 1-a\n"}
