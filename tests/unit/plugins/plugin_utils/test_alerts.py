"""What people are told of a fleet without asking: what is wrong, and nothing that is as it is meant to be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import alerts

LIVE = {"generation": 7, "digest": "d7", "flags": []}
HELD = {"generation": 7, "digest": "d7"}


def report(**more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"reachable": True, "trouble": None, "live": "1.0.0-aa", "drift": [], "healthy": True}
    return {**usual, **more}


def balancer(status: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"trouble": None, "backends": {"shop": {host: {"status": word} for host, word in status.items()}}, "maintenance": {}, **more}


def told(
    first: dict[str, Any] | None = None,
    status: str = "UP",
    busy: bool = False,
    held: dict[str, Any] | None = None,
    live: dict[str, Any] | None = None,
    **more: Any,
) -> list[str]:
    """The alerts of three hosts of which the first is as told."""
    reports = {"app1": report() if first is None else first, "app2": report(), "app3": report()}
    balancers = {"lb1": balancer({"app1": status, "app2": "UP", "app3": "UP 1/3"}, **more)}
    flags = {"app1": HELD if held is None else held, "app2": HELD, "app3": HELD}
    return alerts.lines(alerts.found(reports, balancers, "shop", busy, LIVE if live is None else live, flags))


def test_of_a_fleet_that_is_well_there_is_nothing_to_tell() -> None:
    assert told() == ["Nothing is wrong."]
    assert told(held={"generation": 0, "trouble": "no file"}, live={"generation": 0}) == ["Nothing is wrong."]


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (report(reachable=False, trouble="No route to host.\nmore"), "app1: out of reach: No route to host; playbooks/status.yml shows the fleet"),
        (
            {"failed": True, "msg": "Timed out after 15 second(s)."},
            "app1: out of reach: Timed out after 15 second(s); playbooks/status.yml shows the fleet",
        ),
        (report(trouble="the journal cannot be read"), "app1: the journal cannot be read; playbooks/status.yml shows the fleet"),
        (report(drift=["a file was changed"]), "app1: a file was changed; playbooks/reconcile.yml brings it right"),
        (report(live="0.9.0-bb"), "app1: it runs 0.9.0-bb, and the fleet runs 1.0.0-aa; playbooks/reconcile.yml brings it right"),
        (report(live=None), "app1: it runs nothing, and the fleet runs 1.0.0-aa; playbooks/reconcile.yml brings it right"),
        (report(healthy=False, health_answer="503"), "app1: its application is not healthy: 503; playbooks/status.yml shows the fleet"),
    ],
)
def test_a_host_that_is_wrong_is_told_once_with_what_to_type(first: dict[str, Any], line: str) -> None:
    assert told(first, status="DOWN", held={"generation": 0, "msg": "no answer"} if not first.get("reachable") else None) == [line]


def test_a_host_that_gets_no_requests_is_told_but_not_where_somebody_took_the_application_away() -> None:
    assert told(status="MAINT") == ["app1: lb1 sends it no requests (MAINT); playbooks/status.yml shows the fleet"]
    assert told(status="MAINT", maintenance={"shop": {}}) == ["Nothing is wrong."]
    assert told(trouble="HAProxy gave no answer.", status="?") == ["lb1: HAProxy gave no answer; playbooks/status.yml shows the fleet"]


def test_while_a_run_has_the_lock_only_what_it_does_not_do_is_told() -> None:
    assert told(report(live="2.0.0-cc", healthy=False), status="DRAIN", busy=True) == ["Nothing is wrong."]
    (line,) = told(report(reachable=False, trouble="No route to host"), busy=True)
    assert line.startswith("app1: out of reach")


def test_flags_that_a_host_does_not_hold_are_told_with_how_they_come_there() -> None:
    assert told(held={"generation": 7, "digest": "x", "trouble": "its file is damaged: site.yml repairs it"}) == [
        "app1: its file is damaged: site.yml repairs it"
    ]
    (line,) = told(held={"generation": 6, "digest": "d6"}, busy=True)
    assert line == "app1: it holds generation 6, and 7 is live; playbooks/flag.yml without a flag brings what is live"


def test_an_alert_keeps_its_name_while_its_words_change() -> None:
    def names(**more: Any) -> set[str]:
        return set(alerts.found({"app1": report(**more), "app2": report()}, {}, "shop", False, LIVE, {"app1": HELD, "app2": {}}))

    assert names(drift=["one"]) == names(drift=["one", "two"]) == {"app1", "flags of app2"}
    assert names() == {"flags of app2"}


def test_a_host_of_any_name_is_told_of_its_flags() -> None:
    held = {"2001:db8::1": {"generation": 4, "digest": "d4"}, "app2": HELD}
    found = alerts.found({host: report() for host in held}, {}, "shop", False, LIVE, held)
    assert found == {
        "flags of 2001:db8::1": "2001:db8::1: it holds generation 4, and 7 is live; playbooks/flag.yml without a flag brings what is live"
    }
