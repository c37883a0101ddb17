# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as lines, and the run as a picture, without Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.tossable.fleet.plugins.plugin_utils import rollout
from ansible_collections.tossable.fleet.plugins.plugin_utils.watching import Ended, ended

ROOT = Path(__file__).parents[4]
PLAYS = ["Plan - choose", "Stage - fetch", "Roll - switch", "Report - what happened"]
HOSTS = {f"app{number}": {"wave": 1 if number == 1 else 2, "from": None, "to": "1.1.0-00000000"} for number in range(1, 10)}
PLAN: dict[str, Any] = {"kind": "deploy", "app": "storefront", "version": "1.1.0", "run": "r1", "hosts": HOSTS, "estimate": {"seconds": 20.0}}
STEPS = [{"step": "drain", "seconds": 0.18}, {"step": "switch", "seconds": 0.002}]


def seen(action: str, status: str = "ok", host: str = "app1", **result: Any) -> Ended:
    return ended(host, "Task", action, status, 1.0, result)


def course() -> rollout.Course:
    """A deployment that has switched its first wave and is in the second one."""
    made = rollout.Course(PLAYS)
    made.begin(PLAYS[0])
    made.see(seen("tossable.fleet.release_plan", **PLAN), 5.0)
    made.begin(PLAYS[2])
    made.see(seen("tossable.fleet.release", "changed", steps=STEPS), 7.0)
    made.begin(PLAYS[2])
    made.running["app2"] = ("Leave, switch", 8.0)
    return made


def test_each_hosts_steps_are_one_line() -> None:
    event = seen("tossable.fleet.release", "changed", steps=STEPS, release="1.1.0-00000000", notes=["2 connections outlived the drain"])
    assert rollout.event(event, "") == [
        "app1        1.1.0-00000000 in 0.2 s: drain 0.18 s, switch 0.00 s",
        "            ! 2 connections outlived the drain",
    ]


def test_a_failure_is_what_where_and_the_last_log_lines() -> None:
    event = seen("tossable.fleet.release", "failed", msg="did not become healthy\nWhat now: build another", evidence=["Traceback", "KeyError: 'x'"])
    assert rollout.event(event, "roles/x.yml:3") == [
        "failed      app1: Task (roles/x.yml:3)",
        "            did not become healthy",
        "            What now: build another",
        "            | Traceback",
        "            | KeyError: 'x'",
    ]


def test_what_hosts_say_does_not_steer_the_terminal() -> None:
    msg = "last answer: 500 \x1b]0;x\x07\n\tat checkout"
    event = seen("tossable.fleet.release", "failed", msg=msg, evidence=["log \x1b[2J", "\tline"], notes=["\x1b[31mred"])
    assert rollout.event(event, "")[1:] == [
        "            last answer: 500 ?]0;x?",
        "                    at checkout",
        "            | log ?[2J",
        "            |         line",
    ]
    loop = seen("ansible.builtin.command", "failed", results=[{"failed": True, "item": "\x1b[2J", "msg": "\x9b2J"}])
    assert rollout.event(loop, "")[1:] == ["            ?[2J: ?2J"]
    switched = seen("tossable.fleet.release", "changed", steps=STEPS, notes=["\x1b[31mred"])
    assert rollout.event(switched, "")[1:] == ["            ! ?[31mred"]
    assert rollout.event(seen("tossable.fleet.release_gate", verdict="pass", line="pass\x1b[2J"), "") == ["gate        pass?[2J"]


def test_a_word_never_runs_into_what_follows() -> None:
    (head, *_rest) = rollout.event(seen("tossable.fleet.release", "unreachable", msg="no route to host"), "")
    assert head == "unreachable app1: Task"
    (line,) = rollout.event(seen("tossable.fleet.release", "changed", host="application1.example", steps=STEPS, release="1.1.0-00000000"), "")
    assert line.startswith("application1.example 1.1.0-00000000 in ")


def test_what_changed_nothing_and_says_nothing_is_not_shown() -> None:
    assert rollout.event(seen("ansible.builtin.command", msg="", rc=0), "") == []
    assert rollout.event(seen("ansible.builtin.command", "skipped"), "") == []
    assert rollout.event(seen("ansible.builtin.debug", censored="hidden"), "") == []
    assert rollout.event(seen("ansible.builtin.debug", results=[{"msg": "one"}], msg="All items completed"), "") == []
    assert rollout.event(seen("ansible.builtin.command", "changed"), "") == ["changed     app1: Task"]
    assert rollout.event(seen("ansible.builtin.debug", msg="two\nlines"), "") == ["two", "lines"]
    assert rollout.event(seen("tossable.fleet.release_gate", verdict="pass", line="pass: 0 of 120 failed"), "") == [
        "gate        pass: 0 of 120 failed"
    ]


