"""Deciding, bringing and looking together; only the connection is left out: the ops host and the hosts are folders of this machine."""

from __future__ import annotations

import json
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.tossable.fleet.plugins.action import feature_flag as action
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_live, flag_publish

DECLARED = """\
flags:
  checkout: {purpose: Buy, owner: shop, kind: release, expires: 2099-01-01, state: off}
  banner: {purpose: Tell, owner: shop, kind: ops, state: on}
"""


class Machine(action.ActionModule):
    """The action on a machine whose flags lie in a folder."""

    def __init__(self, folder: Path, check_mode: bool = False, diff: bool = False) -> None:
        self.folder = folder
        self.reachable = True
        self.before_swap: list[Any] = []
        self.after_swap: list[Any] = []
        self._task = types.SimpleNamespace(check_mode=check_mode, diff=diff)

    def _low_level_execute_command(self, command: str, in_data: bytes | None = None) -> dict[str, Any]:
        if not self.reachable:
            raise AnsibleConnectionFailure("no route")
        if "tell swapped" in command and self.before_swap:
            self.before_swap.pop()()
        command = command.replace(flag_publish.FOLDER, str(self.folder))
        done = subprocess.run(["sh", "-c", command], input=in_data or b"", capture_output=True, check=False)
        if "tell swapped" in command and self.after_swap:
            self.after_swap.pop()()
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    def decide(self, declared: Path, **changes: Any) -> dict[str, Any]:
        return self._decide({**GIVEN, "declared": str(declared), "changes": changes})


GIVEN: dict[str, Any] = {
    "environment": "lab",
    "groups": {},
    "by": "ada",
    "on_behalf_of": "",
    "reason": "to see",
    "until": "",
    "above": 0,
    "what_may": False,
    "follow": True,
    "samples": None,
}


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    folder = tmp_path / "flags"
    folder.mkdir()
    (folder / "shop.yml").write_text(DECLARED)
    return folder


@pytest.fixture
def ops(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "ops")


def test_what_is_decided_is_what_hosts_get(tmp_path: Path, declared: Path, ops: Machine) -> None:
    decided = ops.decide(declared, checkout={"state": "on", "percent": None})
    assert (decided["changed"], decided["generation"], decided["summary"]) == (True, 1, "checkout: on (was off), generation 1")
    host = Machine(tmp_path / "app1")
    got = host._publish({"content": decided["content"]})
    assert (got["reachable"], got["changed"], got["generation"], got["digest"], got["trouble"]) == (True, True, 1, decided["digest"], "")
    assert not host._publish({"content": decided["content"].rstrip("\n")})["changed"]
    assert host._read({})["digest"] == decided["digest"]
    assert not ops.decide(declared)["changed"]


def test_a_line_too_long_for_an_argument_comes_there_as_well(tmp_path: Path) -> None:
    line = json.dumps({"flags": {"x": "y" * 200_000}, "metadata": {"environment": "lab", "generation": 3}}, separators=(",", ":"))
    assert Machine(tmp_path / "app1")._publish({"content": line})["changed"]


def test_somebody_who_was_quicker_is_not_overwritten(tmp_path: Path, declared: Path, ops: Machine) -> None:
    ops.decide(declared)
    other = Machine(ops.folder)
    ops.before_swap = [lambda: other.decide(declared, banner={"state": "off"})]
    decided = ops.decide(declared, checkout={"state": "on"})
    assert decided["generation"] == 3
    shown = {row["flag"]: row["state"] for row in ops._live({**GIVEN, "declared": str(declared)})["flags"]}
    assert shown == {"banner": "off", "checkout": "on"}
    ops.before_swap = [lambda n=n: other.decide(declared, banner={"percent": n}) for n in range(1, 20)]
    assert "others have changed flags 10 times meanwhile" in ops.decide(declared, checkout={"state": "off"})["msg"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chekout": {"state": "on"}}, "Nothing was changed. There is no flag 'chekout'"),
        ({"checkout": {"state": None}}, "How is checkout to be?"),
        ({"": {"percent": "10"}}, "Which flag is to be percent=10?"),
        ({"checkout": {"rule": "plan =="}}, "Nothing was changed. flags/shop.yml:2: checkout: rule: "),
    ],
)
def test_what_cannot_be_meant_changes_nothing(declared: Path, ops: Machine, changes: dict[str, Any], said: str) -> None:
    refused = ops.decide(declared, **changes)
    assert refused["failed"]
    assert said in refused["msg"]
    assert not ops.folder.exists()


