"""A host that boots asks which release the fleet runs, believes only who may say it, and never hangs for it."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import boot, desired, fence, journal, stage, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config, DesiredSource
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

DIGEST = "ab" * 32
NEW = desired.Desired("shop", "lab", "deploy", "2-abababab", "2", DIGEST, "http://ops/shop/2", "run-2", 7, "2026-01-01T00:00:00Z")


class Host:
    """A host on release 1 whose stage and switch only note that they were asked."""

    def __init__(self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "state").mkdir()
        self.make_key("signer")
        public = (folder / "signer.pub").read_text()
        (folder / "signers").write_text(f'builder@lab namespaces="{desired.NAMESPACE}" {public}')
        source = DesiredSource("http://ops/shop/desired-lab.signed", "lab", 3.0, str(folder / "signers"))
        self.config = Config("shop", "shop", "shop", str(folder), str(folder / "state"), (), None, None, None, 3, "", desired=source)
        self.live("1-aa")
        self.answers: list[bytes | OSError | None] = []
        self.asked: list[Any] = []
        monkeypatch.setattr(boot, "fetch", self.fetch)
        monkeypatch.setattr(boot, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(stage, "perform", lambda _config, *given: self.asked.append(("stage", given[0].release, given[3])))
        monkeypatch.setattr(transaction, "perform", lambda _config, request: self.asked.append((request.kind, request.release, request.fall_back)))
        monkeypatch.setattr(transaction, "enter", lambda _config: {"changed": True})

    def make_key(self, name: str) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)

    def live(self, release: str) -> None:
        journal.append(self.config.journal, {"transaction": release, "kind": "activate", "step": "done", "release": release})

    def fetch(self, _url: str) -> bytes | None:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def sign(self, state: desired.Desired, key: str = "signer", namespace: str = desired.NAMESPACE) -> bytes:
        line = desired.encode(state)
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.folder / key)]
        return line + subprocess.run(argv, input=line, capture_output=True, check=True).stdout


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_it_goes_to_the_release_of_the_fleet_and_does_not_serve_before(host: Host) -> None:
    host.answers = [host.sign(NEW)]
    assert boot.perform(host.config)["moved"] == NEW.release
    assert host.asked == [("stage", NEW.release, NEW.token), ("activate", NEW.release, False)]


def test_it_goes_back_as_the_fleet_did_where_it_knows_that_release(host: Host) -> None:
    host.live(NEW.release)
    host.live("3-cc")
    host.answers = [host.sign(NEW._replace(kind="rollback"))]
    boot.perform(host.config)
    assert host.asked[-1] == ("rollback", NEW.release, False)


def test_a_host_that_is_right_is_left_alone(host: Host) -> None:
    host.live(NEW.release)
    host.answers = [host.sign(NEW)]
    assert boot.perform(host.config) == {"changed": True}
    assert host.asked == []


def test_a_host_that_is_right_is_so_whatever_run_it_has_seen_since(host: Host) -> None:
    """In the middle of a rollout, before its wave: the release that was signed last is still the one it should serve."""
    host.live(NEW.release)
    fence.admit(host.config, 8, "run-3")
    host.answers = [host.sign(NEW)]
    assert boot.perform(host.config) == {"changed": True}


def test_a_run_that_it_has_seen_since_decides(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """In the middle of a rollout: what the file says is older than what the run has left here."""
    fence.admit(host.config, 8, "run-3")
    host.answers = [host.sign(NEW)]
    boot.perform(host.config)
    assert host.asked == []
    assert "<4>" in capsys.readouterr().err
    assert fence.newest(host.config)["token"] == 8


def test_a_store_that_answers_late_is_waited_for(host: Host) -> None:
    host.answers = [OSError("refused"), OSError("refused"), host.sign(NEW)]
    assert boot.perform(host.config)["moved"] == NEW.release


def test_a_store_that_has_none_is_not_waited_for(host: Host) -> None:
    host.answers = [None]
    assert boot.perform(host.config) == {"changed": True}


def test_a_store_that_never_answers_does_not_keep_a_host_down(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(100))
    host.answers = [OSError("refused")] * 4
    assert host.config.desired
    assert boot.wanted(host.config, host.config.desired, host.fetch, lambda: float(next(clock)), lambda _seconds: None) is None
    assert host.answers == []
    assert "serves its own last release" in capsys.readouterr().err


def forged(host: Host) -> dict[str, bytes]:
    host.make_key("other")
    right = host.sign(NEW)
    return {
        "does not list": host.sign(NEW, key="other"),
        "altered after it was signed": right.replace(b'"token": 7', b'"token": 9'),
        "namespace": host.sign(NEW, namespace="artifact@tossable"),
        "no OpenSSH signature": desired.encode(NEW),
        "of the environment": host.sign(NEW._replace(environment="production")),
        "no desired state": host.sign(NEW._replace(url="file:///root")),
    }


@pytest.mark.parametrize(
    "told",
    ["does not list", "altered after it was signed", "namespace", "no OpenSSH signature", "of the environment", "no desired state"],
)
def test_what_nobody_who_may_has_signed_is_not_obeyed(host: Host, capsys: pytest.CaptureFixture[str], told: str) -> None:
    host.answers = [forged(host)[told]]
    assert boot.perform(host.config) == {"changed": True}, "it serves what it ran last"
    assert host.asked == []
    assert fence.newest(host.config)["token"] == 0
    said = capsys.readouterr().err
    assert "<3>The desired state at http://ops/shop/desired-lab.signed is NOT obeyed" in said
    assert told in said


def test_a_host_where_nothing_is_live_asks_nobody(host: Host) -> None:
    journal.append(host.config.journal, {"transaction": "x", "kind": "retire", "step": "done", "release": "1-aa"})
    assert boot.perform(host.config) == {"changed": True}


def test_a_release_that_cannot_be_had_keeps_the_host_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object) -> None:
        raise HostError("no space")

    monkeypatch.setattr(stage, "perform", fail)
    monkeypatch.setattr(transaction, "enter", lambda _config: pytest.fail("it must not serve"))
    host.answers = [host.sign(NEW)]
    with pytest.raises(HostError, match="no space"):
        boot.perform(host.config)


def test_a_switch_that_was_killed_is_mended_before_anything_is_asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "repair", lambda _config: {"changed": True, "release": "1-aa"})
    assert boot.perform(host.config) == {"changed": True, "release": "1-aa"}
