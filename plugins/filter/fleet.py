# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the playbooks: the hosts of a group that must not be empty, tables for the terminal, who is not in service."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleFilterError
from ansible_collections.tossable.fleet.plugins.plugin_utils import (
    alerts,
    desired_store,
    flag_view,
    ledger,
    maintenance,
    planning,
    reporting,
    tossing,
    version_words,
)
from ansible_collections.tossable.fleet.plugins.plugin_utils import waves as wave_words

#: What the hosts of a group are there for.
_FOR = {
    "app": "on which applications run",
    "lb": "which sends requests to them",
    "ops": "which keeps the artifacts, the lock and the ledger",
}


def required_group(groups: Mapping[str, Sequence[str]], name: str, *others: str) -> str:
    """Return ``name`` when the inventory has hosts in that group and in the ``others``; raise in words for the first that has none.

    A syntax check has no inventory to ask.
    """
    missing = [group for group in (name, *others) if not groups.get(group)]
    if missing and not context.CLIARGS.get("syntax"):
        known = ", ".join(sorted(group for group, hosts in groups.items() if hosts and group != "all")) or "none"
        raise AnsibleFilterError(
            f"No host is in the group '{missing[0]}' (groups with hosts: {known}), {_FOR.get(missing[0], 'which is needed here')}. "
            "Add one to the inventory, make the lab with `make lab`, or name your inventory with -i inventories/production."
        )
    return name


def application_file(inventory_dir: str, app: str) -> str:
    """Path of the variables of one application, ``apps/<app>.yml`` beside the inventory; raise in words when there is no such file.

    Ansible also reads a play's files of variables before it has a host, and so without ``inventory_dir``: then there is nothing to read.
    """
    if not inventory_dir:
        return os.devnull
    folder = Path(inventory_dir, "apps")
    if not (folder / f"{app}.yml").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yml"))) or "none"
        raise AnsibleFilterError(f"There is no application '{app}': {folder}/{app}.yml is missing (there are: {known}). Check -e app=.")
    return str(folder / f"{app}.yml")


def known_host(groups: Mapping[str, Sequence[str]], name: str) -> str:
    """Return ``name`` when the inventory has that host; raise in words when it has not, or when no name was given (as above)."""
    known = groups.get("all", ())
    if context.CLIARGS.get("syntax"):
        return name or "all"
    if name not in known:
        said = f"There is no host '{name}'" if name else "Which machine? Say it with -e target=NAME"
        raise AnsibleFilterError(f"{said} (the inventory has: {', '.join(known) or 'none'}).")
    return name


def servers(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], port: int, agent_port: int | None = None) -> list[dict[str, Any]]:
    """The hosts as servers of a load balancer's backend: name, address, port and, where there is one, the agent's port."""
    agent = {} if agent_port is None else {"agent_port": agent_port}
    return [{"name": host, "address": hostvars[host].get("ansible_host", host), "port": port, **agent} for host in hosts]


def wave_sizes(waves: Sequence[int | str], hosts: int, name: str = "rollout_waves") -> list[int]:
    """Numbers of hosts, wave by wave, for a play's ``serial``; raise in words, which name the variable, where they do not add up to all."""
    try:
        return wave_words.sizes(waves, hosts, name)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


def version_list(value: object, name: str) -> list[str]:
    """The versions that an operator named, with commas between them; raise in words where one is a number."""
    try:
        return version_words.listed(value, name)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


def toss_obstacle(reports: Mapping[str, Any], target: str, balancers: Mapping[str, Any], backend: str, min_healthy: int | str) -> str:
    """Why the fleet cannot do without a host now; empty where it can. Raise in words where ``min_healthy`` cannot be read."""
    try:
        return tossing.obstacle(reports, target, balancers, backend, min_healthy)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


