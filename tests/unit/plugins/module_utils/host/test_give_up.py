"""A release that is given up is gone as a target, with the reason on record; the live one stays."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import fence, journal, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError


@pytest.fixture
def config(tmp_path: pathlib.Path) -> Config:
    """A host that ran 1-a and runs 2-b."""
    (tmp_path / "state").mkdir()
    made = Config("shop", "shop", "shop", str(tmp_path / "srv"), str(tmp_path / "state"), (), None, None, None, 5, "")
    for release in ("1-a", "2-b"):
        (tmp_path / "srv" / "releases" / release).mkdir(parents=True)
        journal.append(made.journal, {"kind": "stage", "step": "done", "release": release})
        journal.append(made.journal, {"transaction": release, "kind": "activate", "step": "done", "release": release, "previous": None})
    return made


def test_it_is_no_target_any_more_and_the_journal_says_why(config: Config) -> None:
    assert transaction.give_up(config, "1-a", "run-1", "ada", "a week has passed") == {"changed": True, "removed": ["1-a"]}
    records = journal.read(config.journal)
    state = journal.fold(records)
    assert (state.previous, state.staged) == (None, ("2-b",))
    assert (records[-1]["by"], records[-1]["reason"], records[-1]["run"]) == ("ada", "a week has passed", "run-1")
    assert not pathlib.Path(config.releases, "1-a").exists()
    assert transaction.give_up(config, "1-a", "run-1", "ada", "again") == {"changed": False, "removed": []}


def test_the_live_release_stays(config: Config) -> None:
    with pytest.raises(HostError, match="2-b is live"):
        transaction.give_up(config, "2-b", "run-1", "ada", "by mistake")
    assert pathlib.Path(config.releases, "2-b").exists()


def test_a_run_that_lost_the_lock_removes_nothing(config: Config) -> None:
    fence.admit(config, 8, "eight")
    with pytest.raises(HostError, match="has lost the deployment lock"):
        transaction.give_up(config, "1-a", "seven", "ada", "late", 7)
    assert pathlib.Path(config.releases, "1-a").exists()
