"""Where a switch fails the host serves what it ran before, unless it may only serve with the release that the fleet runs.

Where it cannot leave the load balancers, everything is as it was.
"""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import balancer, health, journal, plan, system, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

GOOD, BAD, LIVE = "3-cc", "2-bb", "1-aa"
TELL, SYSTEMCTL = transaction._tell, system.systemctl


@pytest.fixture
def words() -> list[str]:
    """What the load balancers are told."""
    return []


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> Config:
    """A host in service that runs LIVE; BAD is never healthy."""
    monkeypatch.setattr(system, "systemctl", lambda *_given, **_limit: None)
    monkeypatch.setattr(system, "last_log_lines", lambda *_given: [])
    monkeypatch.setattr(health, "process_trouble", lambda _config, release, _just_started=False: "broken" if release == BAD else None)
    monkeypatch.setattr(transaction, "_tell", lambda word, _drain: words.append(word))
    monkeypatch.setattr(balancer, "wait_quiet", lambda *_given: balancer.Quiet(0.0, {}))
    (tmp_path / "state").mkdir()
    drain = balancer.Drain(8000, 1.0, str(tmp_path / "word"), str(tmp_path), 8001)
    made = Config("shop", "shop", "shop", str(tmp_path), str(tmp_path / "state"), ("shop-web.service",), None, None, drain, 3, "")
    journal.append(made.journal, {"transaction": "1", "kind": "activate", "step": "done", "release": LIVE})
    for release in (LIVE, BAD, GOOD):
        (tmp_path / "releases" / release / ".tossable").mkdir(parents=True)
        (tmp_path / "releases" / release / ".tossable" / "manifest.json").touch()
    system.point_link(made.current, f"releases/{LIVE}")
    return made


def activate(config: Config, release: str, fall_back: bool = True) -> None:
    transaction.perform(config, transaction.Request("activate", release, "run", "by", "why", fall_back=fall_back))


@pytest.mark.parametrize("fall_back", [True, False])
def test_a_release_that_is_not_healthy(config: Config, words: list[str], fall_back: bool) -> None:
    with pytest.raises(HostError, match="is back and serving" if fall_back else "stays out of the load balancers"):
        activate(config, BAD, fall_back)

    assert words == ["drain", "maint", *(["ready"] if fall_back else [])]
    assert system.read_link(config.current) == LIVE
    assert journal.fold(journal.read(config.journal)).live == LIVE


@pytest.mark.parametrize(
    ("verb", "previous", "says"),
    [
        ("restart", LIVE, f"The previous release {LIVE} was put back and is not healthy either (systemctl restart failed with 1)"),
        ("reset-failed", LIVE, f"The previous release {LIVE} was put back and is not healthy either (systemctl reset-failed failed with 1)"),
        ("stop", None, "There is no previous release to put back, and this one is not stopped (systemctl stop failed with 1)"),
    ],
)
def test_a_way_back_that_systemd_refuses_ends_with_what_was_wrong_and_a_bad_release(
    config: Config, monkeypatch: pytest.MonkeyPatch, words: list[str], verb: str, previous: str | None, says: str
) -> None:
    def refuse(asked: str, _units: object, **_limit: float) -> None:
        if asked == verb and any(record["step"] == "revert" for record in journal.read(config.journal)):
            raise HostError(f"systemctl {verb} failed with 1.", ["Job failed."])

    monkeypatch.setattr(system, "systemctl", refuse)
    if previous is None:
        pathlib.Path(config.journal).unlink()

    with pytest.raises(HostError, match=re.escape(f"{BAD} did not become healthy: broken. {says}")) as caught:
        activate(config, BAD)

    assert "Job failed." in caught.value.evidence
    assert words[-1] == "maint"
    state = journal.fold(journal.read(config.journal))
    assert (state.flight, state.bad[BAD]["step"], state.bad[BAD]["error"]) == (None, "failed", "broken")