def test_a_command_that_failed_shows_what_it_printed() -> None:
    assert "boom" in rollout.event(seen("ansible.builtin.command", "failed", msg="non-zero return code", rc=1, stderr="boom"), "")[-1]


def test_waves_are_told_with_their_hosts() -> None:
    made = course()
    assert made.begin(PLAYS[3]) == ["", "Report - what happened"]
    again = rollout.Course(PLAYS, plan=PLAN)
    assert again.begin(PLAYS[2])[-1] == "Roll - switch (wave 1: app1)"


def test_the_picture_shows_phases_waves_the_time_and_what_is_left() -> None:
    made = course()
    made.see(seen("tossable.fleet.release_gate", verdict="pass", line="pass: fine"), 8.0)
    made.running["app2"] = ("Leave, switch", 8.0)
    assert rollout.picture(made, 11.0) == [
        "deploy storefront 1.1.0  11 s, about 14 s left",
        "Plan  Stage  [Roll]  Report",
        "wave 1      app1 0.2 s",
        "wave 2      app2 ... 3 s, app3, app4, app5, app6, app7 and 2 more",
        "gate        pass: fine",
        "now         Leave, switch: app2 (3 s)",
    ]
    assert rollout.picture(made, 60.0)[0] == "deploy storefront 1.1.0  60 s, longer than the last ones took"


@pytest.mark.parametrize("playbook", ["deploy.yml", "rollback.yml", "reconcile.yml"])
def test_waves_and_who_is_at_work_are_shown_whatever_rolls(playbook: str) -> None:
    plays = yaml.safe_load((ROOT / "playbooks" / playbook).read_text())
    names, (roll,) = [play["name"] for play in plays], [play["name"] for play in plays if "serial" in play]
    made = rollout.Course(names, plan=PLAN)
    made.begin(names[0])
    assert made.begin(roll) == ["", f"{roll} (wave 1: app1)"]
    made.running["app1"] = ("Leave, switch", 8.0)
    assert "wave 1      app1 ... 3 s" in rollout.picture(made, 11.0)
    assert made.begin(roll)[-1].startswith(f"{roll} (wave 2: app2, app3")


def test_the_picture_shows_each_hosts_steps_once_it_has_told_them_and_until_then_what_it_is_at() -> None:
    hosts = {host: {"wave": 1} for host in ("app1", "app2", "app3", "app4")}
    made = rollout.Course(PLAYS, plan={**PLAN, "hosts": hosts})
    made.begin(PLAYS[0])
    made.begin(PLAYS[2])
    assert len(rollout.picture(made, 1.0)) == 3
    made.running |= {"app1": ("Leave, switch", 2.0), "app2": ("Leave, switch", 2.0), "app3": ("Leave, switch", 2.0)}
    made.see(seen("tossable.fleet.release", "changed", steps=STEPS), 4.0)
    made.see(seen("tossable.fleet.release", "failed", "app3", steps=STEPS[:1], msg="did not become healthy"), 4.0)
    assert rollout.picture(made, 5.0)[2:] == [
        "wave 1      app1 0.2 s, app2 ... 3 s, app3 failed, app4",
        "            app1: drain 0.18 s, switch 0.00 s",
        "            app2: Leave, switch (3 s)",
        "            app3: failed after drain 0.18 s",
        "now         Leave, switch: app2 (3 s)",
    ]
    made.begin(PLAYS[3])
    assert not [line for line in rollout.picture(made, 6.0) if "drain" in line]


def test_the_picture_stays_small_however_many_waves_there_are() -> None:
    hosts = {f"app{number}": {"wave": number} for number in range(1, 40)}
    made = rollout.Course(PLAYS, plan={**PLAN, "hosts": hosts, "estimate": None})
    for _wave in range(20):
        made.begin(PLAYS[2])
    shown = [line.split()[1] for line in rollout.picture(made, 1.0) if line.startswith("wave")]
    assert shown == ["19", "20", "21", "22"]
