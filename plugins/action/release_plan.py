# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `release_plan`: decide once, on the controller, what a deployment or a rollback does. Changes nothing."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.module_utils.host import manifest, signature
from ansible_collections.tossable.fleet.plugins.module_utils.host.desired import Desired
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import (
    commits,
    deployment_lock,
    desired_store,
    gate_settings,
    maintenance,
    migrations,
    plan_changes,
    plan_id,
    plan_view,
    planning,
    signers,
    version_words,
    waves,
    windows,
)

_SPEC = {
    "app": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["deploy", "rollback", "reconcile"], "default": "deploy"},
    "version": {"type": "str"},
    "store_url": {"type": "str", "required": True},
    "allowed_signers": {**signers.OPTION, "required": True},
    "waves": {"type": "raw", "required": True},
    "min_healthy": {"type": "raw", "default": 0},
    "failure_budget": {"type": "raw", "default": 0},
    "environment": {"type": "str", "default": ""},
    "desired_signers": {**signers.OPTION, "default": []},
    "reports": {"type": "dict", "required": True},
    "balancers": {"type": "dict", "required": True},
    "run": {"type": "str"},
    "unfinished": {"type": "list", "elements": "str", "default": []},
    "by": {"type": "str"},
    "reason": {"type": "str", "default": ""},
    "force": {"type": "str", "default": ""},
    # Raw, because a rollback goes on whatever they are; what is wrong with their shape is told in words.
    "windows": {"type": "raw", "default": []},
    "freezes": {"type": "raw", "default": []},
    "timezone": {"type": "str", "default": "UTC"},
    "override": {"type": "str", "default": ""},
    "migrations": {"type": "dict"},
    "migration_seconds": {"type": "int", "default": 600},
    "lock_seconds": {"type": "int", "default": 900},
    "source": {"type": "str", "default": ""},
    "gate": {"type": "dict", "default": {}},
    "confirm": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan, as far as it can be computed; fail with everything that stands in its way."""
        # Before it is made text of: what was written is no longer known then.
        if wrong := version_words.unquoted(self._task.args.get("version")):
            raise AnsibleActionFail(f"Nothing was changed. {wrong}")
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        obstacles: list[str] = []
        hosts = _hosts(given, obstacles)
        given["reports"] = hosts.reports
        obstacles += _untimely(given)
        # A rollback is not judged.
        obstacles += gate_settings.obstacles(given["gate"]) if given["kind"] == "deploy" else []
        found, desired = _target(given, obstacles)
        target = found and planning.Target(found.version, found.release_id, found.archive.sha256, found.total + found.archive.size)
        moves = planning.moves(hosts.reports, target, given["kind"], given["unfinished"], partial(_signed_token, given)) if target else {}
        sizes, capacity = _waves(given, hosts, planning.out_of_service_only(hosts.reports, moves) if target else False, obstacles)
        obstacles += _balancer_obstacles(given, hosts)
        run = given["run"] or deployment_lock.new_run()
        # What is only shown is no run: its plan is told without one.
        given["run"] = None if self._task.check_mode else run
        plan = {**result, **_outline(given, hosts, run), "waves": sizes, "capacity": capacity, "obstacles": obstacles}
        plan |= {"back": desired is not None and desired.kind == "rollback", "nothing_known": planning.NOTHING_KNOWN in obstacles}
        if found and target:
            obstacles += _target_obstacles(given, hosts, target)
            plan |= _whole(given, plan, found, target, moves, hosts.known)
            plan["closing"] = plan_view.closing(plan, self._task.check_mode)
            plan["summary"] += plan["closing"]
        else:
            obstacles += plan_id.confirm_obstacles(given["confirm"], None, "")
        plan["reason"] = "; ".join([given[word] for word in ("reason", "force", "override") if given[word]] + _said(plan))
        if obstacles:
            plan |= {"failed": True, "msg": "\n".join(["Nothing was changed. In the way:", *(f"- {line}" for line in obstacles)])}
        # Ansible cuts all hosts of a play into waves, also those that are left out.
        return {**plan, "waves": waves.spread(sizes, list(hosts.asked), hosts.absent) if sizes else []}


class _Hosts(NamedTuple):
    """Who takes part: the reports of all that were asked, of those that are not left out, and of those of them with which nothing is wrong.

    ``absent``: why each dead host is left out, of at most ``budget``. ``fleet`` and ``serving``: how many hosts there are, and are in service.
    """

    asked: dict[str, planning.Report]
    reports: dict[str, planning.Report]
    known: dict[str, planning.Report]
    absent: dict[str, str]
    budget: int
    fleet: int
    serving: int


def _hosts(given: dict[str, Any], obstacles: list[str]) -> _Hosts:
    """Leave out the dead, within the budget; adds to the obstacles what is wrong with the others."""
    asked, absent = given["reports"], planning.dead_hosts(given["reports"])
    budget, fleet, serving = 0, len(asked), 0
    with _noting(obstacles):
        fleet, serving = planning.in_service(_without(asked, absent), given["balancers"].values(), given["app"], absent)
        budget = len(asked) if given["kind"] == "reconcile" else waves.failure_budget(given["failure_budget"], fleet)
    over = planning.budget_obstacles(absent, budget, len(asked))
    # Beyond the budget nobody is left out: what stands in the way is shown with all that the hosts were to do.
    absent = {} if over else absent
    reports = _without(asked, absent)
    wrong = {host: planning.host_obstacles(host, report) for host, report in reports.items()}
    obstacles += [*(line for lines in wrong.values() for line in lines), *over]
    return _Hosts(asked, reports, {host: report for host, report in reports.items() if not wrong[host]}, absent, budget, fleet, serving)


def _untimely(given: dict[str, Any]) -> list[str]:
    """Windows and freezes that stand in the way of a deployment; the way back is always open, also where they make no sense."""
    obstacles: list[str] = []
    if given["kind"] != "deploy":
        return obstacles
    with _noting(obstacles):
        untimely = windows.obstacles(datetime.now(tz=UTC), given["windows"], given["freezes"], given["timezone"])
        obstacles += [] if given["override"] else untimely
    return obstacles


def _waves(given: dict[str, Any], hosts: _Hosts, idle: bool, obstacles: list[str]) -> tuple[list[int], int]:
    """The sizes of the waves, and how many hosts may be out of service at once. ``idle``: only hosts that are out of service are to move."""
    sizes, capacity = [], 0
    with _noting(obstacles):
        spare = given["kind"] == "reconcile" and idle
        capacity = max(len(hosts.asked), 1) if spare else waves.capacity(given["min_healthy"], hosts.fleet, hosts.serving)
        sizes = waves.split(waves.sizes(given["waves"], len(hosts.reports)), capacity)
    return sizes, capacity


def _balancer_obstacles(given: dict[str, Any], hosts: _Hosts) -> list[str]:
    """What is wrong with the load balancers, and where one does not send requests to a host that is ready."""
    balancers, ready = given["balancers"], [host for host, report in hosts.known.items() if report["balancer_word"] == "ready"]
    return [line for name, seen in balancers.items() for line in planning.balancer_obstacles(name, seen, given["app"], ready, balancers)]


def _target_obstacles(given: dict[str, Any], hosts: _Hosts, target: planning.Target) -> list[str]:
    """Why these hosts cannot take this release: it is known to be bad, or there is no room."""
    bad = [] if given["force"] or given["kind"] == "reconcile" else planning.bad_obstacles(hosts.known, target)
    return [*bad, *(line for host, report in hosts.known.items() for line in planning.space_obstacles(host, report, target))]


def _outline(given: dict[str, Any], hosts: _Hosts, run: str) -> dict[str, Any]:
    """What a plan holds whether or not it is known where the fleet goes."""
    by = deployment_lock.somebody(given["by"])
    return {
        "changed": False,
        **{word: given[word] for word in ("app", "kind", "environment")},
        "run": run,
        "by": by,
        "ordered": plan_view.ordered(by, given["reason"]),
        "token": planning.newest_token(hosts.known, run),
        "budget": hosts.budget,
        "absent": hosts.absent,
        "id": None,
        "closing": [],
        "maintenance": maintenance.everywhere(given["balancers"], given["app"]),
        "migrations": migrations.NOTHING.told(),
        "summary": [*plan_view.unplanned(given["kind"], given["app"], hosts.reports), *planning.skipped(hosts.absent)],
    }


def _without(reports: dict[str, planning.Report], absent: Collection[str]) -> dict[str, planning.Report]:
    return {host: report for host, report in reports.items() if host not in absent}


@contextmanager
def _noting(obstacles: list[str]) -> Iterator[None]:
    """What cannot be decided stands in the way, and the rest of the plan is computed all the same."""
    try:
        yield
    except (ValueError, HostError) as error:
        obstacles.append(str(error))


def _target(given: dict[str, Any], obstacles: list[str]) -> tuple[manifest.Manifest | None, Desired | None]:
    """The manifest of the version that the fleet goes to, None where something stands in the way of it; and the desired state that named it."""
    desired = None
    try:
        desired = _desired_state(given) if given["kind"] == "reconcile" and not given["version"] else None
        return _signed_manifest(given, _version(given, desired)), desired
    except (ValueError, HostError) as error:
        obstacles.append(str(error))
        return None, desired


def _said(plan: dict[str, Any]) -> list[str]:
    return [f"{plan['id']} confirmed"] if plan.get("confirmed") else []


def _whole(
    given: dict[str, Any],
    plan: dict[str, Any],
    found: manifest.Manifest,
    target: planning.Target,
    moves: dict[str, dict[str, Any]],
    known: dict[str, planning.Report],
) -> dict[str, Any]:
    """What the plan holds besides, once it is known where the fleet goes; adds to the obstacles where another plan was confirmed."""
    migrating = migrations.deployment(
        given["kind"],
        target.release,
        [migration.told() for migration in found.migrations],
        given["migrations"],
        known,
        given["migration_seconds"],
        given["lock_seconds"],
    )
    plan["obstacles"] += migrating.obstacles
    hosts = plan_id.place(moves, plan["waves"])
    reached = {host: hosts[host] for host in known}
    release = {"version": target.version, "release": target.release, "digest": target.digest}
    unseen = len(known) < len(hosts) or any(balancer.get("trouble") for balancer in given["balancers"].values())
    whole = bool(plan["waves"]) and not unseen
    due = [migration["id"] for migration in migrating.pending]
    name = plan_id.name(plan_id.decides({**plan, **release}, hosts, known, plan["waves"], plan["capacity"], due)) if whole else None
    command = plan_id.command(sys.argv, name) if name else None
    plan["obstacles"] += plan_id.confirm_obstacles(given["confirm"], name, command or "")
    bakes = given["kind"] == "deploy" and given["balancers"] and any(report.get("live") for report in known.values())
    baking = gate_settings.bake_seconds(given["gate"]) if bakes else 0.0
    more = {
        **release,
        "id": name,
        "command": command,
        "confirmed": bool(name) and given["confirm"] == name,
        "url": f"{given['store_url']}/{given['app']}/{target.version}",
        "hosts": hosts,
        "migrations": migrating.told(),
        "changes": [_compare(given, found, live, on) for live, on in plan_changes.live_releases(reached).items()],
        "first_on": plan_changes.first_on(reached),
        "files": sum(entry.type != manifest.DIRECTORY for entry in found.files),
        "fetch": plan_changes.to_fetch(known, target.release, found.archive.size),
        "configuration": plan_changes.configuration(known) if given["kind"] == "deploy" else [],
        "estimate": plan_changes.estimate(reached, known, target.release, baking) if whole else None,
    }
    table = planning.summary(
        given["kind"],
        given["app"],
        target,
        hosts,
        plan["waves"],
        migrations=[
            *planning.skipped(plan["absent"]),
            *migrating.lines,
            *maintenance.plan_lines(given["balancers"], given["app"]),
            *planning.unbalanced(given["balancers"]),
        ],
        unknown=hosts.keys() - known.keys(),
    )
    return {**more, "summary": [*table, *plan_view.lines({**plan, **more}, given["run"])]}


def _compare(given: dict[str, Any], wanted: manifest.Manifest, live: str, hosts: list[str]) -> dict[str, Any]:
    """The commits and files between a live release and the wanted one, as far as the store still has the live one."""
    compared: dict[str, Any] = {"from": live, "hosts": hosts, "commits": None, "files": None, "unknown": None}
    version = live.rpartition("-")[0]
    try:
        old = _signed_manifest(given, version)
    except _MissingError:
        return {**compared, "unknown": f"{version} is no longer in the store"}
    except HostError as error:
        return {**compared, "unknown": str(error)}
    if old.release_id != live:
        return {**compared, "unknown": f"the store has other bytes under {version} by now"}
    return {**compared, "commits": commits.between(given["source"], old.commit, wanted.commit), "files": plan_changes.files(old, wanted)}


class _MissingError(HostError):
    """The artifact store does not have that version."""


def _version(given: dict[str, Any], desired: Desired | None = None) -> str:
    """The version asked for; for a rollback that names none, the one the hosts would go back to; to reconcile, the one the fleet should run."""
    if given["version"]:
        return manifest.check_version(given["version"])
    if given["kind"] == "rollback":
        return planning.previous_release(given["reports"], given["unfinished"]).rpartition("-")[0]
    if given["kind"] == "reconcile":
        return planning.reconcile_goal(given["reports"], desired, planning.newest_token(given["reports"], given["run"] or ""))
    raise ValueError(
        "Which version? Say it with: ansible-playbook deploy.yml -e version=1.4.2 (status.yml shows what runs, build.yml makes a version)."
    )


def _desired_state(given: dict[str, Any]) -> Desired | None:
    """The signed desired state in the store, None where there is none; raises HostError in words."""
    try:
        return desired_store.read(given["store_url"], given["app"], given["environment"], given["desired_signers"])
    except HostError as error:
        raise HostError(f"{error.message} To go on without it, say which version with -e version=...") from None


def _signed_token(given: dict[str, Any]) -> int:
    """The fencing token of the signed desired state, 0 where there is none that can be read: a deployment does not need it."""
    try:
        desired = _desired_state(given)
    except HostError:
        return 0
    return desired.token if desired else 0


def _signed_manifest(given: dict[str, Any], version: str) -> manifest.Manifest:
    """Fetch the version's manifest from the store and prove its signature, before any host hears of it."""
    base = f"{given['store_url']}/{given['app']}/{version}/{given['app']}-{version}.manifest.json"
    build = f"playbooks/build.yml -e version={version} -e app={given['app']}"
    raw = _fetch(base, build)
    with tempfile.TemporaryDirectory(prefix="tossable-") as folder:
        signed = Path(folder, "manifest.json.sig")
        try:
            signed.write_bytes(_fetch(f"{base}.sig", build))
        except HostError:
            raise HostError(f"{base} is not signed: there is no {base}.sig. Build and upload it again: ansible-playbook {build}") from None
        allowed = signers.written(given["allowed_signers"], folder, manifest.NAMESPACE)
        signature.verify_signature(raw, signed, allowed)
    found = manifest.parse_manifest(raw)
    manifest.expect(found, given["app"], version)
    return found


def _fetch(url: str, build: str) -> bytes:
    try:
        return bytes(open_url(url, timeout=10, http_agent="tossable").read(manifest.MAX_MANIFEST_BYTES))
    except HTTPError as error:
        missing = error.code == 404
        what = "there is no such version in the store" if missing else f"{error.code} {error.reason}"
        raise (_MissingError if missing else HostError)(f"{url}: {what}. Build and upload it: ansible-playbook {build}") from None
    except OSError as error:
        raise HostError(f"The artifact store does not answer ({url}: {error}). Look at nginx on the ops host, and at its firewall.") from None
