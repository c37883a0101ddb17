"""The flags that the ops host signs a host believes; an older generation never replaces a newer one, and what is right stays as it is."""

from __future__ import annotations

import json
import pathlib
import subprocess
import types
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.tossable.fleet.plugins.action import signed_flags as action
from ansible_collections.tossable.fleet.plugins.module_utils.host import desired, flag_file, signed
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError


class Store(action.ActionModule):
    """The action without Ansible around it; the store is a folder of this machine."""

    def __init__(self, check_mode: bool = False, reachable: bool = True) -> None:
        self._task = types.SimpleNamespace(check_mode=check_mode)
        self.reachable = reachable

    def _low_level_execute_command(self, command: str, in_data: bytes | None = None) -> dict[str, Any]:
        if not self.reachable:
            raise AnsibleConnectionFailure("no route")
        done = subprocess.run(["sh", "-c", command], input=in_data or b"", capture_output=True, check=False)
        # As ssh does: a command that nothing is sent to gets a terminal.
        stdout = done.stdout.decode().replace("\n", "\r\n") if in_data is None else done.stdout.decode()
        return {"rc": done.returncode, "stdout": stdout, "stderr": done.stderr.decode()}


def line(generation: int) -> str:
    """A line of flags, with another generation in a flag of it."""
    told = {"flags": {"x": {"variants": {"on": {"generation": 99}}}}, "metadata": {"environment": "lab", "generation": generation}}
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    return folder


def publish(root: pathlib.Path, key: pathlib.Path, generation: int, **how: bool) -> tuple[bool, str]:
    given = {"root": str(root), "environment": "lab", "content": line(generation), "signing_key": str(key)}
    return Store(**how)._publish(given)


def test_what_is_signed_a_host_believes_and_a_second_time_changes_nothing(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    assert publish(tmp_path, keys / "one", 7) == (True, "Signed for hosts that come back later: flags of generation 7.")
    path = tmp_path / "flags-lab.signed"
    raw = path.read_bytes()
    (tmp_path / "signers").write_text(f'flags@ops1 namespaces="{flag_file.NAMESPACE}" {(keys / "one.pub").read_text()}')
    proved = signed.prove(raw, str(tmp_path), str(tmp_path / "signers"), flag_file.NAMESPACE)
    assert flag_file.parse(proved, "lab").generation == 7
    with pytest.raises(HostError):
        signed.prove(raw, str(tmp_path), str(tmp_path / "signers"), desired.NAMESPACE)
    assert publish(tmp_path, keys / "one", 7) == (False, "Signed for hosts that come back later: flags of generation 7, as before.")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (raw, 0o644)


def test_an_earlier_generation_does_not_replace_a_later_one(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    publish(tmp_path, keys / "one", 8)
    changed, told = publish(tmp_path, keys / "one", 7)
    assert (changed, "a later one is there" in told) == (False, True)
    assert b'"generation":8' in (tmp_path / "flags-lab.signed").read_bytes()
    assert publish(tmp_path, keys / "one", 9)[0]


def test_what_another_key_signed_or_somebody_altered_is_signed_again(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    publish(tmp_path, keys / "other", 7)
    assert publish(tmp_path, keys / "one", 7)[0], "the key has changed"
    path = tmp_path / "flags-lab.signed"
    altered = path.read_text().splitlines()
    altered[-2] = altered[-2].swapcase()
    path.write_text("\n".join(altered) + "\n")
    assert publish(tmp_path, keys / "one", 7)[0], "the signature is broken"


def test_check_mode_says_what_would_change_and_writes_nothing(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    assert publish(tmp_path, keys / "one", 7, check_mode=True)[0]
    assert list(tmp_path.iterdir()) == []
    publish(tmp_path, keys / "one", 7)
    assert not publish(tmp_path, keys / "one", 7, check_mode=True)[0]


def test_what_cannot_be_signed_or_written_is_said(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    with pytest.raises(HostError, match=r"no key .*none, which the role feature_flags makes: run site.yml"):
        publish(tmp_path, keys / "none", 7)
    (tmp_path / "torn").write_text("no key")
    (tmp_path / "torn").chmod(0o600)
    with pytest.raises(HostError, match=r"could not be written: .*torn"):
        publish(tmp_path, tmp_path / "torn", 7)
    with pytest.raises(HostError, match="could not be written"):
        publish(tmp_path / "nowhere", keys / "one", 7)
    with pytest.raises(AnsibleConnectionFailure):
        publish(tmp_path, keys / "one", 7, reachable=False)
