# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment or a rollback will do on which host, and everything that stands in its way. Pure functions.

A *report* is what `release_info` returned for a host, a *balancer* what `balancer_info` returned for a load balancer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from ansible_collections.tossable.fleet.plugins.module_utils.host.desired import Desired

from . import reaching, release_request

Report = Mapping[str, Any]

#: Free bytes on a host beyond what staging takes.
RESERVE_BYTES = 64 * 1024 * 1024
#: What stands in the way where no host runs a release, and none was ever signed.
NOTHING_KNOWN = "There is no signed desired state, and no release that most hosts run (nothing on any). Say which one with -e version=..."


class Target(NamedTuple):
    """Where the fleet goes: ``digest`` is the archive's sha256 (64 hex digits), ``size`` what staging takes on disk (bytes)."""

    version: str
    release: str
    digest: str
    size: int


def host_obstacles(host: str, report: Report) -> list[str]:
    """Why this host cannot take part, in words; empty when it can."""
    trouble = _trouble(report)
    if _dead(report):
        why = reaching.refused(host, trouble) or f"{host} is down: {trouble}. Mend or toss it."
        return [f"{why} Or leave it out with --limit '!{host}'."]
    if report.get("trouble") or not report.get("reachable"):
        return [f"{host}: {trouble.rstrip('.')}. Or leave it out with --limit '!{host}'."]
    return []


def _dead(report: Report) -> bool:
    """Whether the host cannot be reached; one whose question failed otherwise may well be in service, and is not to be left out or tossed."""
    return report.get("reachable") is False or bool(report.get("unreachable"))


def _trouble(report: Report) -> str:
    """What was found; the task itself may have failed, and says so in ``msg``."""
    return str(report.get("trouble") or report.get("msg") or "it gave no report")


def dead_hosts(reports: Mapping[str, Report]) -> dict[str, str]:
    """The hosts that cannot be reached, each with what was found."""
    return {host: _trouble(report) for host, report in reports.items() if _dead(report)}


def budget_obstacles(dead: Collection[str], budget: int, hosts: int) -> list[str]:
    """Whether more hosts are dead than the run may leave out; nothing where there is no budget and none is dead."""
    if len(dead) <= budget and (len(dead) < hosts or not hosts):
        return []
    if len(dead) == hosts:
        return ["No host can be reached, so there is nothing to do anything on."]
    return [
        (
            f"{len(dead)} of {hosts} hosts cannot be reached, and rollout_failure_budget lets a run leave out {budget}. Where the rest is to go on "
            f"without them: -e rollout_failure_budget={len(dead)}; they follow when they are back."
        )
    ]


def space_obstacles(host: str, report: Report, target: Target) -> list[str]:
    """Whether the host has room for one more release."""
    free, needed = report.get("free_bytes", 0), target.size + RESERVE_BYTES
    if target.release in report.get("staged", ()) or free >= needed:
        return []
    return [
        (
            f"{host} has {free // 2**20} MiB free where releases lie, {target.release} needs {needed // 2**20} MiB. "
            "Make room, or lower app_keep_releases and run site.yml."
        )
    ]


def balancer_obstacles(
    name: str, balancer: Mapping[str, Any], backend: str, serving: Sequence[str], others: Mapping[str, Mapping[str, Any]] | None = None
) -> list[str]:
    """Why this load balancer cannot be relied on while hosts leave and return.

    ``serving`` names the hosts that say of themselves that they serve: the balancer must send requests to each of them. ``others`` are all
    load balancers: where some can be asked, it is said how to go on with these.
    """
    if balancer.get("trouble"):
        alive = [other for other, seen in (others or {}).items() if not seen.get("trouble")]
        without = f" Or, where no client reaches it, leave it out with -e '{json.dumps({'release_balancers': alive})}'" if alive else ""
        said = str(balancer["trouble"])
        if why := reaching.refused(name, said):
            return [f"Load balancer {why}{without}"]
        between = "\n  " if "\n" in said else " "
        return [f"Load balancer {name}: {said}{between}Mend it.{without}"]
    servers: Mapping[str, Any] = balancer.get("backends", {}).get(backend, {})
    if not servers:
        known = ", ".join(sorted(balancer.get("backends", {}))) or "none"
        return [f"Load balancer {name} has no backend {backend} (it has: {known}). Add it to load_balancer_backends and run site.yml."]
    found = []
    for host in serving:
        status = servers.get(host, {}).get("status", "absent")
        if not status.startswith("UP"):
            found.append(
                f"Load balancer {name} does not send requests to {host} (it says: {status}), though that host is ready. "
                "Run status.yml, mend it, and try again."
            )
    return found


