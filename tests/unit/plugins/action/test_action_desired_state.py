"""What the controller signs a host believes, and where it signs nothing it says why."""

from __future__ import annotations

import pathlib
import subprocess
import types
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.action import desired_state as action
from ansible_collections.tossable.fleet.plugins.module_utils.host import boot, desired
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config, DesiredSource
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock

LOCK = {"run": "run-2", "token": 7, "held": True, "deadline": float("inf"), "said": ""}


class Store(action.ActionModule):
    """The action without Ansible around it; the store is a folder of this machine."""

    def __init__(self, args: dict[str, Any] | None = None) -> None:
        task = types.SimpleNamespace(args=args, action="tossable.fleet.desired_state", check_mode=False, async_val=0)
        super().__init__(task, types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None)), None, None, None, None)

    def _low_level_execute_command(self, command: str) -> dict[str, Any]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture
def given(tmp_path: pathlib.Path) -> dict[str, Any]:
    key = str(tmp_path / "key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "shop").mkdir()
    release = {"app": "shop", "environment": "lab", "kind": "deploy", "release": "2-abababab", "version": "2", "digest": "ab" * 32}
    return {**release, "url": "http://ops/shop/2", "run": "run-2", "root": str(tmp_path), "signing_key": key, "lock": dict(LOCK)}


def test_what_is_published_a_host_believes(tmp_path: pathlib.Path, given: dict[str, Any]) -> None:
    assert action._hindrance(given) is None
    assert Store()._write(given, action._signed(given)) is None
    (tmp_path / "signers").write_text(f'builder@lab namespaces="{desired.NAMESPACE}" {(tmp_path / "key.pub").read_text()}')
    source = DesiredSource("http://ops/shop/desired-lab.signed", "lab", 1.0, str(tmp_path / "signers"))
    config = Config("shop", "shop", "shop", "", str(tmp_path), (), None, None, None, 1, "", desired=source)
    found = boot.prove(config, source, (tmp_path / "shop" / "desired-lab.signed").read_bytes())
    assert (found.release, found.token, found.run) == ("2-abababab", 7, "run-2")
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == ["desired-lab.signed"]


def test_what_was_published_is_said(tmp_path: pathlib.Path, given: dict[str, Any]) -> None:
    result = Store(given).run(None, {})
    assert (result["changed"], result["summary"]) == (True, "Signed for hosts that come back later: the fleet runs 2-abababab.")
    assert (tmp_path / "shop" / "desired-lab.signed").exists()


@pytest.mark.parametrize("lost", [{"held": False, "said": "bob has it"}, {"deadline": 0.0}], ids=["lost", "ran out"])
def test_a_run_without_the_lock_signs_nothing_and_does_not_fail(tmp_path: pathlib.Path, given: dict[str, Any], lost: dict[str, Any]) -> None:
    result = Store({**given, "lock": {**LOCK, **lost}}).run(None, {})
    assert (result.get("failed", False), result["changed"]) == (False, False)
    assert result["summary"].startswith("Not signed for hosts that come back later (")
    assert ("bob has it" if "said" in lost else "ran out") in result["summary"]
    assert list((tmp_path / "shop").iterdir()) == []


def test_a_store_that_cannot_write_is_said(given: dict[str, Any]) -> None:
    said = Store()._write({**given, "root": "/nonexistent"}, "text")
    assert said is not None
    assert "could not write" in said


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"lock": None}, "release_lock_host"),
        ({"lock": {**LOCK, "held": False, "said": "lost it"}}, "lost it"),
        ({"lock": {**LOCK, "deadline": 0.0}}, "ran out"),
        ({"signing_key": None}, "no key to sign with"),
        ({"signing_key": "/nonexistent"}, "no key at /nonexistent"),
    ],
)
def test_where_nothing_is_signed_it_says_why(given: dict[str, Any], other: dict[str, Any], told: str) -> None:
    said = action._hindrance({**given, **other})
    assert said is not None
    assert told in said
    assert deployment_lock.trouble(given["lock"], 0.0) is None
