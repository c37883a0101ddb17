# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output in real runs of a small playbook: in a pipe, in a terminal, interrupted, with -v, with a defect, and under ansible-runner."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
from pathlib import Path

import ansible_runner
import pytest
from checkout import environment

HOSTS = "all: {hosts: {one: {}, two: {}}, vars: {ansible_connection: local}}\n"
PLAY = """\
- name: Try
  hosts: all
  gather_facts: false
  tasks:
    - name: Hide
      ansible.builtin.debug: {msg: s3cr3t}
      no_log: true
    - name: Talk
      ansible.builtin.debug: {msg: "one line\\nanother line"}
      run_once: true
    - name: Values
      ansible.builtin.debug: {var: inventory_hostname}
      run_once: true
    - name: Change
      ansible.builtin.set_fact: {x: 1}
      changed_when: true
    - name: Write
      ansible.builtin.copy: {content: "new\\n", dest: "{{ playbook_dir }}/written"}
      vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
      run_once: true
    - name: Stop
      ansible.builtin.fail: {msg: "it is broken\\nmend it"}
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


AT_ONCE = {"TOSSABLE_ROLLOUT_LIVE_AFTER": "0"}


def settings() -> dict[str, str]:
    return {
        **environment(),
        "ANSIBLE_STDOUT_CALLBACK": "tossable.fleet.rollout",
        "TOSSABLE_REPORT_KEEP": "0",
        "TERM": "xterm",
        "COLUMNS": "100",
        **AT_ONCE,
    }


def piped(project: Path, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(project, *more), env={**settings(), **env}, cwd=project, capture_output=True, text=True, check=False)


def in_terminal(project: Path, interrupt_at: str = "", **env: str) -> tuple[int, str]:
    """Exit code, and all that came to the terminal; interrupted as by ^C once it has shown something."""
    ours, theirs = pty.openpty()
    given = {**settings(), **env}
    run = subprocess.Popen(
        command(project),
        env=given,
        cwd=project,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # Its own, as a shell's; without it nobody can be asked.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:
            # The last one has closed it.
            more = b""
        if not more:
            break
        seen += more
        if interrupt_at and interrupt_at.encode() in seen:
            interrupt_at = ""
            os.killpg(run.pid, signal.SIGINT)
    os.close(ours)
    return run.wait(timeout=60), seen.decode()


def test_in_a_pipe_there_is_a_line_an_event_and_no_control_code(project: Path) -> None:
    done = piped(project, "--diff")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[:4] == ["", "Try", "one line", "another line"]
    assert sorted(line for line in said if line.endswith(": Change")) == ["changed     one: Change", "changed     two: Change"]
    assert "inventory_hostname: one" in done.stdout
    assert "+new" in said
    place = next(number for number, line in enumerate(said) if line.startswith("failed"))
    assert said[place : place + 3] == ["failed      two: Stop (try.yml:21)", "            it is broken", "            mend it"]
    assert "PLAY RECAP" in done.stdout
    assert "changed=2 " in next(line for line in said if line.startswith("one  "))


def test_verbose_is_what_ansible_shows(project: Path) -> None:
    env = {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    (project / "written").write_text("new\n")
    (project / "written").chmod(0o644)
    # One host, because two of them end in any order.
    ours, theirs = piped(project, "-v", "--limit", "two"), piped(project, "-v", "--limit", "two", **env)
    assert "TASK [Stop]" in ours.stdout
    assert ours.stdout == theirs.stdout


def test_on_a_terminal_a_live_view_comes_and_goes(project: Path) -> None:
    code, seen = in_terminal(project)
    assert code == 2, seen
    assert "now         " in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")
    recap = seen[seen.index("PLAY RECAP") :]
    assert "\x1b[1A" not in recap
    assert "it is broken" in seen


def test_a_run_that_is_over_before_the_view_begins_shows_none(project: Path) -> None:
    code, seen = in_terminal(project, TOSSABLE_ROLLOUT_LIVE_AFTER="600")
    assert code == 2, seen
    assert "changed     one: Change" in seen
    assert "now        " not in seen
    assert "\x1b[1A" not in seen


@pytest.mark.parametrize(("pause", "goes_on"), [("seconds: 1", True), ("seconds: 1, prompt: 'Go on?'", False)])
def test_the_live_view_ends_where_somebody_is_asked_and_not_where_time_passes(project: Path, pause: str, goes_on: bool) -> None:
    (project / "try.yml").write_text(
        "- hosts: one\n  gather_facts: false\n  tasks:\n"
        f"    - {{name: Look, ansible.builtin.pause: {{{pause}}}}}\n"
        "    - {name: After, ansible.builtin.wait_for: {timeout: 1}}\n"
        "  vars: {ansible_python_interpreter: '{{ ansible_playbook_python }}'}\n"
    )
    code, seen = in_terminal(project)
    assert code == 0, seen
    assert ("now         After" in seen) == goes_on, seen


def test_an_interrupted_run_leaves_the_terminal_clean(project: Path) -> None:
    (project / "try.yml").write_text("- hosts: one\n  gather_facts: false\n  tasks: [{name: Wait, ansible.builtin.wait_for: {path: /nowhere}}]\n")
    code, seen = in_terminal(project, "now         Wait")
    assert code == 99, seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")
    assert seen.rindex("\x1b[2K") > seen.rindex("now         Wait")


def test_a_defect_is_told_once_and_the_rest_is_ansibles(project: Path) -> None:
    # A list of steps that no action returns.
    (project / "plugins").mkdir()
    (project / "plugins" / "broken.py").write_text(
        "from ansible_collections.tossable.fleet.plugins.plugin_utils import rollout\n"
        "from ansible_collections.tossable.fleet.plugins.callback.rollout import CallbackModule, DOCUMENTATION\n"
        "DOCUMENTATION = DOCUMENTATION.replace('name: rollout', 'name: broken')\n"
        "def event(ended, where):\n    raise KeyError('seconds')\n"
        "rollout.event = event\n"
    )
    done = piped(project, ANSIBLE_CALLBACK_PLUGINS=str(project / "plugins"), ANSIBLE_STDOUT_CALLBACK="broken")
    assert done.returncode == 2, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("gave up (KeyError") == 1
    assert "TASK [Stop]" in done.stdout
    assert "PLAY RECAP" in done.stdout


def test_it_works_under_ansible_runner(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It hands on what it was started with, whatever the settings say.
    monkeypatch.setenv("TERM", "xterm")
    (project / "runner").mkdir()
    ran = ansible_runner.run(
        private_data_dir=str(project / "runner"),
        playbook=str(project / "try.yml"),
        inventory=str(project / "hosts.yml"),
        limit="one",
        envvars=settings(),
        quiet=True,
    )
    with ran.stdout as output:
        printed = output.read()
    assert ran.status == "successful", printed
    assert "changed     one: Change" in printed
    assert "playbook_on_stats" in [event["event"] for event in ran.events]