def bad_obstacles(reports: Mapping[str, Report], target: Target) -> list[str]:
    """Whether any host has seen this release fail, or be rolled back: then the fleet does not try it again."""
    known = {host: report["bad"][target.release] for host, report in reports.items() if target.release in report.get("bad", {})}
    if not known:
        return []
    host, last = max(known.items(), key=lambda item: item[1].get("at") or "")
    why = last.get("error") or last.get("reason") or "no reason given"
    return [
        (
            f"{target.release} is known to be bad: taken back on {', '.join(sorted(known))}, last on {host} at {last.get('at')} ({why}). "
            "Mend it and build it under a new version; or, if the release was not to blame, try again with -e \"force='why'\"."
        )
    ]


def in_service(reports: Mapping[str, Report], balancers: Iterable[Mapping[str, Any]], backend: str, absent: Collection[str] = ()) -> tuple[int, int]:
    """How many hosts the fleet has, and how many of them are in service, as the load balancer tells it that has the fewest.

    Also hosts count that this run leaves out; but those that are ``absent``, because nobody reaches them, count as out of service whatever a
    load balancer says. Without a load balancer it is the hosts of this run, and those that call themselves ready.
    """
    known: list[Mapping[str, Any]] = [balancer.get("backends", {}).get(backend, {}) for balancer in balancers]
    up = [sum(str(server.get("status", "")).startswith("UP") for host, server in servers.items() if host not in absent) for servers in known]
    ready = sum(report.get("balancer_word") == "ready" for report in reports.values())
    return max([len(reports) + len(absent), *map(len, known)]), min(up, default=ready)


def previous_release(reports: Mapping[str, Report], unfinished: Collection[str] = ()) -> str:
    """The release that a rollback of the whole fleet goes to: the last good one that the hosts agree on.

    ``unfinished`` are runs of such a rollback that were cut short: what they have switched to stays the goal, however far they came. Where a
    deployment was cut short, so that hosts run different releases, it is the one that the rest still runs and the others
    came from. Hosts that have only ever run the live release (a machine made anew) follow the others. Raises ValueError, in words.
    """
    arrived = {report["live"] for report in reports.values() if report.get("live") and report.get("run") in unfinished}
    if len(arrived) == 1:
        return str(arrived.pop())
    if half_way := _left_behind(reports):
        return half_way
    named: dict[str, str] = {host: report["previous"] for host, report in reports.items() if report.get("previous")}
    if not named:
        raise ValueError("No host knows a release to go back to: each has run only one. Deploy the wanted version with deploy.yml -e version=...")
    counted = Counter(named.values())
    if len(counted) > 1:
        listed = "; ".join(f"{release}: {', '.join(sorted(host for host, name in named.items() if name == release))}" for release in sorted(counted))
        raise ValueError(f"The hosts do not agree on the release before ({listed}). Say which one with -e version=...")
    return counted.most_common(1)[0][0]


def _left_behind(reports: Mapping[str, Report]) -> str | None:
    """Where a run was cut short, so that hosts run different releases: the one that all of them run or came from.

    The hosts whose live release the newest run made live tell it: they came from it (a deployment), or have arrived (a rollback).
    """
    alive = [report for report in reports.values() if report.get("live")]
    if len({report["live"] for report in alive}) < 2:
        return None
    newest = max(alive, key=lambda report: report.get("run") or "")
    for goal in (newest.get("previous"), newest["live"]):
        moved = [report for report in alive if report["live"] != goal]
        if goal and len({report["live"] for report in moved}) == 1 and all(report.get("previous") == goal for report in moved):
            return str(goal)
    return None


