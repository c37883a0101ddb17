"""A host that boots asks which release the fleet runs, believes only who may say it, and never hangs for it."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import boot, desired, fence, flag_file, journal, signed, stage, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config, DesiredSource
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

DIGEST = "ab" * 32
FLAGS_URL = "http://ops/flags-lab.signed"
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
        self.flags: list[bytes | OSError | None] = []
        self.asked: list[Any] = []
        monkeypatch.setattr(signed, "fetch", self.fetch)
        monkeypatch.setattr(signed, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(boot, "FLAGS_SEEN_SECONDS", 0.0)
        monkeypatch.setattr(flag_file, "FOLDER", str(folder / "flags"))
        monkeypatch.setattr(flag_file, "SOURCE", str(folder / "source.json"))
        monkeypatch.setattr(stage, "perform", lambda _config, *given: self.asked.append(("stage", given[0].release, given[3])))
        monkeypatch.setattr(transaction, "perform", lambda _config, request: self.asked.append((request.kind, request.release, request.fall_back)))
        monkeypatch.setattr(transaction, "enter", lambda _config: {"changed": True})

    def make_key(self, name: str) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)

    def live(self, release: str) -> None:
        journal.append(self.config.journal, {"transaction": release, "kind": "activate", "step": "done", "release": release})

    def fetch(self, url: str, _most_bytes: int) -> bytes | None:
        answer = (self.flags if url == FLAGS_URL else self.answers).pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def sign(self, state: desired.Desired, key: str = "signer", namespace: str = desired.NAMESPACE) -> bytes:
        return self.signed(desired.encode(state), key, namespace)

    def signed(self, line: bytes, key: str = "signer", namespace: str = flag_file.NAMESPACE) -> bytes:
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.folder / key)]
        return line + subprocess.run(argv, input=line, capture_output=True, check=True).stdout

    def gets_flags(self, generation: int) -> None:
        """A host that the role has told about flags, with some of this generation; nothing asks for the desired state."""
        about = {"url": FLAGS_URL, "environment": "lab", "wait_seconds": 3.0, "allowed_signers": str(self.folder / "flag_signers")}
        (self.folder / "source.json").write_text(json.dumps(about))
        (self.folder / "flag_signers").write_text(f'builder@lab namespaces="{flag_file.NAMESPACE}" {(self.folder / "signer.pub").read_text()}')
        flag_file.publish(flag_file.FOLDER, flag_file.parse(flags(generation), "lab"))
        self.config = self.config._replace(desired=None)

    def has(self) -> bytes:
        return pathlib.Path(flag_file.FOLDER, flag_file.FILE).read_bytes()


def flags(generation: int, environment: str = "lab", **of: object) -> bytes:
    """A line of flags as a controller publishes it."""
    told = {"flags": of, "metadata": {"environment": environment, "generation": generation}}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"


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
    host.answers = [OSError("refused")]
    assert host.config.desired
    assert boot.wanted(host.config, host.config.desired, time.monotonic() - 4) is None
    assert "serves its own last release" in capsys.readouterr().err


def test_a_store_is_asked_until_the_time_is_over_and_not_longer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "PAUSE_SECONDS", 1.0)
    clock = iter(range(100))
    host.answers = [OSError("refused")] * 4
    with pytest.raises(OSError, match="refused"):
        signed.wait_for("http://ops/x", 9, 3.0, clock=lambda: float(next(clock)), pause=lambda _seconds: None)
    assert host.answers == []


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


def test_a_host_that_missed_a_switch_has_the_flags_before_it_serves(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.gets_flags(3)
    host.flags = [OSError("refused"), host.signed(flags(5, pay={}))]
    served_with: list[bytes] = []

    def enter(_config: Config) -> dict[str, Any]:
        served_with.append(host.has())
        return {"changed": True}

    monkeypatch.setattr(transaction, "enter", enter)
    assert boot.perform(host.config) == {"changed": True, "flags": 5}
    assert served_with == [flags(5, pay={})]
    assert "<5>This host has missed a switch" in capsys.readouterr().err


def test_a_host_gets_flags_and_release_in_one_boot(host: Host) -> None:
    wish = host.config.desired
    host.gets_flags(3)
    host.flags, host.answers = [host.signed(flags(4))], [host.sign(NEW)]
    assert boot.perform(host.config._replace(desired=wish)) == {"changed": True, "moved": NEW.release, "flags": 4}


def test_a_host_that_has_the_flags_is_not_held_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "FLAGS_SEEN_SECONDS", 3600.0)
    host.gets_flags(3)
    host.flags = [host.signed(flags(3))]
    assert boot.perform(host.config) == {"changed": True}


def test_a_host_without_flags_asks_nobody_for_them(host: Host) -> None:
    host.config = host.config._replace(desired=None)
    assert boot.perform(host.config) == {"changed": True}
    assert not pathlib.Path(flag_file.FOLDER).exists()


def bad_flags(host: Host) -> dict[str, bytes | OSError | None]:
    host.make_key("other")
    right = host.signed(flags(5))
    return {
        "<4>http://ops/flags-lab.signed cannot be had": OSError("no route"),
        "<4>There is no http://ops/flags-lab.signed": None,
        "does not list": host.signed(flags(5), key="other"),
        "altered after it was signed": right.replace(b'"generation":5', b'"generation":9'),
        "namespace": host.signed(flags(5), namespace=desired.NAMESPACE),
        "no OpenSSH signature": flags(5),
        "of the environment": host.signed(flags(5, "production")),
        "no line of flags": host.signed(b"[]\n"),
        "(generation 2) are older": host.signed(flags(2)),
        "of the same generation": host.signed(flags(3, pay={})),
    }


BAD_FLAGS = [
    "<4>http://ops/flags-lab.signed cannot be had",
    "<4>There is no http://ops/flags-lab.signed",
    "does not list",
    "altered after it was signed",
    "namespace",
    "no OpenSSH signature",
    "of the environment",
    "no line of flags",
    "(generation 2) are older",
    "of the same generation",
]


@pytest.mark.parametrize("told", BAD_FLAGS)
def test_flags_that_cannot_be_had_or_trusted_change_nothing_and_keep_no_host_out(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    monkeypatch.setattr(signed, "PAUSE_SECONDS", 10.0)
    host.gets_flags(3)
    host.flags = [bad_flags(host)[told]]
    assert boot.perform(host.config) == {"changed": True}
    assert host.has() == flags(3)
    assert told in capsys.readouterr().err


def test_what_the_role_wrote_and_cannot_be_read_keeps_no_host_out(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.gets_flags(3)
    (host.folder / "source.json").write_text("{")
    assert boot.perform(host.config) == {"changed": True}
    assert "<3>The feature flags were NOT brought up to date" in capsys.readouterr().err
