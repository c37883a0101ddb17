"""Commits between two artifacts, asked of a real checkout."""

from __future__ import annotations

import os
import pathlib
import re
import stat
import subprocess
from collections.abc import Callable

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import commits

Commit = Callable[[str, str], str]
ELSEWHERE = "0" * 40


@pytest.fixture
def checkout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Commit]:
    """A repository with a folder `shop`; and how to commit a change of a file in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Builder")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "builder@example.org")

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(tmp_path), *words], capture_output=True, text=True, check=True).stdout.strip()

    def commit(path: str, subject: str) -> str:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(subject)
        git("add", "--all")
        git("commit", "--quiet", "--message", subject)
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    return str(tmp_path / "shop"), commit


def test_new_commits_are_told_newest_first_and_only_those_of_the_source(checkout: tuple[str, Commit]) -> None:
    source, commit = checkout
    old = commit("shop/a", "Begin")
    second = commit("shop/a", "Go on")
    commit("other", "Not ours")
    new = commit("shop/b", "End \x1b[31mred")
    found = commits.between(source, old, new)
    assert found["unknown"] is None
    assert found["removed"] == {"count": 0, "first": [], "list": []}
    assert found["added"]["count"] == 2
    assert [line.partition(" ")[2] for line in found["added"]["first"]] == ["End ?[31mred", "Go on"]
    assert second.startswith(found["added"]["first"][1].split()[0])
    assert [(one["commit"], one["author"], one["subject"]) for one in found["added"]["list"]] == [
        (new, "Builder", "End ?[31mred"),
        (second, "Builder", "Go on"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", one["at"]) for one in found["added"]["list"])


def test_on_the_way_back_commits_are_taken_away(checkout: tuple[str, Commit]) -> None:
    source, commit = checkout
    old, new = commit("shop/a", "Begin"), commit("shop/a", "Go on")
    found = commits.between(source, new, old)
    assert (found["added"]["count"], found["removed"]["count"]) == (0, 1)
    assert found["removed"]["first"][0].endswith(" Go on")


def test_of_many_commits_the_newest_are_named(checkout: tuple[str, Commit]) -> None:
    source, commit = checkout
    made = [commit("shop/a", f"Change {number}") for number in range(commits.NAMED + 3)]
    found = commits.between(source, made[0], made[-1])
    assert (found["added"]["count"], len(found["added"]["first"])) == (commits.NAMED + 2, commits.NAMED)


def test_the_same_commit_needs_no_checkout() -> None:
    found = commits.between("", ELSEWHERE, ELSEWHERE)
    assert (found["added"], found["removed"], found["unknown"]) == (
        {"count": 0, "first": [], "list": []},
        {"count": 0, "first": [], "list": []},
        None,
    )


def test_a_commit_that_the_checkout_lacks_is_named(checkout: tuple[str, Commit]) -> None:
    source, commit = checkout
    found = commits.between(source, commit("shop/a", "Begin"), ELSEWHERE)
    assert found["unknown"] == "the checkout at build_source does not have 0000000000"
    assert found["added"] is None


@pytest.mark.parametrize("source", ["", "/nonexistent"])
def test_without_a_checkout_there_are_only_the_ids(source: str) -> None:
    found = commits.between(source, "a" * 40, "b" * 40)
    assert (found["from"], found["to"], found["unknown"]) == ("a" * 40, "b" * 40, "no git checkout at build_source")


@pytest.mark.parametrize(("old", "new", "told"), [(None, "b" * 40, "the live release"), ("a" * 40, None, "the wanted release")])
def test_a_release_without_a_commit_is_told(old: str | None, new: str | None, told: str) -> None:
    assert commits.between("", old, new)["unknown"] == f"{told} names no commit"


def test_git_has_a_deadline(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert commits.between(str(tmp_path), "a" * 40, "b" * 40, deadline_seconds=0.2)["unknown"] == "git took too long"


def test_where_git_is_not_installed_the_plan_goes_on(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git cannot be run" in commits.between(str(tmp_path), "a" * 40, "b" * 40)["unknown"]
