"""What is noted in the artifact store, in a real shell, and what its pruning then leaves alone."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
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
