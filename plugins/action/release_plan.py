# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `release_plan`: decide once, on the controller, what a deployment or a rollback does. Changes nothing."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.module_utils.host import manifest, signature
from ansible_collections.tossable.fleet.plugins.module_utils.host.desired import MAX_BYTES, NAMESPACE, Desired, file_name, parse, split
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, migrations, planning, waves, windows

_SPEC = {
    "app": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["deploy", "rollback", "reconcile"], "default": "deploy"},
    "version": {"type": "str"},
    "store_url": {"type": "str", "required": True},
    "allowed_signers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"principal": {"type": "str"}, "key": {"type": "str", "no_log": False}},
    },
    "waves": {"type": "raw", "required": True},
    "min_healthy": {"type": "raw", "default": 0},
    "failure_budget": {"type": "raw", "default": 0},
    "environment": {"type": "str", "default": ""},
    "desired_signers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"principal": {"type": "str"}, "key": {"type": "str", "no_log": False}},
    },
    "reports": {"type": "dict", "required": True},
    "balancers": {"type": "dict", "required": True},
    "run": {"type": "str"},
    "by": {"type": "str"},
    "reason": {"type": "str", "default": ""},
    "force": {"type": "str", "default": ""},
    "windows": {"type": "list", "elements": "dict", "default": []},
    "freezes": {"type": "list", "elements": "dict", "default": []},
    "timezone": {"type": "str", "default": "UTC"},
    "override": {"type": "str", "default": ""},
    "migrations": {"type": "dict"},
    "migration_seconds": {"type": "int", "default": 600},
    "lock_seconds": {"type": "int", "default": 900},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan, or fail with everything that stands in its way."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = super().run(tmp, task_vars)
        asked = given["reports"]
        absent = planning.dead_hosts(asked)
        reports = given["reports"] = {host: report for host, report in asked.items() if host not in absent}
        try:
            fleet, serving_now = planning.in_service(reports, given["balancers"].values(), given["app"], absent)
            budget = len(asked) if given["kind"] == "reconcile" else waves.failure_budget(given["failure_budget"], fleet)
            if over := planning.budget_obstacles(absent, budget, len(asked)):
                _refuse([*(line for host, report in asked.items() for line in planning.host_obstacles(host, report)), *over])
            _refuse([line for host, report in reports.items() for line in planning.host_obstacles(host, report)])
            untimely = windows.obstacles(datetime.now(tz=UTC), given["windows"], given["freezes"], given["timezone"])
            desired = _desired_state(given) if given["kind"] == "reconcile" and not given["version"] else None
            version = _version(given, desired)
            found = _signed_manifest(given, version)
            target = planning.Target(found.version, found.release_id, found.archive.sha256, found.total + found.archive.size)
            hosts = planning.moves(reports, target, given["kind"])
            whole = planning.out_of_service_only(reports, hosts) and given["kind"] == "reconcile"
            capacity = max(len(asked), 1) if whole else waves.capacity(given["min_healthy"], fleet, serving_now)
            wave_sizes = waves.split(waves.sizes(given["waves"], len(reports)), capacity)
        except (ValueError, HostError) as error:
            raise AnsibleActionFail(str(error)) from None
        migrating = migrations.deployment(
            given["kind"],
            target.release,
            [migration.told() for migration in found.migrations],
            given["migrations"],
            reports,
            given["migration_seconds"],
            given["lock_seconds"],
        )
        serving = [host for host, report in reports.items() if report["balancer_word"] == "ready"]
        _refuse(
            # The way back is always open.
            ([] if given["override"] or given["kind"] != "deploy" else untimely)
            + ([] if given["force"] or given["kind"] == "reconcile" else planning.bad_obstacles(reports, target))
            + [line for host, report in reports.items() for line in planning.space_obstacles(host, report, target)]
            + migrating.obstacles
            + [line for name, seen in given["balancers"].items() for line in planning.balancer_obstacles(name, seen, given["app"], serving)]
        )
        run = given["run"] or deployment_lock.new_run()
        return {
            **result,
            "changed": False,
            "app": given["app"],
            "version": target.version,
            "release": target.release,
            "digest": target.digest,
            "url": f"{given['store_url']}/{given['app']}/{target.version}",
            "run": run,
            "by": deployment_lock.somebody(given["by"]),
            "reason": "; ".join(given[word] for word in ("reason", "force", "override") if given[word]),
            "token": planning.newest_token(reports, run),
            "waves": waves.spread(wave_sizes, list(asked), absent),
            "capacity": capacity,
            "budget": budget,
            "absent": absent,
            "back": desired is not None and desired.kind == "rollback",
            "hosts": hosts,
            "migrations": migrating.told(),
            "summary": [
                *planning.summary(given["kind"], given["app"], target, hosts, wave_sizes),
                *planning.skipped(absent),
                *migrating.lines,
            ],
        }


