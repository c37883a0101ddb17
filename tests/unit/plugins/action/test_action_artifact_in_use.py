"""What is noted in the artifact store, in a real shell, and what its pruning then leaves alone."""

from __future__ import annotations

import pathlib
import subprocess
import types
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.tossable.fleet.plugins.action import artifact_in_use as action


def note(root: pathlib.Path, *versions: str, keep: bool = False, environment: str = "production") -> str:
    """What the command prints."""
    given = {"root": str(root), "app": "shop", "environment": environment, "versions": versions, "keep": keep}
    done = subprocess.run(["sh", "-c", action.command(given)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def noted(root: pathlib.Path, environment: str = "production") -> list[str]:
    return (root / "shop" / ".in-use" / environment).read_text().splitlines()


def test_two_runs_of_one_host_keep_what_the_others_run(tmp_path: pathlib.Path) -> None:
    note(tmp_path, "1.0.0", "1.1.0")
    note(tmp_path, "1.1.0", "1.2.0", keep=True)
    note(tmp_path, "1.2.0", "1.3.0", keep=True)
    assert noted(tmp_path) == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    note(tmp_path, "1.2.0", "1.3.0")
    assert noted(tmp_path) == ["1.2.0", "1.3.0"]


@pytest.mark.parametrize("keep", [False, True])
def test_the_first_note_and_one_that_says_so_already(tmp_path: pathlib.Path, keep: bool) -> None:
    assert note(tmp_path, "2", "1", "2", keep=keep) == ""
    assert note(tmp_path, "1", "2", keep=keep) == "same"
    assert noted(tmp_path) == ["1", "2"]
    assert [path.name for path in (tmp_path / "shop" / ".in-use").iterdir()] == ["production"]


def test_environments_do_not_know_each_other(tmp_path: pathlib.Path) -> None:
    note(tmp_path, "1")
    note(tmp_path, "2", environment="staging", keep=True)
    assert (noted(tmp_path), noted(tmp_path, "staging")) == (["1"], ["2"])


def test_a_note_that_cannot_be_read_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "shop" / ".in-use" / "production").mkdir(parents=True)
    given = {"root": str(tmp_path), "app": "shop", "environment": "production", "versions": ["1"], "keep": True}
    assert subprocess.run(["sh", "-c", action.command(given)], capture_output=True, check=False).returncode != 0


class Store(action.ActionModule):
    """The action without Ansible around it; the store answers, or cannot be reached."""

    def __init__(self, answer: dict[str, Any] | None) -> None:
        self._task = types.SimpleNamespace(check_mode=False, async_val=0, args={})
        self._connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir="/tmp"))
        self._answer = answer

    def validate_argument_spec(self, argument_spec: object) -> tuple[None, dict[str, Any]]:
        assert argument_spec
        return None, {"root": "/srv/artifacts", "app": "shop", "environment": "production", "versions": ["1.4.2"], "keep": False}

    def _low_level_execute_command(self, _command: str) -> dict[str, Any]:
        if self._answer is None:
            raise AnsibleConnectionFailure("no route to host")
        return self._answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "the artifact store cannot be reached: no route to host."),
        (
            {"rc": 2, "stdout": "", "stderr": "sh: write error:\n No space left on device\n"},
            "could not write it: sh: write error: No space left on device.",
        ),
    ],
)
def test_what_cannot_be_noted_is_said_and_fails_no_deployment(answer: dict[str, Any] | None, why: str) -> None:
    done = Store(answer).run()
    assert not done.get("failed")
    assert not done["changed"]
    (said,) = done["said"]
    assert why in said
    assert "/srv/artifacts/shop/.in-use/production" in said
    assert "What was deployed is live" in said


def test_what_was_noted_is_told_as_a_change_and_says_nothing() -> None:
    wrote, same = (Store({"rc": 0, "stdout": said, "stderr": ""}).run() for said in ("", "same\n"))
    assert (wrote["changed"], wrote["said"], same["changed"], same["said"]) == (True, [], False, [])
