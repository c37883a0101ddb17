# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports made of events, without Ansible: outcome, counts, what is left out, and which files go."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml
from ansible_collections.tossable.fleet.plugins.plugin_utils import run_report, watching
from ansible_collections.tossable.fleet.plugins.plugin_utils.run_report import Report
from ansible_collections.tossable.fleet.plugins.plugin_utils.watching import Ended, ended

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "report.schema.json").read_text()))
NOTHING = dict.fromkeys(("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored"), 0)


def report(*tasks: Ended, counts: dict[str, dict[str, int]] | None = None, check: bool = False, complete: bool = True) -> Report:
    """A run of one play that these tasks ended in."""
    made = Report("deploy.yml", "2026-11-25T10:00:00.123Z", watching.options({"check": check}, {"version": "1.4.2"}))
    made.play("Roll", 1.0)
    made.plays[-1].tasks += tasks
    if complete:
        made.end({host: {**NOTHING, **found} for host, found in (counts or {}).items()}, 5.0)
    else:
        made.stop(5.0)
    return made


def told(made: Report) -> dict[str, Any]:
    """The report as data that its schema allows."""
    found = run_report.as_data(made)
    SCHEMA.validate(found)
    return found


def fleet(action: str, **result: Any) -> Ended:
    return ended("app1", action, f"tossable.fleet.{action}", "ok", 1.0, result)


PLAN = {"run": "20261125T100000Z-1f", "kind": "deploy"}


@pytest.mark.parametrize(
    ("tasks", "failed", "check", "outcome"),
    [
        ([], 0, False, "ok"),
        ([], 1, False, "failed"),
        ([fleet("release_plan", **PLAN)], 0, False, "deployed"),
        ([fleet("release_plan", **PLAN)], 0, True, "ok"),
        ([fleet("release_plan", **PLAN)], 1, False, "failed"),
        ([fleet("release_plan", **{**PLAN, "kind": "rollback"})], 0, False, "rolled_back"),
        ([fleet("ledger", record={"event": "ended", "outcome": "rolled_back", "cause": "gate", "run": "r1"})], 1, False, "rolled_back"),
        ([fleet("release_plan", **PLAN), fleet("ledger", record={"event": "started", "run": "r1"})], 0, False, "deployed"),
    ],
)
def test_how_a_run_ended(tasks: list[Ended], failed: int, check: bool, outcome: str) -> None:
    assert told(report(*tasks, counts={"app1": {"failed": failed}}, check=check))["outcome"] == outcome


def test_the_ledger_and_the_report_tell_the_same_run_outcome_and_cause() -> None:
    record = {"event": "ended", "outcome": "failed", "cause": "app2: not healthy", "run": "r1", "kind": "deploy"}
    # As the role asks for it: a loop over the hosts that keep a ledger, of which one may not have answered.
    ledgers = fleet("ledger", results=[{"failed": True}, {"record": record}])
    found = told(report(fleet("deployment_lock", lock={"run": "r1", "token": 4}), ledgers, counts={"app1": {"failed": 1}}))
    assert (found["run"], found["outcome"], found["cause"]) == ("r1", "failed", "app2: not healthy")


@pytest.mark.parametrize(
    ("task", "run"),
    [
        (fleet("ledger", results=[{"record": {"event": "noted", "kind": "unlock", "run": "r7"}}]), "r7"),
        (fleet("feature_flag", changed=True, run="r7"), "r7"),
        (fleet("feature_flag", changed=False, run="r7"), None),
        (fleet("feature_flag", changed=True, generation=3), None),
    ],
)
def test_what_is_noted_has_its_run_in_the_report_as_in_ledger_and_chat(task: Ended, run: str | None) -> None:
    assert told(report(task, counts={"app1": {}}))["run"] == run


def test_the_note_of_a_toss_has_the_run_of_its_lock() -> None:
    plays = yaml.safe_load((ROOT / "playbooks" / "toss.yml").read_text())
    (note,) = [task for play in plays for task in play.get("tasks", ()) if "release_note_kind" in task.get("vars", {})]
    assert note["vars"]["release_note_run"] == "{{ release_lock.lock.run | default('') }}"


def test_what_could_not_be_sent_or_recorded_is_in_the_report() -> None:
    gone = "ledger on ops1: the end of run r1 could not be recorded"
    lost = {"recorded": False, "said": [gone], "record": {"event": "ended", "run": "r1"}}
    caught_up = {"recorded": True, "said": ["ledger on ops2: brought up to date"], "record": {"event": "ended", "run": "r1"}}
    late = "not sent to the chat, the service did not answer within 30 s: deployed"
    made = report(
        fleet("announce", unsent=[late]),
        fleet("announce", unsent=[late, "Not announced: No space left on device (/x). The run goes on."]),
        fleet("ledger", results=[lost, caught_up]),
        fleet("artifact_in_use", results=[{"said": []}, {"said": ["What is in use is not noted in /srv"]}]),
        counts={"app1": {}},
    )
    found = told(made)
    assert found["unsent"] == [late, "Not announced: No space left on device (/x). The run goes on."]
    assert found["unrecorded"] == [gone, "What is in use is not noted in /srv"]
    assert found["run"] == "r1"
    assert (told(report(counts={"app1": {}}))["unsent"], told(report(counts={"app1": {}}))["unrecorded"]) == ([], [])


