# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes into the ledger about a run: its records, made of what the tasks of the run returned. Pure functions.

A *plan* is what `release_plan` or `contract_plan` returned, a *lock* what `deployment_lock` returned; *results* hold for each host what its
tasks registered (`results`). Times that are only subtracted are in seconds since the controller's boot, as `deployment_lock.uptime` counts.
docs/ledger.schema.json describes what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ansible_collections.tossable.fleet.plugins.module_utils.host.ledger_runs import SCHEMA, Record

from . import gate

Plan = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Any]]

#: What tasks register for each host, and how it is called here.
REGISTERED = {
    "release_staged": "staged",
    "release_switch": "switched",
    "release_recovered": "recovered",
    "release_migrated": "migrated",
    "release_given_up": "given_up",
    "release_stranded": "stranded",
}
#: Characters of a line that was told.
WIDTH = 1000


class Who(NamedTuple):
    """What every record says: whose run it is, and about what. ``by`` and ``on_behalf_of`` may have been typed, ``account`` (account@host) is the
    controller's own, which nobody types."""

    run: str
    kind: str
    environment: str
    application: str
    by: str
    on_behalf_of: str | None
    reason: str
    account: str = ""


class Course(NamedTuple):
    """How a run went, as the controller kept it.

    ``aborted`` is empty where nothing failed, else it holds ``host`` and ``reason``; ``lost`` names the hosts that were left out because they were
    dead, each with what was found; ``held`` tells whether the lock was still held when the run ended. ``judged`` holds what the gate said of
    a wave last (``verdict``, ``line``, and ``readings``, how many there were by then), by one of the wave's hosts, and ``readings`` are all of them.
    """

    aborted: Mapping[str, Any]
    lost: Mapping[str, str]
    held: bool
    judged: Mapping[str, Mapping[str, Any]]
    readings: Sequence[Mapping[str, Any]]


