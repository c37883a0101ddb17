"""Where a switch fails the host serves what it ran before, unless it may only serve with the release that the fleet runs."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import balancer, health, journal, system, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError


@pytest.mark.parametrize("fall_back", [True, False])
def test_a_release_that_is_not_healthy(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fall_back: bool) -> None:
    words: list[str] = []
    monkeypatch.setattr(system, "systemctl", lambda *_given: None)
    monkeypatch.setattr(system, "last_log_lines", lambda *_given: [])
    monkeypatch.setattr(health, "process_trouble", lambda _config, release, _just_started=False: "broken" if release == "2-bb" else None)
    monkeypatch.setattr(transaction, "_tell", lambda word, _drain: words.append(word))
    monkeypatch.setattr(balancer, "wait_quiet", lambda *_given: balancer.Quiet(0.0, {}))
    (tmp_path / "state").mkdir()
    drain = balancer.Drain(8000, 1.0, str(tmp_path / "word"), str(tmp_path), 8001)
    config = Config("shop", "shop", "shop", str(tmp_path), str(tmp_path / "state"), ("shop-web.service",), None, None, drain, 3, "")
    journal.append(config.journal, {"transaction": "1", "kind": "activate", "step": "done", "release": "1-aa"})
    for release in ("1-aa", "2-bb"):
        (tmp_path / "releases" / release / ".tossable").mkdir(parents=True)
        (tmp_path / "releases" / release / ".tossable" / "manifest.json").touch()

    with pytest.raises(HostError, match="is back and serving" if fall_back else "stays out of the load balancers"):
        transaction.perform(config, transaction.Request("activate", "2-bb", "run", "by", "why", fall_back=fall_back))

    assert words == ["drain", "maint", *(["ready"] if fall_back else [])]
    assert system.read_link(config.current) == "1-aa"
    assert journal.fold(journal.read(config.journal)).live == "1-aa"