def test_a_stop_that_does_not_end_brings_the_previous_release_back(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    def run(argv: list[str], timeout: float, **_more: object) -> subprocess.CompletedProcess[str]:
        if argv[1] == "restart":
            limits.append(timeout)
            if len(limits) == 1:
                raise subprocess.TimeoutExpired(argv, timeout)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(system, "systemctl", SYSTEMCTL)
    monkeypatch.setattr(subprocess, "run", run)

    with pytest.raises(HostError, match=rf"{GOOD} did not become healthy: .* did not end within 690 s.*{LIVE} is back and serving"):
        activate(config._replace(stop_timeout_seconds=600), GOOD)

    assert limits == [690, 690]
    assert system.read_link(config.current) == LIVE
    assert journal.fold(journal.read(config.journal)).flight is None


def deaf_to(monkeypatch: pytest.MonkeyPatch, deaf: str) -> None:
    """A load balancer does not take this word."""

    def taken(word: str, *_given: object) -> balancer.Taken:
        return balancer.Taken(word, {}, ("10.0.0.2",) if word == deaf else (), word)

    monkeypatch.setattr(transaction, "_tell", TELL)
    monkeypatch.setattr(balancer, "wait_taken", taken)


@pytest.mark.parametrize("before", ["ready", "maint"])
@pytest.mark.parametrize("deaf", ["drain", "maint"])
def test_a_host_that_cannot_leave_has_the_word_from_before(config: Config, monkeypatch: pytest.MonkeyPatch, before: str, deaf: str) -> None:
    deaf_to(monkeypatch, deaf)
    assert config.drain is not None
    balancer.announce(before, config.drain)
    with pytest.raises(HostError, match=f"did not take the word {deaf}"):
        activate(config, GOOD)
    assert balancer.read_word(config.drain.state_file) == before
    assert journal.read(config.journal)[-1]["step"] == "abandoned"


@pytest.mark.parametrize("going", [True, False])
@pytest.mark.parametrize("deaf", ["drain", "maint"])
def test_a_host_that_cannot_be_taken_out_is_as_before(config: Config, monkeypatch: pytest.MonkeyPatch, going: bool, deaf: str) -> None:
    asked: list[str] = []
    active = system.UnitStatus("activating" if going else "inactive", 0, 0, False)
    monkeypatch.setattr(system, "unit_status", lambda units: dict.fromkeys(units, active))
    monkeypatch.setattr(system, "systemctl", lambda verb, units, *options: asked.append(" ".join((verb, *units, *options))))
    deaf_to(monkeypatch, deaf)
    assert config.drain is not None
    balancer.announce("ready", config.drain)
    with pytest.raises(HostError, match=f"did not take the word {deaf}"):
        transaction.leave(config)
    assert balancer.read_word(config.drain.state_file) == "ready"
    assert asked == ["stop shop-return.service", *(["start shop-return.service --no-block"] if going else [])]


@pytest.mark.parametrize("release", [LIVE, BAD])
def test_a_host_comes_back_only_with_a_release_that_is_fit_to_serve(config: Config, words: list[str], release: str) -> None:
    journal.append(config.journal, {"transaction": "2", "kind": "activate", "step": "done", "release": release})
    system.point_link(config.current, f"releases/{release}")
    if release == LIVE:
        assert transaction.enter(config) == {"changed": True}
        assert words == ["ready"]
        return
    with pytest.raises(HostError, match=f"{BAD} is not fit to serve: broken"):
        transaction.enter(config)
    assert words == []


@pytest.mark.parametrize("release", [GOOD, BAD])
def test_wherever_it_is_killed_a_bad_release_is_left_for_good(config: Config, release: str) -> None:
    """After every record in turn: from the beginning of the way back on, whoever mends goes that way, and the release is bad, with the reason."""
    try:
        activate(config, release)
    except HostError:
        assert release == BAD
    before, *records = journal.read(config.journal)
    back = ["revert", "ready", "reverted"]
    assert [record["step"] for record in records] == [*journal.STEPS[:-1], *(back if release == BAD else ["ready", "done"])]

    for count, record in enumerate(records, 1):
        journal_path = pathlib.Path(config.journal)
        journal_path.unlink()
        for kept in (before, *records[:count]):
            journal.append(config.journal, kept)
        mend = plan.mend(journal.fold(journal.read(config.journal)).flight)
        forward = record["step"] == "ready" and release == GOOD
        assert mend == (None if record["step"] in journal.ENDS else plan.Mend(forward, release if forward else LIVE))

        transaction.repair(config)

        state = journal.fold(journal.read(config.journal))
        assert state.live == (release if forward or record["step"] == "done" else LIVE)
        assert {name: why["error"] for name, why in state.bad.items()} == ({BAD: "broken"} if record["step"] in back and release == BAD else {})
