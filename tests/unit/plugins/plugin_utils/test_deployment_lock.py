"""Who this run is, when a holder counts as dead, and what an operator is told."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import lease
from ansible_collections.tossable.fleet.plugins.module_utils.host.lease import Owner, Record
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock
from test_lease import at, taken, who

LOCK = {"app": "shop", "environment": "production", "run": "a", "token": 1, "held": True, "deadline": 1000.0, "said": ""}


def answer(record: Record, said: str = "") -> dict[str, Any]:
    return {"held": False, "said": said, **lease.to_data(record)}


def test_this_process_is_known_by_its_start() -> None:
    me = deployment_lock.owner("a", None, "", "deploy 1")
    assert me.pid == os.getpid()
    assert me.started == deployment_lock.process_start(os.getpid())
    assert me.by == f"{me.account}@{me.controller}"
    assert all((me.boot, me.namespace))
    assert not deployment_lock.is_dead(me, me, deployment_lock.process_start(me.pid))


def test_a_process_that_ended_has_no_start_also_before_it_is_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert deployment_lock.process_start(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert deployment_lock.process_start(child.pid) is None, "a zombie is no holder"
    child.communicate()
    assert deployment_lock.process_start(child.pid) is None


def test_the_run_is_the_process_that_forked_the_worker() -> None:
    code = (
        "import multiprocessing, os\n"
        "from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock\n"
        "def work():\n"
        "    assert deployment_lock.owner('a', None, '', '').pid == os.getppid() != os.getpid()\n"
        "worker = multiprocessing.get_context('fork').Process(target=work)\n"
        "worker.start(); worker.join(); raise SystemExit(worker.exitcode)"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("holder", "started", "dead"),
    [
        (who("b"), 1000, False),
        (who("b"), None, True),
        (who("b"), 2000, True),
        (who("b", account="eve"), None, False),
        (who("b", controller="ci8"), None, False),
        (who("b", boot="boot-d"), None, False),
        (who("b", namespace="pid:[2]"), None, False),
        (who("b", started=0), None, False),
    ],
)
def test_only_the_same_account_on_the_same_controller_knows_that_a_process_is_gone(holder: Owner, started: int | None, dead: bool) -> None:
    assert deployment_lock.is_dead(holder, who("a", pid=300), started) is dead


def test_a_refusal_says_who_since_when_why_and_what_to_do() -> None:
    said = deployment_lock.refusal("shop", "production", answer(taken("run-7")), 60)
    for words in (
        "ada",
        "ops on ci7",
        "process 100",
        "2027-01-15T08:00:00Z",
        "deploy 1.4.2",
        "because: to see",
        "run-7",
        "until 2027-01-15T08:15:00Z",
    ):
        assert words in said
    assert "-e lock_wait=600" in said
    assert 'playbooks/unlock.yml -e "reason=' in said
    assert "Waited 60 s" in said


@pytest.mark.parametrize(
    ("record", "said", "words"),
    [
        (taken("b", at(900), taken("a"), by="bob"), "", "bob (ops on ci7"),
        (taken("b", at(900), taken("a"), by="bob"), "", "run b decides"),
        (lease.break_(taken("a"), "bob", "laptop gone", at(1)).record, "", "broken by bob at 2027-01-15T08:00:01Z, because: laptop gone"),
        (taken("a"), "its lease ran out at noon", "its lease ran out at noon"),
        (
            lease.free(taken("b", at(900), taken("a"), by="bob"), "b", 2).record,
            "",
            "taken over by bob at 2027-01-15T08:15:00Z, because: its lease had run out",
        ),
        (lease.EMPTY, "", "another run had it since"),
    ],
)
def test_a_loss_says_who_decides_now(record: Record, said: str, words: str) -> None:
    told = deployment_lock.loss(LOCK, answer(record, said))
    assert words in told
    assert "touches nothing any more and takes nothing back" in told


def test_a_lease_that_ran_out_by_the_controllers_own_clock_stops_it() -> None:
    assert deployment_lock.trouble(LOCK, 999.0) is None
    assert "ran out 60 s ago" in str(deployment_lock.trouble(LOCK, 1060.0))
    assert deployment_lock.trouble(deployment_lock.lost(LOCK, "bob has it"), 0.0) == "bob has it"


def test_the_deadline_counts_from_before_the_question() -> None:
    carried = deployment_lock.carried("shop", "production", "a", answer(taken("a")), 50.0)
    assert (carried["deadline"], carried["token"], carried["held"]) == (950.0, 1, True)


def test_a_run_goes_on_with_what_a_dead_one_was_about_only_where_it_is_about_the_same() -> None:
    after = answer(taken("b", at(900), taken("a")))
    what = after["last"]["from"]["what"]
    assert deployment_lock.continues(after, what) == "a"
    assert deployment_lock.continues(after, f"{what} of another kind") == ""
    assert deployment_lock.took_over(after) == "a"
    assert deployment_lock.took_over(answer(taken("a"))) == ""
    assert deployment_lock.continues(answer(taken("a")), what) == ""
    freed = lease.free(taken("b", at(900), taken("a")), "b", 2).record
    assert deployment_lock.continues(answer(taken("c", at(901), freed)), what) == ""


def test_all_runs_about_the_same_that_were_cut_short_one_after_the_other_are_known() -> None:
    def unfinished(record: Record) -> list[str]:
        return deployment_lock.unfinished(answer(record), "deploy 1.4.2")

    second = taken("b", at(900), taken("a"))
    assert unfinished(taken("c", at(1800), second)) == ["b", "a"]
    broken = taken("c", at(902), lease.break_(second, "bob", "laptop gone", at(901)).record)
    assert unfinished(broken) == ["b", "a"]
    assert unfinished(taken("d", at(1802), broken)) == ["c", "b", "a"]
    assert unfinished(taken("e", at(903), lease.free(broken, "c", broken.token).record)) == []
    assert unfinished(taken("c", at(1800), taken("b", at(900), taken("a"), what="rollback"))) == []
    assert unfinished(taken("c", at(1800), taken("b", at(900), taken("a", what="rollback")))) == ["b"]
    assert unfinished(taken("a")) == []


def test_the_status_has_one_line() -> None:
    assert deployment_lock.summary("shop", "production", answer(lease.EMPTY)) == "lock of shop in production: free"
    held = deployment_lock.summary("shop", "production", answer(taken("run-7"), "its lease ran out"))
    assert held.startswith("lock of shop in production: ada (ops on ci7")
    assert held.endswith("(its lease ran out)")
    assert "\n" not in held


def test_run_ids_differ_and_begin_with_their_time() -> None:
    first, second = deployment_lock.new_run(), deployment_lock.new_run()
    assert first != second
    assert first[8] == "T"


def test_whoever_comes_next_after_a_break_is_told_of_it_and_nobody_later() -> None:
    cut = lease.break_(taken("a"), "bob", "laptop gone", at(1)).record
    after = taken("b", at(2), cut)
    assert deployment_lock.broken(answer(after)) == {"by": "bob", "reason": "laptop gone", "run": "a"}
    assert deployment_lock.broken(answer(taken("c", at(3), lease.free(after, "b", 3).record))) is None
    assert deployment_lock.broken(answer(taken("b", at(900), taken("a")))) is None
    assert deployment_lock.broken(answer(taken("a"))) is None