def common_release(reports: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The release that most hosts run, the first of them where several do; None where no host runs any."""
    lives = Counter(str(report["live"]) for report in reports.values() if report.get("live"))
    return lives.most_common(1)[0][0] if lives else None


def reconcile_goal(reports: Mapping[str, Report], desired: Desired | None, newest: int) -> str:
    """The version that hosts which differ are brought to: what the signed desired state says, else what most hosts run.

    ``newest`` is the newest fencing token that a host has seen. A desired state that is older, and which most hosts do not run, may be
    one that a deployment could not replace: then a person has to say. Raises ValueError, in words.
    """
    lives = Counter(report["live"] for report in reports.values() if report.get("live"))
    ranked = lives.most_common(2)
    most = ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else None
    listed = ", ".join(f"{release} on {count}" for release, count in lives.most_common()) or "nothing on any"
    if desired is None:
        if not lives:
            raise ValueError(NOTHING_KNOWN)
        if most is None:
            raise ValueError(f"There is no signed desired state, and no release that most hosts run ({listed}). Say which one with -e version=...")
        return str(most).rpartition("-")[0]
    if desired.token < newest and desired.release != most:
        raise ValueError(
            f"The signed desired state says {desired.release} (run {desired.run}), but a run after it has been on these hosts and left {listed}. "
            "Say which version is right with -e version=..., or deploy it."
        )
    return desired.version


def out_of_service_only(reports: Mapping[str, Report], plan: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether none of the hosts that change is in service: then the run takes none out of it."""
    return not any(plan[host]["changes"] and report.get("balancer_word") == "ready" for host, report in reports.items())


def moves(
    reports: Mapping[str, Report], target: Target, kind: str = "deploy", unfinished: Collection[str] = (), signed: Callable[[], int] = lambda: 0
) -> dict[str, dict[str, Any]]:
    """From and to for each host, in the order given; ``changes`` is false where the host already runs the target.

    A deployment also takes the wanted configuration, so that it may have something to do on a host that runs the target. ``origin`` is the
    release that a host goes back to where the run fails: what it runs, or, where a deployment that is known to be unfinished has brought it the
    target already, what that took it from. Such are the runs ``unfinished``, which lost the lock while they were about the same, and those of
    `_left_half_way` after which nothing was signed: ``signed`` tells the fencing token of the desired state, and is only asked where it decides.
    """
    half_way = _left_half_way(reports, target) if kind == "deploy" else {}
    since = signed() if half_way else 0
    cut_short = {*unfinished, *(run for run, token in half_way.items() if token > since)}
    return {
        host: {
            "from": report.get("live"),
            "origin": _origin(report, target, cut_short) if kind == "deploy" else report.get("live"),
            "to": target.release,
            "changes": report.get("live") != target.release
            or report.get("release") != target.release
            or (kind == "deploy" and release_request.reconfigures(report)),
        }
        for host, report in reports.items()
    }


def _origin(report: Report, target: Target, cut_short: Collection[str]) -> str | None:
    """What a host goes back to where the deployment fails; ``cut_short`` are the runs that are known to be unfinished."""
    live: str | None = report.get("live")
    return report.get("previous") if live == target.release and _brought(report) and report.get("run") in cut_short else live


def _brought(report: Report) -> bool:
    """Whether the run that made the live release live went forward to it: it did not go back, nor was only the configuration new."""
    return bool(report.get("live")) and report.get("came_from") == report.get("previous")


def _left_half_way(reports: Mapping[str, Report], target: Target) -> dict[str, int]:
    """The runs that brought the target to some hosts, and left others, to which they had shown their token, where the first came from.

    Each with that token. Staging shows it to every host that a run is about, so one that ``--limit`` left out, or that was dead, is no sign of an
    unfinished run. One that died after it was staged is, unless the run was finished without it: then it signed the desired state.
    """
    there = [report for report in reports.values() if report.get("live") == target.release and _brought(report)]
    brought = {(report.get("run"), report.get("previous")) for report in there}
    fences = [report["fence"] for report in reports.values() if report.get("fence") and (report["fence"]["run"], report.get("live")) in brought]
    return {fence["run"]: fence["token"] for fence in fences}


def newest_token(reports: Mapping[str, Report], run: str) -> int:
    """The newest fencing token that a host has seen from a run other than ``run``, 0 where none has."""
    return max((report["fence"]["token"] for report in reports.values() if report.get("fence") and report["fence"]["run"] != run), default=0)


def in_use(reports: Iterable[Report], release: str) -> list[str]:
    """The versions that these hosts run or can go back to once ``release`` is live: nobody else may take them out of the store.

    They are the release, the one that was live and the one before, and the one that a rollback goes to from there.
    """
    found = {release}
    for report in reports:
        history = list(report.get("history") or ())
        before = history[: history.index(release)] if release in history else []
        found |= {name for name in (report.get("live"), report.get("previous"), *before[-1:]) if name}
    return sorted({name.rpartition("-")[0] for name in found})


def unbalanced(balancers: Collection[str]) -> list[str]:
    """The line about a fleet of which no load balancer can be asked; none where one is."""
    return [] if balancers else ["  no load balancer is asked (release_balancers is empty): a host that calls itself ready counts as in service"]


def skipped(absent: Mapping[str, str]) -> list[str]:
    """Lines about the hosts that the run leaves out."""
    return [f"  left out {host:<12} {trouble.splitlines()[0] if trouble else 'dead'}" for host, trouble in absent.items()]


def summary(
    kind: str,
    app: str,
    target: Target,
    plan: Mapping[str, Mapping[str, Any]],
    waves: Sequence[int],
    migrations: Sequence[str] = (),
    unknown: Collection[str] = (),
) -> list[str]:
    """The plan as lines for the terminal: a head line, then a line per host, wave by wave, then the lines about migrations.

    ``unknown`` names the hosts that did not say what they run. Hosts that no wave reaches, because there are no waves yet, come last.
    """
    hosts = list(plan)
    wide = max(map(len, hosts), default=0)
    lines = [f"{kind} {app} {target.version} ({target.release}) on {len(hosts)} hosts in {len(waves) or '?'} waves"]
    numbers = [str(number) for number, size in enumerate(waves, 1) for _host in range(size)]
    for host, number in zip_longest(hosts, numbers, fillvalue="?"):
        move = plan[host]
        start = "unknown" if host in unknown else move["from"] or "nothing"
        what = f"{start} -> {move['to']}" if move["changes"] else f"{move['to']} (already there)"
        lines.append(f"  wave {number}  {host:<{wide}}  {what}")
    return [*lines, *migrations]
