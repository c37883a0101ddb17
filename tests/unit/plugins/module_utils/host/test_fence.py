"""A host refuses a run that carries an older token than one it has seen, before anything is done."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import fence, stage, system, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError


@pytest.fixture
def config(tmp_path: pathlib.Path) -> Config:
    """An application with no release and no unit."""
    (tmp_path / "srv" / "releases").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    return Config("shop", "shop", "shop", str(tmp_path / "srv"), str(tmp_path / "state"), (), None, None, None, 3, str(tmp_path / "signers"))


def request(token: int | None, run: str = "run-1", kind: str = "activate") -> transaction.Request:
    return transaction.Request(kind, "1.0.0-aaaaaaaa", run, "ada", "", token=token)


def test_an_older_token_is_refused_and_an_equal_or_newer_one_is_not(config: Config) -> None:
    fence.admit(config, 5, "five")
    fence.admit(config, 5, "five")
    with pytest.raises(HostError, match=r"run four has lost the deployment lock.*token 4.*token 5 of run five"):
        fence.admit(config, 4, "four")
    fence.admit(config, 6, "six")
    assert fence.newest(config)["token"] == 6


def test_without_a_token_nothing_is_compared_or_remembered(config: Config) -> None:
    fence.admit(config, None, "by-hand")
    assert fence.newest(config)["token"] == 0
    fence.admit(config, 5, "five")
    fence.admit(config, None, "by-hand")
    assert fence.newest(config)["token"] == 5


def test_the_token_is_on_the_disk_before_the_transaction_begins(config: Config) -> None:
    with pytest.raises(HostError, match="is not staged on this host"):
        transaction.perform(config, request(7))
    assert json.loads(pathlib.Path(config.state_dir, "token.json").read_text()) == {"token": 7, "run": "run-1"}


@pytest.mark.parametrize("kind", ["activate", "rollback", "restart", "retire"])
def test_a_stale_transaction_is_refused_and_leaves_no_trace(config: Config, kind: str) -> None:
    fence.admit(config, 8, "eight")
    with pytest.raises(HostError, match="Nothing was done on this host"):
        transaction.perform(config, request(7, kind=kind))
    assert not pathlib.Path(config.journal).exists()


def test_a_stale_stage_is_refused_before_it_fetches(config: Config) -> None:
    fence.admit(config, 8, "eight")
    artifact = stage.Artifact("1.0.0", "a" * 64, "http://127.0.0.1:1/nothing-listens-here")
    with pytest.raises(HostError, match="Nothing was done on this host"):
        stage.perform(config, artifact, "run-7", "ada", 7)


def test_a_stage_fences_off_the_runs_before_it(config: Config) -> None:
    artifact = stage.Artifact("1.0.0", "a" * 64, "http://127.0.0.1:1/nothing-listens-here")
    with pytest.raises(HostError, match="could not be fetched"):
        stage.perform(config, artifact, "run-9", "ada", 9)
    with pytest.raises(HostError, match="token 9 of run run-9"):
        transaction.perform(config, request(8, "run-8"))


def test_the_repair_at_boot_needs_no_token(config: Config) -> None:
    fence.admit(config, 8, "eight")
    assert transaction.repair(config) == {"changed": False}


def test_a_torn_token_is_refused_in_words(config: Config) -> None:
    system.write_file(f"{config.state_dir}/token.json", b"{", 0o600)
    with pytest.raises(HostError, match=r"holds no fencing token.*remove the file"):
        fence.admit(config, 9, "nine")