def test_check_mode_only_says_and_shows_what_users_would_get(tmp_path: Path, declared: Path, ops: Machine) -> None:
    ops.decide(declared)
    before = (ops.folder / "state.json").read_bytes()
    checked = Machine(ops.folder, check_mode=True, diff=True).decide(declared, checkout={"state": "on"})
    assert (checked["changed"], checked["generation"]) == (True, 2)
    assert "checkout for nobody known: false (off)\n" in checked["diff"]["before"]
    assert "checkout for nobody known: true (on)\n" in checked["diff"]["after"]
    assert (ops.folder / "state.json").read_bytes() == before
    host = Machine(tmp_path / "app1", check_mode=True)
    assert host._publish({"content": checked["content"]})["changed"]
    assert not host.folder.exists()


def test_who_cannot_be_reached_is_a_result(declared: Path, ops: Machine) -> None:
    ops.reachable = False
    assert ops._publish({"content": '{"metadata":{"generation":1}}'}) == {
        "reachable": False,
        "generation": 0,
        "digest": "",
        "trouble": "it cannot be reached: no route",
    }
    assert ops.decide(declared)["msg"] == "Nothing was changed. The ops host cannot be reached: no route"
    assert ops._publish({"content": "{}"})["failed"]


def cut() -> None:
    raise AnsibleConnectionFailure("Connection reset by peer")


def cut_after_somebody_else(other: Machine, declared: Path) -> None:
    other.decide(declared, banner={"state": "off"})
    cut()


def test_a_switch_whose_answer_was_lost_goes_on_as_decided(declared: Path, ops: Machine) -> None:
    ops.after_swap = [cut]
    decided = ops.decide(declared, checkout={"state": "on"})
    assert (decided.get("msg"), decided["changed"], decided["summary"]) == (None, True, "checkout: on (was off), generation 1")
    assert [row["changed"] for row in decided["flags"]] == [True], "the ledger and the channel hear of it"
    assert (ops.folder / "flags.json").read_text() == decided["content"]


def test_a_switch_whose_answer_was_lost_is_not_made_again_where_somebody_has_switched_on_top_of_it(declared: Path, ops: Machine) -> None:
    ops.after_swap = [lambda: cut_after_somebody_else(Machine(ops.folder), declared)]
    decided = ops.decide(declared, checkout={"state": "on"})
    assert (decided["changed"], decided["summary"]) == (True, "checkout: on (was off), generation 1")
    assert json.loads((ops.folder / "state.json").read_text())["generation"] == 2


def test_a_switch_that_was_cut_off_before_it_came_there_has_changed_nothing(declared: Path, ops: Machine) -> None:
    ops.before_swap = [cut]
    refused = ops.decide(declared, checkout={"state": "on"})
    assert refused["msg"] == (
        "Nothing was changed. The ops host cannot be reached: Connection reset by peer. It was read again: what is live is what it was before. "
        "Run the same command again"
    )
    ops.before_swap = [lambda: cut_after_somebody_else(Machine(ops.folder), declared)]
    decided = ops.decide(declared, checkout={"state": "on"})
    assert (decided["changed"], decided["generation"]) == (True, 2), "somebody else was quicker: it is decided again"


def test_a_line_that_was_written_again_is_told_from_one_that_was_not(declared: Path, ops: Machine) -> None:
    ops.decide(declared)
    whole = (ops.folder / "flags.json").read_text()
    for hook in (ops.before_swap, ops.after_swap):
        (ops.folder / "flags.json").write_text("{broken\n")
        hook.append(cut)
        mended = ops.decide(declared)
        assert mended.get("failed", False) == ((ops.folder / "flags.json").read_text() != whole) == (hook is ops.before_swap)


def test_where_nobody_knows_whether_it_was_switched_that_is_said_and_what_to_type(declared: Path, ops: Machine) -> None:
    def gone() -> None:
        ops.reachable = False
        cut()

    ops.after_swap = [gone]
    unknown = ops.decide(declared, checkout={"state": "on"})
    assert unknown["failed"]
    assert "Nothing was changed" not in unknown["msg"]
    assert unknown["msg"] == (
        "It is not known whether anything was changed. The ops host cannot be reached: Connection reset by peer. It could not be read again either: "
        "The ops host cannot be reached: no route. Hosts got nothing yet. playbooks/flags.yml shows what is live; the same command again makes the "
        "switch where it is missing, and brings it to every host"
    )
    ops.reachable = True
    again = ops.decide(declared, checkout={"state": "on"})
    assert (again["changed"], again["summary"]) == (False, "checkout: on already, generation 1")


