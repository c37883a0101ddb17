"""What a status says of the release that hosts which boot come to run; that a signature is proved is shown with release_plan and on a fleet."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.action import desired_info as action
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import desired_store

SIGNED = {"release": "1.0.0-aa", "at": "2026-11-25T10:15:40Z", "run": "run-1"}


def reports(*lives: str | None) -> dict[str, dict[str, Any]]:
    return {f"app{number}": {"live": live} for number, live in enumerate(lives, 1)}


@pytest.mark.parametrize(
    ("desired", "lives", "said"),
    [
        (SIGNED, ["1.0.0-aa", "1.0.0-aa", "1.1.0-bb"], "hosts that boot come to run 1.0.0-aa, signed 2026-11-25T10:15:40Z by run run-1"),
        (SIGNED, [], "hosts that boot come to run 1.0.0-aa, signed 2026-11-25T10:15:40Z by run run-1"),
        (SIGNED, ["1.0.0-aa", "1.1.0-bb", "1.1.0-bb"], ", BUT most hosts run 1.1.0-bb: a deployment of the whole fleet"),
        (None, ["1.0.0-aa"], "hosts that boot keep what they run: no release was signed for them"),
    ],
)
def test_it_is_told_and_whether_most_hosts_run_it(desired: dict[str, str] | None, lives: list[str | None], said: str) -> None:
    (line,) = desired_store.lines({"desired": desired, "trouble": None}, reports(*lives))
    assert said in line
    assert ("BUT" in line) == ("BUT" in said)


def test_of_a_fleet_that_runs_nothing_there_is_nothing_to_say_and_of_trouble_there_is() -> None:
    assert desired_store.lines({"desired": None, "trouble": None}, reports(None)) == []
    assert desired_store.lines({"desired": None, "trouble": "It is\nforged."}, reports("1")) == ["hosts that boot keep what they run: It is forged."]


def test_a_store_that_does_not_answer_is_told_and_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match=r"does not answer \(http://127\.0\.0\.1:9/shop/desired-lab\.signed: .*Look at nginx"):
        desired_store.read("http://127.0.0.1:9", "shop", "lab", [])
    asked = {"app": "shop", "environment": "lab", "store_url": "http://127.0.0.1:9", "desired_signers": []}
    monkeypatch.setattr(action.ActionModule, "validate_argument_spec", lambda _self, argument_spec: (None, asked))
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda _self, _tmp, _vars: {})
    told = action.ActionModule.run(action.ActionModule.__new__(action.ActionModule))
    assert (told["desired"], told["changed"]) == (None, False)
    assert "does not answer" in told["trouble"]