def not_serving(balancers: Mapping[str, Any], backend: str, hosts: Sequence[str]) -> list[str]:
    """Name each load balancer and host where requests do not reach the host: ``lb1: app2 is MAINT``."""
    found = []
    for name, balancer in balancers.items():
        if balancer.get("trouble"):
            found.append(f"{name}: {balancer['trouble']}")
            continue
        servers = balancer.get("backends", {}).get(backend, {})
        for host in hosts:
            status = servers.get(host, {}).get("status", "absent")
            if not status.startswith("UP"):
                found.append(f"{name}: {host} is {status}")
    return found


def status_table(reports: Mapping[str, Any], balancers: Mapping[str, Any], backend: str) -> list[str]:
    """Lines of the status table: host, release, since when, by whom, health, load balancer state, drift."""
    common = planning.common_release(reports)
    rows = [("host", "release", "since", "by", "health", "balancers", "drift")]
    for host, report in reports.items():
        rows.append(_row(host, report, balancers, backend, common))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(
    host: str, report: Mapping[str, Any], balancers: Mapping[str, Any], backend: str, common: str | None
) -> tuple[str, str, str, str, str, str, str]:
    seen = ", ".join(f"{name} {_server_status(balancer, backend, host)}" for name, balancer in balancers.items()) or "-"
    if report.get("trouble"):
        health = "?" if report.get("reachable") else "down"
        return (host, "?", "-", "-", health, seen, str(report["trouble"]).splitlines()[0])
    drift = list(report["drift"])
    if report["live"] != common:
        drift.append(f"the fleet runs {common}")
    health = {True: "healthy", False: report.get("health_answer", "unhealthy"), None: "-"}[report["healthy"]]
    return (host, report["live"] or "-", report["since"] or "-", report["by"] or "-", health, seen, "; ".join(drift) or "none")


def _server_status(balancer: Mapping[str, Any], backend: str, host: str) -> str:
    if balancer.get("trouble"):
        return "?"
    status: str = balancer.get("backends", {}).get(backend, {}).get(host, {}).get("status", "absent")
    return status


def flag_keeper(store_hosts: Sequence[str]) -> str:
    """The host that keeps which flags are live, the first of these; raise in words when there is none (as above)."""
    if not store_hosts:
        raise AnsibleFilterError(
            "This inventory names no host that keeps which flags are live. Set release_store_hosts, as inventories/production/group_vars/all.yml "
            "does."
        )
    return store_hosts[0]


def panic_flags(found: Mapping[str, Any], minutes: float | str, group: str) -> list[dict[str, Any]]:
    """The flags that a panic switches off; raise in words where ``minutes`` is no span of time."""
    try:
        return flag_view.panic(found, minutes, group)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


def panic_changes(flags: Sequence[str]) -> dict[str, dict[str, str]]:
    """The changes that switch these flags off."""
    return {flag: {"state": "off"} for flag in flags}


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks write them after `tossable.fleet.`."""
        return {
            "required_group": required_group,
            "application_file": application_file,
            "known_host": known_host,
            "servers": servers,
            "waves": wave_sizes,
            "version_unquoted": version_words.unquoted,
            "version_list": version_list,
            "not_serving": not_serving,
            "status_table": status_table,
            "fleet_alerts": alerts.found,
            "alert_lines": alerts.lines,
            "desired_lines": desired_store.lines,
            "in_use": planning.in_use,
            "release_before": tossing.before,
            "release_alike": tossing.alike,
            "toss_obstacle": toss_obstacle,
            "died": reporting.died,
            "run_results": ledger.results,
            "left_out": reporting.left_out,
            "not_back": reporting.not_back,
            "ended_well": reporting.ended_well,
            "maintenance_lines": maintenance.lines,
            "maintenance_troubles": maintenance.troubles,
            "maintenance_refusal": maintenance.refusal,
            "maintenance_left": maintenance.left_over,
            "flag_keeper": flag_keeper,
            "flag_missed": flag_view.missed,
            "flag_table": flag_view.table,
            "panic_flags": panic_flags,
            "panic_lines": flag_view.panic_lines,
            "panic_changes": panic_changes,
        }