def test_a_run_that_was_cut_short_is_told_as_interrupted_with_what_was_seen() -> None:
    made = report(ended("app1", "Switch", "x.y.z", "changed", 2.0, {}), complete=False)
    found = told(made)
    assert found["outcome"] == "interrupted"
    assert found["hosts"]["app1"] == {**NOTHING, "seconds": 2.0, "ok": 1, "changed": 1}
    assert ET.fromstring(run_report.as_junit(made)).attrib["errors"] == "1"


def test_what_no_log_hides_is_in_no_report() -> None:
    hidden = {"censored": "the output has been hidden", "msg": "s3cr3t", "evidence": ["s3cr3t"], "lock": {"run": "s3cr3t"}}
    loop = {"msg": "One or more items failed", "results": [{"failed": True, **hidden}, {"failed": True, "item": "b", "msg": "plain"}]}
    made = report(
        ended("app1", "Alone", "ansible.builtin.debug", "failed", 1.0, hidden),
        ended("app1", "Lock", "tossable.fleet.deployment_lock", "ok", 1.0, hidden),
        ended("app1", "Loop", "ansible.builtin.fail", "failed", 1.0, loop),
        counts={"app1": {"failed": 2}},
    )
    text = json.dumps(told(made)) + run_report.as_junit(made).decode()
    assert "s3cr3t" not in text
    assert [one["message"] for one in told(made)["failed"]] == [watching.HIDDEN, f"{watching.HIDDEN}\nb: plain"]


def test_of_extra_variables_only_harmless_ones_have_values() -> None:
    given = {"check": True, "diff": False, "subset": "app1", "tags": ["all"], "skip_tags": (), "vault_password_files": ["x"]}
    assert watching.options(given, {"version": "1.4.2", "token": "s3cr3t", "reason": {"no": "text"}}) == {
        "check": True,
        "limit": "app1",
        "extra_vars": ["reason", "token", "version"],
        "values": {"version": "1.4.2"},
    }


def test_a_path_is_told_from_the_current_folder_where_it_is_in_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told_as = [watching.place(path) for path in (f"{tmp_path}/a/b.yml:3", "/elsewhere/b.yml:3", "")]
    assert told_as == ["a/b.yml:3", "/elsewhere/b.yml:3", ""]


def test_failures_that_the_run_handled_are_none_of_it() -> None:
    bad = {"msg": "bad"}
    made = report(
        ended("app1", "Rescued", "x", "failed", 1.0, bad),
        ended("app2", "Ignored", "x", "ignored", 1.0, bad),
        ended("app3", "Failed", "x", "failed", 1.0, {"msg": "worse\nmuch", "evidence": ["a log line \x1b[31m"]}),
        ended("app4", "Away", "x", "unreachable", 1.0, {"msg": "no route"}),
        counts={"app1": {"rescued": 1}, "app2": {"ignored": 1}, "app3": {"failed": 1, "rescued": 1}, "app4": {"unreachable": 1}},
    )
    found = told(made)
    assert [one["handled"] for one in found["failed"]] == ["rescued", "ignored", "", ""]
    assert found["last_words"] == "no route"
    junit = ET.fromstring(run_report.as_junit(made))
    assert (junit.attrib["tests"], junit.attrib["failures"], junit.attrib["errors"]) == ("4", "1", "1")
    failure = junit.find(".//failure")
    assert failure is not None
    assert failure.attrib["message"] == "worse"
    assert "a log line" in str(failure.text)


def test_batches_of_a_play_are_told_apart_and_changes_are_put_together() -> None:
    made = report(ended("app1", "Switch", "x", "changed", 1.5, {}))
    made.plays[-1].ended = None
    made.play("Roll", 2.5)
    made.plays[-1].tasks.append(ended("app2", "Switch", "x", "changed", 1.0, {}))
    made.end({"app1": {**NOTHING, "ok": 1}, "app2": {**NOTHING, "ok": 1}}, 4.0)
    found = told(made)
    assert [(play["batch"], play["seconds"], play["hosts"]) for play in found["plays"]] == [(1, 1.5, ["app1"]), (2, 1.5, ["app2"])]
    assert found["changed"] == [{"play": "Roll", "task": "Switch", "hosts": ["app1", "app2"]}]


def test_the_last_words_of_a_good_run_are_its_last_message() -> None:
    lines = ended("app1", "The run ended well", "ansible.builtin.debug", "ok", 0.0, {"msg": ["deploy storefront", "on 4 hosts"]})
    assert told(report(lines, counts={"app1": {"ok": 1}}))["last_words"] == "deploy storefront\non 4 hosts"


def test_the_oldest_reports_go_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("mine")
    for second in range(4):
        run_report.write(str(tmp_path), run_report.stem(f"20261125T10000{second}Z", "playbooks/de ploy.yml", "0011aabb"), report(), 2)
    kept = [f"20261125T10000{second}Z-de_ploy-0011aabb.{ending}" for second in (2, 3) for ending in ("json", "xml")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*kept, "notes.json"]


def test_runs_beside_each_other_remove_the_same_reports(tmp_path: Path) -> None:
    names = [run_report.stem(f"20261125T10{number // 60:02}{number % 60:02}Z", "deploy.yml", f"{number:08x}") for number in range(400)]
    with ThreadPoolExecutor(8) as runs:
        list(runs.map(lambda name: run_report.write(str(tmp_path), name, report(), 2), names))
    run_report.write(str(tmp_path), run_report.stem("20261125T110000Z", "deploy.yml", "0011aabb"), report(), 2)
    assert len(list(tmp_path.iterdir())) == 4
