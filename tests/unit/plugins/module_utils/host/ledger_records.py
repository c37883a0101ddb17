"""Records of the ledger, as tests need them."""

from __future__ import annotations

from typing import Any

BASE = {"schema": 1, "environment": "lab", "application": "shop", "by": "ada@desk", "on_behalf_of": None, "reason": ""}


def moment(second: int) -> str:
    """A moment of one hour, by its second."""
    return f"2026-11-25T10:{second // 60:02}:{second % 60:02}.000Z"


def started(run: str, second: int = 0, **more: Any) -> dict[str, Any]:
    """A run that began."""
    about = {"from": ["1-aaaaaaaa"], "to": "2-bbbbbbbb", "version": "2", "digest": "b" * 64, "hosts": ["app1"], "waves": [["app1"]]}
    rest = dict.fromkeys(("commits", "continues", "plan", "forced", "lock_broken", "estimated_seconds"))
    return {**BASE, "event": "started", "at": moment(second), "run": run, "kind": "deploy", **about, **rest, **more}


def ended(run: str, second: int = 1, **more: Any) -> dict[str, Any]:
    """The end of it."""
    host = {"outcome": "deployed", "from": "1-aaaaaaaa", "to": "2-bbbbbbbb", "seconds": 0.9, "steps": {"switch": 0.1}}
    wave = {"hosts": ["app1"], "outcome": "deployed", "seconds": 1.0, "gate": None}
    came = {"outcome": "deployed", "cause": "", "seconds": 1.0, "waves": [wave], "hosts": {"app1": host}, "flags": [], "phases": {"roll": 1.0}}
    about = {"from": ["1-aaaaaaaa"], "to": "2-bbbbbbbb", "version": "2"}
    return {**BASE, "event": "ended", "at": moment(second), "run": run, "kind": "deploy", **about, **came, **more}


def noted(run: str, second: int = 0, **more: Any) -> dict[str, Any]:
    """Something else that somebody did."""
    return {**BASE, "event": "noted", "at": moment(second), "run": run, "kind": "unlock", "text": "the lock was broken", **more}