def results(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the tasks of the run registered for each host."""
    # Ansible puts all variables of a host together each time that it is asked for them.
    known = {host: hostvars[host] for host in hosts}
    return {host: {name: told[key] for key, name in REGISTERED.items() if key in told} for host, told in known.items()}


def moment(seconds: float) -> str:
    """Unix seconds as the ledger writes a moment (UTC)."""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{at.microsecond // 1000:03}Z"


def one_line(text: object) -> str:
    """Anybody's text in one line."""
    return " ".join(str(text or "").split())[:WIDTH]


def writable(value: Any) -> Any:
    """The same text, list or mapping, with ``?`` for what UTF-8 cannot hold: a letter that was cut in half on its way here."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {writable(key): writable(one) for key, one in value.items()}
    return [writable(one) for one in value] if isinstance(value, list | tuple) else value


def _record(event: str, who: Who, at: float, **more: Any) -> Record:
    told = {**who._asdict(), "on_behalf_of": who.on_behalf_of or None, "account": who.account or None, "reason": one_line(who.reason)}
    return {"schema": SCHEMA, "event": event, "at": moment(at), **told, **more}


def noted(who: Who, at: float, text: str, flags: Sequence[Mapping[str, Any]] = ()) -> Record:
    """Something that somebody did, other than a run; ``flags`` are the feature flags that it switched (``flag``, ``before`` and ``after``)."""
    switched = [{word: one_line(flag[word]) for word in ("flag", "before", "after")} for flag in flags]
    return _record("noted", who, at, text=one_line(text), **({"flags": switched} if switched else {}))


def started(who: Who, at: float, plan: Plan, lock: Mapping[str, Any], hosts: Sequence[str], forced: str) -> Record:
    """A run whose plan was accepted, before anything is staged."""
    estimate = (plan.get("estimate") or {}).get("seconds")
    return _record(
        "started",
        who,
        at,
        **_releases(plan),
        digest=plan.get("digest") or "",
        hosts=list(plan.get("hosts") or hosts),
        waves=waves(plan),
        commits=_commits(plan.get("changes") or ()),
        continues=lock.get("continues") or None,
        plan=plan["id"] if plan.get("confirmed") else None,
        forced=one_line(forced) or None,
        lock_broken=lock.get("broken") or None,
        estimated_seconds=estimate,
    )


def _releases(plan: Plan) -> dict[str, Any]:
    """Where the run goes from and to; contract migrations stay where they are."""
    to = str(plan["release"])
    came_from = [move["from"] for move in plan["hosts"].values()] if "hosts" in plan else [to]
    return {"from": sorted({release for release in came_from if release}), "to": to, "version": to.rpartition("-")[0]}


def waves(plan: Plan) -> list[list[str]]:
    """The names of the hosts of each wave, without those that the plan left out."""
    found: dict[int, list[str]] = {}
    for host, move in (plan.get("hosts") or {}).items():
        if move["wave"]:
            found.setdefault(move["wave"], []).append(host)
    return [found[number] for number in sorted(found)]


def _commits(changes: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """From the release that most hosts run; those that go away on the way back are not in the list."""
    if not changes:
        return None
    commits = max(changes, key=lambda one: len(one["hosts"]))["commits"] or {}
    if not commits.get("from") or not commits.get("to"):
        return None
    return {"from": commits["from"], "to": commits["to"], "list": (commits["added"] or {}).get("list", [])}


def ended(who: Who, at: float, plan: Plan, found: Results, course: Course, clock: Mapping[str, float]) -> Record:
    """The end of a run, whatever has become of it.

    ``clock`` holds when it ``began`` (took the lock), when its plan was ``accepted``, and ``now``.
    """
    hosts = {host: _host(who.kind, host, move, found.get(host, {}), course) for host, move in plan["hosts"].items()}
    reached = [wave for wave in waves(plan) if any(_ran(found.get(host, {}).get("switched")) for host in wave)]
    outcome, cause = _outcome(who.kind, hosts, found, course)
    return _record(
        "ended",
        who,
        at,
        outcome=outcome,
        cause=cause,
        seconds=_span(clock["began"], clock["now"]),
        **_releases(plan),
        waves=_waves(who.kind, plan, hosts, found, course, reached, clock["now"]),
        hosts={**hosts, **{host: _left_out() for host in course.lost if host not in hosts}},
        # Those that were switched meanwhile are known where the ledger is kept.
        flags=[],
        phases=_phases(found, reached, clock),
    )


def contracted(who: Who, at: float, plan: Plan, found: Results, clock: Mapping[str, float]) -> Record:
    """The end of contract migrations, which switch nothing."""
    failed = {host: told[step] for host, told in found.items() for step in ("given_up", "migrated") if _failed(told.get(step))}
    release = plan["release"]
    hosts = {}
    for host, told in found.items():
        migrated = told.get("migrated")
        ran = _ran(migrated)
        outcome = "failed" if host in failed else "deployed" if ran else "unchanged"
        hosts[host] = {"outcome": outcome, "from": release, "to": release, "seconds": _seconds(migrated) if ran else None, "steps": {}}
    cause = next((f"{host}: {_first_result(result).get('msg')}" for host, result in failed.items()), "")
    return _record(
        "ended",
        who,
        at,
        outcome="failed" if failed else "deployed",
        cause=one_line(cause),
        seconds=_span(clock["began"], clock["now"]),
        **_releases(plan),
        waves=[],
        hosts=hosts,
        flags=[],
        phases={"plan": _span(clock["began"], clock["accepted"]), "migrate": _span(clock["accepted"], clock["now"])},
    )


def _ran(result: Mapping[str, Any] | None) -> bool:
    return bool(result) and not (result or {}).get("skipped")


def _failed(result: Mapping[str, Any] | None) -> bool:
    return bool(result and result.get("failed"))


def _first_result(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one of a loop's results that failed, or the result itself."""
    return next((one for one in result.get("results") or () if one.get("failed")), result)


def _span(began: float, ended: float) -> float:
    return round(max(ended - began, 0.0), 3)


def _seconds(result: Mapping[str, Any] | None) -> float | None:
    """What a call took: as the host counted it, else as the controller did."""
    if not result or not _ran(result):
        return None
    if result.get("seconds") is not None:
        return float(result["seconds"])
    return _span(**result["clock"]) if "clock" in result else None


def _left_out() -> dict[str, Any]:
    return {"outcome": "left_out", "from": None, "to": None, "seconds": None, "steps": {}}


def _host(kind: str, host: str, move: Mapping[str, Any], told: Mapping[str, Any], course: Course) -> dict[str, Any]:
    """What became of a host, and what it runs now; None where the run does not know."""
    switched, recovered, came_from = told.get("switched"), told.get("recovered"), move["from"]
    if host in course.lost:
        return {**_left_out(), "from": came_from}
    steps = {"stage": told["staged"]["seconds"]} if (told.get("staged") or {}).get("changed") and "seconds" in told["staged"] else {}
    for step in (switched or {}).get("steps") or ():
        steps[step["step"]] = round(steps.get(step["step"], 0.0) + step["seconds"], 3)
    seen = {"from": came_from, "seconds": _seconds(switched), "steps": steps}
    if not _ran(switched):
        return {"outcome": "not_reached", "to": came_from, **seen}
    back = _ran(recovered) and not _failed(recovered) and "stranded" not in told
    if _failed(switched):
        return {"outcome": "failed", "to": came_from if back else None, **seen}
    if _ran(recovered) or "stranded" in told:
        return {"outcome": "rolled_back" if back else "failed", "to": came_from if back else None, **seen}
    went = "unchanged" if not (switched or {}).get("changed") else "rolled_back" if kind == "rollback" else "deployed"
    return {"outcome": went, "to": (switched or {}).get("release") or None, **seen}


def _outcome(kind: str, hosts: Mapping[str, Mapping[str, Any]], found: Results, course: Course) -> tuple[str, str]:
    """How the run ended, and why it did not end well."""
    if course.aborted:
        touched = [told for told in found.values() if _ran(told.get("switched"))]
        back = all(_ran(told.get("recovered")) and not _failed(told["recovered"]) and "stranded" not in told for told in touched)
        cause = one_line(f"{course.aborted['host']}: {course.aborted['reason']}")
        return ("rolled_back" if kind == "deploy" and touched and back and course.held else "failed"), cause
    unfinished = [host for host, told in hosts.items() if told["outcome"] in ("failed", "not_reached")]
    if unfinished:
        return "failed", f"the run ended before it was done on {', '.join(unfinished)}"
    return ("rolled_back" if kind == "rollback" else "deployed"), ""


def _waves(
    kind: str,
    plan: Plan,
    hosts: Mapping[str, Mapping[str, Any]],
    found: Results,
    course: Course,
    reached: Sequence[Sequence[str]],
    now: float,
) -> list[dict[str, Any]]:
    begins = [_first_began(found, wave, "switched", now) for wave in reached]
    recovery = _first_began(found, list(found), "recovered", now)
    told = []
    for wave in waves(plan):
        at = reached.index(wave) if wave in reached else None
        if at is None:
            outcome, seconds = "not_reached", None
        else:
            outcome = _wave_outcome(kind, [hosts[host] for host in wave], bool(course.aborted) and at == len(reached) - 1)
            seconds = _span(begins[at], begins[at + 1] if at + 1 < len(reached) else recovery)
        told.append({"hosts": wave, "outcome": outcome, "seconds": seconds, "gate": _gate(wave, list(hosts), course)})
    return told


def _wave_outcome(kind: str, hosts: Sequence[Mapping[str, Any]], stopped_here: bool) -> str:
    outcomes = {host["outcome"] for host in hosts}
    if outcomes == {"left_out"}:
        return "not_reached"
    if stopped_here or outcomes & {"failed", "not_reached"}:
        return "failed"
    return "rolled_back" if kind == "rollback" or "rolled_back" in outcomes else "deployed"


def _first_began(found: Results, hosts: Sequence[str], what: str, otherwise: float) -> float:
    """When the first of these hosts began with it."""
    return min((clock["began"] for clock in _clocks(found, hosts, what)), default=otherwise)


def _clocks(found: Results, hosts: Sequence[str], what: str) -> list[Mapping[str, float]]:
    """When each of these hosts began and ended with it."""
    results_of = [found.get(host, {}).get(what) for host in hosts]
    return [result["clock"] for result in results_of if result and _ran(result) and "clock" in result]


def _phases(found: Results, reached: Sequence[Sequence[str]], clock: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each phase that there was, from its first call to its last."""
    every, now = list(found), clock["now"]
    staged, migrated, recovered = (_clocks(found, every, what) for what in ("staged", "migrated", "recovered"))
    phases = {"plan": _span(clock["began"], clock["accepted"])}
    if staged:
        phases["stage"] = _span(min(one["began"] for one in staged), max(one["ended"] for one in staged))
    if migrated:
        before = max((one["ended"] for one in staged), default=migrated[0]["began"])
        phases["migrate"] = _span(before, max(one["ended"] for one in migrated))
    if reached:
        phases["roll"] = _span(_first_began(found, every, "switched", now), _first_began(found, every, "recovered", now))
    if recovered:
        phases["recover"] = _span(min(one["began"] for one in recovered), max(one["ended"] for one in recovered))
    return phases


def _gate(wave: Sequence[str], hosts: Sequence[str], course: Course) -> dict[str, Any] | None:
    """What the gate said of the wave last, and the figures of both sides look by look; None where it was not asked."""
    said = max((one for host, one in course.judged.items() if host in wave), key=lambda one: int(one["readings"]), default=None)
    if said is None:
        return None
    upto = int(said["readings"])
    first = max((int(one["readings"]) for host, one in course.judged.items() if host not in wave and int(one["readings"]) < upto), default=1)
    try:
        looks = gate.looks(course.readings, hosts)
    except ValueError:
        looks = []
    readings = [_reading(course.readings[at], looks[at - 1]) for at in range(first, min(upto, len(looks) + 1))]
    return {"verdict": said["verdict"], "line": one_line(said["line"]), "readings": readings}


def _reading(reading: Mapping[str, Any], look: gate.Look) -> dict[str, Any]:
    return {"at": moment(float(reading["at"])), "new": _side(look.new), "old": _side(look.old)}


def _side(side: gate.Side) -> dict[str, Any]:
    slow = gate.quantile(side.latency, gate.QUANTILE)
    return {"requests": round(side.requests), "errors": round(side.errors), "p95_ms": None if slow in (None, float("inf")) else slow}