def _refuse(obstacles: list[str]) -> None:
    if obstacles:
        raise AnsibleActionFail("\n".join(["Nothing was changed. In the way:", *(f"- {line}" for line in obstacles)]))


def _version(given: dict[str, Any], desired: Desired | None = None) -> str:
    """The version asked for; for a rollback that names none, the one the hosts would go back to; to reconcile, the one the fleet should run."""
    if given["version"]:
        return manifest.check_version(given["version"])
    if given["kind"] == "rollback":
        return planning.previous_release(given["reports"]).rpartition("-")[0]
    if given["kind"] == "reconcile":
        return planning.reconcile_goal(given["reports"], desired, planning.newest_token(given["reports"], given["run"] or ""))
    raise ValueError(
        "Which version? Say it with: ansible-playbook deploy.yml -e version=1.4.2 (status.yml shows what runs, build.yml makes a version)."
    )


def _desired_state(given: dict[str, Any]) -> Desired | None:
    """The signed desired state in the store, None where there is none; one that nobody who may has signed is an error in words."""
    url = f"{given['store_url']}/{given['app']}/{file_name(given['environment'])}"
    try:
        line, signed = split(bytes(open_url(url, timeout=10, http_agent="tossable").read(MAX_BYTES)))
    except HTTPError as error:
        if error.code in (404, 410):
            return None
        raise HostError(f"{url}: {error.code} {error.reason}. Look at nginx on the ops host, or say which version with -e version=...") from None
    except OSError as error:
        raise HostError(f"The artifact store does not answer ({url}: {error}). Look at nginx on the ops host, and at its firewall.") from None
    try:
        with tempfile.TemporaryDirectory(prefix="tossable-") as folder:
            signers, signature_file = Path(folder, "allowed_signers"), Path(folder, "signature")
            signers.write_text("".join(f"{one['principal']} {one['key']}\n" for one in given["desired_signers"]))
            signature_file.write_bytes(signed)
            signature.verify_signature(line, signature_file, signers, NAMESPACE)
        return parse(line, given["app"], given["environment"])
    except HostError as error:
        raise HostError(
            f"The desired state at {url} is not to be trusted: {error.message}. Find out who wrote it; to go on without it, say which version "
            "with -e version=..."
        ) from None


def _signed_manifest(given: dict[str, Any], version: str) -> manifest.Manifest:
    """Fetch the version's manifest from the store and prove its signature, before any host hears of it."""
    base = f"{given['store_url']}/{given['app']}/{version}/{given['app']}-{version}.manifest.json"
    raw = _fetch(base, version)
    with tempfile.TemporaryDirectory(prefix="tossable-") as folder:
        signers = Path(folder, "allowed_signers")
        signers.write_text("".join(f"{one['principal']} {one['key']}\n" for one in given["allowed_signers"]))
        signed = Path(folder, "manifest.json.sig")
        try:
            signed.write_bytes(_fetch(f"{base}.sig", version))
        except HostError:
            raise HostError(f"{base} is not signed: there is no {base}.sig. Build and upload it again with build.yml -e version={version}.") from None
        signature.verify_signature(raw, signed, signers)
    found = manifest.parse_manifest(raw)
    manifest.expect(found, given["app"], version)
    return found


def _fetch(url: str, version: str) -> bytes:
    try:
        return bytes(open_url(url, timeout=10, http_agent="tossable").read(manifest.MAX_MANIFEST_BYTES))
    except HTTPError as error:
        what = "there is no such version in the store" if error.code == 404 else f"{error.code} {error.reason}"
        raise HostError(f"{url}: {what}. Build and upload it: ansible-playbook playbooks/build.yml -e version={version}") from None
    except OSError as error:
        raise HostError(f"The artifact store does not answer ({url}: {error}). Look at nginx on the ops host, and at its firewall.") from None
