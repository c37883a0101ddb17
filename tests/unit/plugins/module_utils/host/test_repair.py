"""Whoever finds a transaction that was cut short restarts only what it may have touched."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal, system, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config

WEB, RETURN = "shop-web.service", "shop-return.service"


@pytest.mark.parametrize("step", journal.STEPS)
def test_only_processes_that_were_touched_are_restarted(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    done: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(system, "systemctl", lambda verb, units, *_options: done.append((verb, list(units))))
    (tmp_path / "srv" / "releases").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    config = Config("shop", "shop", "shop", str(tmp_path / "srv"), str(tmp_path / "state"), (WEB,), None, None, None, 3, "")
    for kind, at, release in (("activate", "done", "1"), ("activate", "begin", "2"), ("activate", step, "2")):
        journal.append(config.journal, {"transaction": f"run-{release}", "kind": kind, "step": at, "release": release, "previous": "1"})

    assert transaction.repair(config)["release"] == ("2" if step == "ready" else "1")

    touched = step in ("switch", "restart", "healthy")
    assert done == [("restart", [WEB, RETURN] if touched else [RETURN])]
    assert transaction.repair(config) == {"changed": False}
