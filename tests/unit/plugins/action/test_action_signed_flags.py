"""The flags that the controller signs a host believes; an older generation never replaces a newer one, and what is right stays as it is."""

from __future__ import annotations

import json
import pathlib
import subprocess
import types
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.tossable.fleet.plugins.action import signed_flags as action
from ansible_collections.tossable.fleet.plugins.module_utils.host import flag_file, signed
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import signed_file


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
    for kind in ("ed25519", "ecdsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / kind)], check=True)
    return folder


def publish(root: pathlib.Path, key: pathlib.Path, generation: int, **how: bool) -> tuple[bool, str]:
    given = {"root": str(root), "environment": "lab", "content": line(generation), "signing_key": str(key)}
    return Store(**how)._publish(given)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_what_is_signed_a_host_believes_and_a_second_time_changes_nothing(tmp_path: pathlib.Path, keys: pathlib.Path, kind: str) -> None:
    assert publish(tmp_path, keys / kind, 7) == (True, "Signed for hosts that come back later: flags of generation 7.")
    raw = (tmp_path / "flags-lab.signed").read_bytes()
    (tmp_path / "signers").write_text(f'builder@lab namespaces="{flag_file.NAMESPACE}" {(keys / f"{kind}.pub").read_text()}')
    proved = signed.prove(raw, str(tmp_path), str(tmp_path / "signers"), flag_file.NAMESPACE)
    assert flag_file.parse(proved, "lab").generation == 7
    assert publish(tmp_path, keys / kind, 7)[0] is False
    assert (tmp_path / "flags-lab.signed").read_bytes() == raw


def test_an_earlier_generation_does_not_replace_a_later_one(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    publish(tmp_path, keys / "ed25519", 8)
    changed, told = publish(tmp_path, keys / "ed25519", 7)
    assert (changed, "a later one is there" in told) == (False, True)
    assert b'"generation":8' in (tmp_path / "flags-lab.signed").read_bytes()
    assert publish(tmp_path, keys / "ed25519", 9)[0]


def test_what_another_key_signed_or_somebody_altered_is_signed_again(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    publish(tmp_path, keys / "ecdsa", 7)
    assert publish(tmp_path, keys / "ed25519", 7)[0], "the key has changed"
    publish(tmp_path, keys / "ecdsa", 7)
    path = tmp_path / "flags-lab.signed"
    altered = path.read_text().splitlines()
    altered[-2] = altered[-2].swapcase()
    path.write_text("\n".join(altered) + "\n")
    assert publish(tmp_path, keys / "ecdsa", 7)[0], "the signature is broken"


def test_check_mode_says_what_would_change_and_writes_nothing(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    assert publish(tmp_path, keys / "ed25519", 7, check_mode=True)[0]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_signed_or_written_is_said(tmp_path: pathlib.Path, keys: pathlib.Path) -> None:
    with pytest.raises(HostError, match="no key at"):
        publish(tmp_path, keys / "none", 7)
    with pytest.raises(HostError, match="could not write"):
        publish(tmp_path / "nowhere", keys / "ed25519", 7)
    with pytest.raises(AnsibleConnectionFailure):
        publish(tmp_path, keys / "ed25519", 7, reachable=False)
    assert signed_file.key_trouble("") is not None