def test_a_switch_that_fails_after_it_is_live_goes_on_as_decided(declared: Path, ops: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ops.decide(declared)
    fails = flag_live._SWAP.replace("mv -fT .flags.json.next flags.json ||", "false ||")
    assert fails != flag_live._SWAP
    monkeypatch.setattr(flag_live, "_SWAP", fails)
    decided = ops.decide(declared, checkout={"state": "on"})
    assert (decided["changed"], decided["generation"]) == (True, 2)
    assert (ops.folder / "flags.json").read_text() == decided["content"]


def test_a_folder_that_is_missing_takes_no_flag_from_hosts(tmp_path: Path, declared: Path, ops: Machine) -> None:
    never = ops.decide(tmp_path / "None" / "flags")
    assert (never["changed"], json.loads(never["content"])["flags"]) == (True, {}), "an inventory that never had any flag"
    assert ops._live({**GIVEN, "declared": str(tmp_path / "None" / "flags")})["flags"] == []
    ops.decide(declared, checkout={"state": "on"})
    before = (ops.folder / "flags.json").read_bytes()
    (tmp_path / "empty").mkdir()
    wrong = {tmp_path / "None" / "flags": "is no folder", tmp_path / "empty": "holds no file *.yml", declared / "shop.yml": "is no folder"}
    for folder, found in wrong.items():
        refused = ops.decide(folder, banner={"state": "reset"})
        assert refused["failed"]
        assert f"Nothing was changed. The flags are declared in {folder}, which {found}" in refused["msg"]
        assert "while banner, checkout are live: hosts would lose them" in refused["msg"]
        assert "feature_flags_declared" in refused["msg"]
        assert "write a file there with `flags: {}`" in refused["msg"]
        told = ops._live({**GIVEN, "declared": str(folder)})
        assert f"The flags cannot be told. The flags are declared in {folder}, which {found}" in told["msg"]
    assert (ops.folder / "flags.json").read_bytes() == before
    (tmp_path / "empty" / "none.yml").write_text("flags: {}\n")
    assert json.loads(ops.decide(tmp_path / "empty")["content"])["flags"] == {}


def test_the_live_state_is_told_with_what_is_declared(declared: Path, ops: Machine) -> None:
    ops.decide(declared, checkout={"state": "on"})
    live = ops._live({**GIVEN, "declared": str(declared)})
    assert (live["generation"], live["overrides"]["checkout"]["reason"]) == (1, "to see")
    (ops.folder / "state.json").write_text("{")
    assert "state.json is damaged" in ops._live({**GIVEN, "declared": str(declared)})["msg"]


def rollout(do: str, **more: Any) -> dict[str, Any]:
    return {"rollout": {"do": do, "run": "r1", **more}}


def test_a_rollout_is_overtaken_by_whoever_switches_between_its_look_and_its_step(declared: Path, ops: Machine) -> None:
    ops.decide(declared)
    other = Machine(ops.folder)
    assert ops.decide(declared, checkout=rollout("step", step=1, of=2, percent=10, found=None))["summary"] == "checkout: 10 % (was off), generation 2"
    ops.before_swap = [lambda: other.decide(declared, checkout={"state": "off"})]
    lost = ops.decide(declared, checkout=rollout("step", step=2, of=2, percent=100))
    assert lost["failed"]
    assert "Nothing was changed. Checkout was switched by somebody else meanwhile, it is off, by ada" in lost["msg"]
    left = ops.decide(declared, checkout=rollout("back"))
    assert (left["changed"], left["summary"]) == (False, "checkout: off already, generation 3")


def test_what_an_application_has_counted_is_asked_of_its_host(ops: Machine) -> None:
    given = {"addresses": ["http://127.0.0.1:1/metrics"], "requests_metric": "a", "evaluations_metric": "b"}
    asked = ops._count(given)
    assert (asked["reachable"], asked["counted"]) == (True, {})
    assert asked["trouble"].startswith("http://127.0.0.1:1/metrics: ")
    assert "flag_metrics" in ops._count({**given, "addresses": []})["trouble"]
    ops.reachable = False
    assert ops._count(given) == {"reachable": False, "trouble": "it cannot be reached: no route", "counted": {}}
