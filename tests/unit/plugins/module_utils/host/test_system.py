"""What the host is asked to do ends, or is told in words with how long it had."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import config, system
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

#: As a role wrote it that did not tell how long processes may take to end.
BEFORE = {
    "app": "shop",
    "user": "shop",
    "group": "shop",
    "base": "/srv/shop",
    "state_dir": "/var/lib/tossable/shop",
    "units": ["shop-web.service"],
    "health": None,
    "drain": None,
    "keep_releases": 5,
    "allowed_signers": "/etc/tossable/allowed_signers.d/shop",
}


@pytest.fixture
def never_ends(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever systemd or the system journal is asked, no answer comes."""
    for name in ("systemctl", "journalctl"):
        (tmp_path / name).write_text("#!/bin/sh\nexec tail -f /dev/null\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(system, "START_SECONDS", 0.1)


@pytest.mark.usefixtures("never_ends")
def test_a_stop_that_does_not_end_is_told_with_what_to_look_at() -> None:
    with pytest.raises(
        HostError, match=r"^systemctl restart shop-web\.service did not end within 0\.2 s.*journalctl -u shop-web\.service.*app_processes"
    ):
        system.systemctl("restart", ["shop-web.service"], stop_seconds=0.1)


@pytest.mark.usefixtures("never_ends")
def test_a_command_that_does_not_end_is_told() -> None:
    with pytest.raises(HostError, match=r"^systemctl show did not end within 0\.1 s\."):
        system.run(["systemctl", "show"], 0.1)


@pytest.mark.usefixtures("never_ends")
def test_log_lines_that_cannot_be_had_hide_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = system.run
    monkeypatch.setattr(system, "run", lambda argv: run(argv, 0.1))
    (line,) = system.last_log_lines(["shop-web.service"], 0)
    assert line.startswith("journalctl ")
    assert "did not end" in line


@pytest.mark.parametrize(("told", "seconds"), [({}, 30), ({"stop_timeout_seconds": 600}, 600)])
def test_how_long_processes_may_take_to_end_is_what_the_role_said(told: dict[str, int], seconds: int) -> None:
    assert config.parse(json.dumps({**BEFORE, **told})).stop_timeout_seconds == seconds
