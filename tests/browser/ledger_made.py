"""A ledger and flags as deployments and switches leave them, for drawing: generated, always the same for the same moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

PEOPLE = ("ada@desk", "bo@desk", "grace@laptop", "linus@home")
HOSTS = ("app1", "app2", "app3", "app4")
HOSTILE = "<script>document.title='owned'</script> & 'quotes' \"double\""
STEPS = {"stage": 1.2, "drain": 0.2, "switch": 0.05, "restart": 0.3, "healthy": 0.4}


def at(seconds: float) -> str:
    """A moment as the ledger writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def release(number: int) -> str:
    """The release of the n-th deployment."""
    return f"1.{number}.0-{number:08x}"


def said(event: str, number: int, begin: float, **more: Any) -> dict[str, Any]:
    """What every record has."""
    return {
        "schema": 1,
        "event": event,
        "run": f"run-{number:05}",
        "kind": "deploy",
        "environment": "production",
        "application": "storefront",
        "by": PEOPLE[number % len(PEOPLE)],
        "on_behalf_of": None,
        "reason": f"change number {number}",
        "at": at(begin),
        **more,
    }


def started(number: int, begin: float, **more: Any) -> dict[str, Any]:
    """A deployment that began; what it brings was committed an hour before."""
    commit = {"commit": f"{number:040x}", "author": "Ada", "at": at(begin - 3600), "subject": f"Do thing {number}"}
    about: dict[str, Any] = {
        "from": [release(number - 1)],
        "to": release(number),
        "version": f"1.{number}.0",
        "digest": f"{number:064x}",
        "hosts": list(HOSTS),
        "waves": [["app1"], ["app2", "app3", "app4"]],
        "commits": {"from": f"{number - 1:040x}", "to": f"{number:040x}", "list": [commit]},
        "continues": None,
        "plan": None,
        "forced": None,
        "lock_broken": None,
        "estimated_seconds": 12.5,
    }
    return said("started", number, begin, **{**about, **more})


def ended(number: int, begin: float, outcome: str = "deployed", readings: int = 0, **more: Any) -> dict[str, Any]:
    """Its end, half a minute later."""
    now = release(number if outcome == "deployed" else number - 1)
    seen = [
        {
            "at": at(begin + look),
            "new": {"requests": 50, "errors": 0 if outcome == "deployed" else look % 4, "p95_ms": 40.0 + look},
            "old": {"requests": 150, "errors": 0, "p95_ms": 40.0},
        }
        for look in range(1, readings + 1)
    ]
    gate = {"verdict": "pass" if outcome == "deployed" else "fail", "line": "new and old compared", "readings": seen} if readings else None
    host = {"outcome": outcome, "from": release(number - 1), "to": now, "seconds": 2.15, "steps": STEPS}
    about: dict[str, Any] = {
        "outcome": outcome,
        "cause": "" if outcome == "deployed" else "app1: 3 of 50 requests failed",
        "seconds": 30.0,
        "from": [release(number - 1)],
        "to": release(number),
        "version": f"1.{number}.0",
        "waves": [
            {"hosts": ["app1"], "outcome": outcome, "seconds": 10.0, "gate": gate},
            {"hosts": ["app2", "app3", "app4"], "outcome": outcome, "seconds": 15.0, "gate": None},
        ],
        "hosts": dict.fromkeys(HOSTS, host),
        "flags": [],
        "phases": {"plan": 2.0, "stage": 3.0, "roll": 25.0},
    }
    return said("ended", number, begin + 30, **{**about, **more})


def switched(number: int, begin: float, told: str, **more: Any) -> dict[str, Any]:
    """A feature flag that somebody switched."""
    return said("noted", number, begin, **{"kind": "flag", "run": f"flag-{number:05}", "text": told, **more})


def live_flags(now: float) -> dict[str, Any]:
    """What lies in the folder of the live flags, by the name of the file: two as declared, one of them expired, one switched and past its end, and a
    switch of one that is not declared any more.
    """

    def declared(variant: str, expires: float | None, **more: Any) -> dict[str, Any]:
        about = {"owner": "shop", "kind": "release", "expires": expires and at(expires)[:10]}
        return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": variant, "metadata": about, **more}

    who = {"by": "robot@ops1", "on_behalf_of": "ada@desk", "at": at(now - 7200), "reason": HOSTILE, "until": at(now - 60)}
    flags = {
        "checkout": declared("off", now + 86400 * 30),
        "discount": declared("on", now - 86400 * 3),
        "search": declared("off", None, targeting={"if": [True, "on", "off"]}),
    }
    overrides = {"checkout": {"state": {"percent": 10}, **who}, "gone": {"state": {"to": "off"}, **who, "until": None}}
    state = {"schema": 1, "environment": "production", "generation": 7, "overrides": overrides, "changed": {"discount": who}}
    return {"state.json": state, "flags.json": {"flags": flags, "metadata": {"environment": "production", "generation": 7}}}


def ledger(count: int, now: float, apart: float = 7200.0) -> bytes:
    """`count` deployments, the last one an hour before `now`: every 20th was rolled back, the 30th before the last never ended, and the last has
    a hostile reason. Then two switches of a flag.
    """
    records = []
    for number in range(1, count + 1):
        begin = now - 3600 - (count - number) * apart
        more = {"reason": HOSTILE} if number == count else {}
        records.append(started(number, begin, **more))
        if number != count - 30:
            bad = number % 20 == 0
            records.append(ended(number, begin, "rolled_back" if bad else "deployed", 12 if bad or number == count else 0, **more))
    records.append(switched(1, now - 7200, "checkout: off, now on for 10 %", by="robot@ops1", on_behalf_of="ada@desk", reason=HOSTILE))
    records.append(switched(2, now - 60, "discount: on, now off"))
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)
