# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback in real runs of a small playbook on this machine, also under ansible-runner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import ansible_runner
import jsonschema
import pytest
from checkout import ROOT, environment

SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "report.schema.json").read_text()))
HOSTS = "all: {hosts: {one: {}, two: {}}, vars: {ansible_connection: local}}\n"
PLAY = """\
- name: Try
  hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - name: Hide
      ansible.builtin.debug: {msg: "s3cr3t {{ token }}"}
      no_log: true
    - name: Change
      ansible.builtin.debug: {msg: seen}
      changed_when: true
    - name: Stop at the second host
      ansible.builtin.fail: {msg: "not {{ inventory_hostname }}"}
      when: inventory_hostname == 'two'
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an inventory and a playbook."""
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "try.yml").write_text(PLAY)
    return tmp_path


def command(project: Path, *more: str) -> list[str]:
    return ["ansible-playbook", "-i", str(project / "hosts.yml"), str(project / "try.yml"), *more]


def settings(folder: object) -> dict[str, str]:
    return {**environment(), "TOSSABLE_REPORT_FOLDER": str(folder)}


def the_report(folder: Path) -> dict[str, Any]:
    """The one report in a folder, as its schema allows it; its twin for JUnit is there, too."""
    (path,) = folder.glob("*.json")
    assert path.with_suffix(".xml").is_file()
    found: dict[str, Any] = json.loads(path.read_text())
    SCHEMA.validate(found)
    return found


def test_a_run_leaves_a_report_without_any_secret(project: Path) -> None:
    env = settings(project / "reports")
    done = subprocess.run(
        command(project, "-e", "token=hunter2", "-e", "version=1.4.2"), env=env, cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    found = the_report(project / "reports")
    assert (found["playbook"], found["outcome"], found["last_words"]) == ("try.yml", "failed", "not two")
    assert found["options"] == {"extra_vars": ["token", "version"], "values": {"version": "1.4.2"}}
    assert [(play["batch"], play["hosts"]) for play in found["plays"]] == [(1, ["one"]), (2, ["two"])]
    assert found["hosts"]["two"]["failed"] == 1
    assert found["changed"] == [{"play": "Try", "task": "Change", "hosts": ["one", "two"]}]
    written = "".join(path.read_text() for path in (project / "reports").iterdir())
    assert "s3cr3t" not in written
    assert "hunter2" not in written


def test_a_folder_that_cannot_be_written_is_one_warning_and_changes_nothing_else(project: Path) -> None:
    (project / "file").write_text("")
    done = subprocess.run(
        command(project, "-e", "token=x", "--limit", "one"),
        env=settings(project / "file" / "x"),
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert (done.stdout + done.stderr).count("WARNING") == 1
    assert "No report of this run" in done.stderr


def test_it_can_be_left_out(project: Path) -> None:
    env = {**settings(project / "reports"), "TOSSABLE_REPORT_KEEP": "0"}
    done = subprocess.run(command(project, "-e", "token=x", "--limit", "one"), env=env, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (project / "reports").exists()


def cut_short(project: Path, by: signal.Signals) -> dict[str, Any]:
    """The report of a run of two plays that got this signal in the middle of its second one."""
    play = "- {{name: {name}, hosts: one, gather_facts: false, tasks: [{tasks}]}}\n"
    first = play.format(name="First", tasks="{ansible.builtin.debug: {msg: before}}")
    second = play.format(name="Second", tasks="{ansible.builtin.debug: {msg: within}}, {ansible.builtin.shell: touch begun && exec sleep 60}")
    (project / "try.yml").write_text(first + second)
    run = subprocess.Popen(
        command(project), env=settings(project / "reports"), cwd=project, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    # Not before the task is under way: Python swallows an interrupt that comes while a process forks.
    end = time.monotonic() + 60
    while not (project / "begun").exists():
        assert time.monotonic() < end, "the task did not begin within 60 s"
        time.sleep(0.05)
    os.killpg(run.pid, by)
    run.communicate(timeout=60)
    assert not list((project / "reports").glob("*.new"))
    return the_report(project / "reports")


def test_a_run_that_is_interrupted_has_a_report(project: Path) -> None:
    found = cut_short(project, signal.SIGINT)
    assert (found["outcome"], found["last_words"]) == ("interrupted", "within")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_has_a_report_up_to_its_last_play(project: Path, by: signal.Signals) -> None:
    found = cut_short(project, by)
    assert (found["outcome"], found["last_words"]) == ("interrupted", "before")
    assert [(play["name"], play["hosts"]) for play in found["plays"]] == [("First", ["one"]), ("Second", [])]
    assert found["hosts"]["one"]["ok"] == 1


def test_it_works_under_ansible_runner(project: Path) -> None:
    (project / "runner").mkdir()
    ran = ansible_runner.run(
        private_data_dir=str(project / "runner"),
        playbook=str(project / "try.yml"),
        inventory=str(project / "hosts.yml"),
        extravars={"token": "hunter2"},
        limit="one",
        envvars=settings(project / "reports"),
        quiet=True,
    )
    assert ran.status == "successful", ran.stdout.read()
    assert the_report(project / "reports")["outcome"] == "ok"
