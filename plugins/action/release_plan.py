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
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import deployment_lock, maintenance, planning, waves, windows

_SPEC = {
    "app": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["deploy", "rollback"], "default": "deploy"},
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
        reports = given["reports"]
        _refuse([line for host, report in reports.items() for line in planning.host_obstacles(host, report)])
        try:
            capacity = waves.capacity(given["min_healthy"], *planning.in_service(reports, given["balancers"].values(), given["app"]))
            wave_sizes = waves.split(waves.sizes(given["waves"], len(reports)), capacity)
            untimely = windows.obstacles(datetime.now(tz=UTC), given["windows"], given["freezes"], given["timezone"])
            version = _version(given)
            found = _signed_manifest(given, version)
        except (ValueError, HostError) as error:
            raise AnsibleActionFail(str(error)) from None
        target = planning.Target(found.version, found.release_id, found.archive.sha256, found.total + found.archive.size)
        serving = [host for host, report in reports.items() if report["balancer_word"] == "ready"]
        _refuse(
            # The way back is always open.
            ([] if given["override"] or given["kind"] == "rollback" else untimely)
            + ([] if given["force"] else planning.bad_obstacles(reports, target))
            + [line for host, report in reports.items() for line in planning.space_obstacles(host, report, target)]
            + [
                line
                for name, seen in given["balancers"].items()
                for line in planning.balancer_obstacles(name, seen, given["app"], serving, given["balancers"])
            ]
        )
        hosts = planning.moves(reports, target)
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
            "waves": wave_sizes,
            "capacity": capacity,
            "hosts": hosts,
            "maintenance": maintenance.everywhere(given["balancers"], given["app"]),
            "summary": planning.summary(given["kind"], given["app"], target, hosts, wave_sizes)
            + maintenance.plan_lines(given["balancers"], given["app"]),
        }


def _refuse(obstacles: list[str]) -> None:
    if obstacles:
        raise AnsibleActionFail("\n".join(["Nothing was changed. In the way:", *(f"- {line}" for line in obstacles)]))


def _version(given: dict[str, Any]) -> str:
    """The version asked for; for a rollback that names none, the one the hosts would go back to."""
    if given["version"]:
        return manifest.check_version(given["version"])
    if given["kind"] == "rollback":
        return planning.previous_release(given["reports"]).rpartition("-")[0]
    raise ValueError(
        "Which version? Say it with: ansible-playbook deploy.yml -e version=1.4.2 (status.yml shows what runs, build.yml makes a version)."
    )


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
