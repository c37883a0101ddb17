# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which migrations run, where, and what they forbid from then on. Pure functions.

A *migration* is ``{"id", "phase", "class"}`` as a manifest lists it; a *seen* is what `module_utils/host/migration_record.perform` returned: the
record that counts for each id in ``migrations``, and the ops host's time in ``now``; a *report* is what `release_info` returned for a host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ansible_collections.tossable.fleet.plugins.module_utils.host import migrate
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import FORWARD_ONLY

Migration = Mapping[str, str]
Seen = Mapping[str, Any]
Report = Mapping[str, Any]

_NO_RECORD = (
    "{release} has migrations, and this inventory names no host that keeps the record of them. Set release_store_hosts (or release_lock_host), as "
    "inventories/production/group_vars/all.yml does."
)


class Plan(NamedTuple):
    """What is migrated: ``pending`` in order, on ``host``; ``lines`` for the terminal; ``obstacles`` in words, empty where it may be done."""

    pending: list[Migration]
    host: str | None
    lines: list[str]
    obstacles: list[str]

    def told(self) -> dict[str, Any]:
        """What the tasks need to know."""
        return {"pending": self.pending, "host": self.host}


NOTHING = Plan([], None, [], [])


def pending(listed: Sequence[Migration], seen: Seen, phase: str) -> list[Migration]:
    """The migrations of that phase that are not recorded as done, in the order in which they are listed."""
    return [entry for entry in listed if entry["phase"] == phase and _event(seen, entry["id"]) != "done"]


def deployment(
    kind: str, release: str, listed: Sequence[Migration], seen: Seen | None, reports: Mapping[str, Report], seconds: int, lease_seconds: int
) -> Plan:
    """What a deployment of ``release`` runs before its first switch, and what its migrations leave to ``contract.yml``.

    ``seen`` is None where the fleet is not asked (a machine joins it), and empty where nothing keeps the record. A rollback runs nothing.
    """
    if seen is None:
        return NOTHING
    if not seen:
        return Plan([], None, [], [_NO_RECORD.format(release=release)] if listed and kind == "deploy" else [])
    due = pending(listed, seen, "expand") if kind == "deploy" else []
    lines, obstacles = [], past_obstacles(release, listed, seen, reports)
    was_live = any(release in (report.get("live"), *report.get("history", ())) for report in reports.values())
    if kind != "deploy" and not was_live and (lacking := pending(listed, seen, "expand")):
        names = ", ".join(entry["id"] for entry in lacking)
        obstacles.append(f"{release} was never live here and needs {names}, which only a deployment runs: deploy it with deploy.yml -e version=...")
    host = None
    if due:
        host, running = runner(list(reports), seen)
        obstacles += running + _lease_obstacles(seconds, lease_seconds)
        lines = [f"  migrate {_described(entry, seen)} on {host}, before the first wave" for entry in due]
    later = pending(listed, seen, "contract") if kind == "deploy" else []
    lines += [f"  later   {_described(entry, seen)} by playbooks/contract.yml" for entry in later]
    return Plan(due, host, lines, obstacles)


def past_obstacles(release: str, listed: Sequence[Migration], seen: Seen, reports: Mapping[str, Report]) -> list[str]:
    """Forward-only migrations that have run and that ``release`` does not know: it was not written for what they left behind.

    While a host still runs the release it works beside an expand migration, as every wave relies on; then the way back stays open.
    """
    known = {entry["id"] for entry in listed}
    lives = {report.get("live") for report in reports.values()}
    found = []
    for name, record in seen["migrations"].items():
        if record["event"] != "done" or record["class"] != FORWARD_ONLY or name in known:
            continue
        if record["phase"] == "expand" and release in lives:
            continue
        found.append(
            f"{release} does not know the forward-only migration {name} ({record['phase']}), which ran at {record['at']} for {record['release']} by "
            f"{record['by']}: it is not written for what that left behind. Mend forward: build a new version, its list of migrations complete, and "
            f"deploy that. Only where the migration itself was undone (a backup was restored): ansible-playbook playbooks/migrations.yml "
            f"-e undone={name} -e \"reason='...'\""
        )
    return found


def runner(hosts: Sequence[str], seen: Seen) -> tuple[str, list[str]]:
    """The host that migrates, and why it cannot yet: the first one, unless a migration that was cut short may still run on another.

    That one is asked again, because it knows whether it still runs; where it is not in this run its deadline is waited for.
    """
    obstacles = []
    for name, record in seen["migrations"].items():
        if record["event"] != "begun":
            continue
        if record["host"] in hosts:
            return record["host"], []
        allowed = timedelta(seconds=record["deadline_seconds"] + migrate.STOP_SECONDS + migrate.SLACK_SECONDS)
        until = datetime.fromisoformat(record["at"]) + allowed
        if datetime.fromisoformat(seen["now"]) < until:
            obstacles.append(
                f"The migration {name} was begun on {record['host']} at {record['at']} by {record['by']} and may still run there until "
                f"{until:%Y-%m-%dT%H:%M:%SZ}. Bring that host into this run, or wait until then."
            )
    return hosts[0], obstacles


def contraction(
    reports: Mapping[str, Report],
    seen: Seen,
    version: str | None,
    given_up: Sequence[str],
    limited: bool,
    seconds: int,
    lease_seconds: int,
) -> tuple[Plan, str | None, dict[str, list[str]]]:
    """What `contract.yml` runs, the release it runs it for, and for each host the releases to give up before.

    Nothing may be able to come back that does not know a contract migration: ``given_up`` are versions that nobody is to go back to, and ``limited``
    tells that hosts were left out.
    """
    obstacles = [] if not limited else ["A contract migration concerns every host, also those that --limit leaves out. Run it without --limit."]
    obstacles += _unready(reports)
    lives = sorted({str(report["live"]) for report in reports.values() if report.get("live")})
    if obstacles or len(lives) != 1:
        shown = "; ".join(f"{release}: {_hosts_that(reports, release)}" for release in lives) or "no host runs any"
        return (
            Plan([], None, [], obstacles or [f"The hosts do not all run one release ({shown}). Finish or take back that deployment first."]),
            None,
            {},
        )
    (release,) = lives
    if version and version != _version(release):
        obstacles.append(f"The hosts run {release}, not {version}: only the live release's contract migrations can run. Deploy {version} first.")
    listed: list[Migration] = next(iter(reports.values()))["migrations"].get(release, [])
    if not seen:
        return Plan([], None, [], [*obstacles, *([_NO_RECORD.format(release=release)] if listed else [])]), release, {}
    due = pending(listed, seen, "contract")
    if expanding := pending(listed, seen, "expand"):
        obstacles.append(
            f"{', '.join(entry['id'] for entry in expanding)} of {release} {'has' if len(expanding) == 1 else 'have'} not run yet: "
            f"ansible-playbook deploy.yml -e version={_version(release)}"
        )
    obstacles += _live_obstacles(release, given_up)
    gone = {host: [name for name in report["staged"] if _version(name) in given_up and name != release] for host, report in reports.items()}
    obstacles += _target_obstacles(due, reports, gone)
    if not due:
        return Plan([], None, [f"contract {release}: nothing is pending"], obstacles), release, {host: [] for host in reports}
    host, running = runner(list(reports), seen)
    lines = [f"contract {release} on {len(reports)} hosts", *(f"  migrate {_described(entry, seen)} on {host}" for entry in due)]
    lines += [f"  give up {name} on {host}" for host, names in gone.items() for name in names]
    return Plan(due, host, lines, [*obstacles, *running, *_lease_obstacles(seconds, lease_seconds)]), release, gone


def table(seen: Seen) -> list[str]:
    """The record as lines for the terminal, a head line first."""
    rows = [("migration", "phase", "class", "state", "at", "for", "on", "by")]
    for name, record in seen["migrations"].items():
        state = "interrupted" if record["event"] == "begun" else record["event"]
        rows.append((name, record["phase"], record["class"], state, record["at"], record["release"], record["host"], record["by"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def undo_obstacle(seen: Seen, name: str, reason: str) -> str | None:
    """Why a migration cannot be noted as undone; None where it can."""
    if not reason:
        return "Noting a migration as undone needs a reason, which is kept: -e \"reason='...'\""
    if _event(seen, name) != "done":
        done = ", ".join(known for known, record in seen["migrations"].items() if record["event"] == "done") or "none"
        return f"{name} is not recorded as done, so there is nothing to note (done: {done})."
    return None


def _event(seen: Seen, name: str) -> str | None:
    record = seen["migrations"].get(name)
    return record["event"] if record else None


def _described(entry: Migration, seen: Seen) -> str:
    record = seen["migrations"].get(entry["id"])
    before = ""
    if record:
        word = {"begun": "was interrupted", "failed": "failed", "undone": "was undone"}[record["event"]]
        before = f", {word} at {record['at']} on {record['host']} and runs again"
    return f"{entry['id']} ({entry['phase']}, {entry['class']}{before})"


def _lease_obstacles(seconds: int, lease_seconds: int) -> list[str]:
    if seconds < lease_seconds:
        return []
    return [
        (
            f"A migration may take {seconds} s (release_migration_seconds), and the lock of this run lasts {lease_seconds} s "
            "(rollout_lock_seconds): another run could begin meanwhile. Make the second longer than the first."
        )
    ]


def _unready(reports: Mapping[str, Report]) -> list[str]:
    found = []
    for host, report in reports.items():
        if report.get("trouble"):
            mend = "Mend it" if report.get("reachable") else "Mend or toss it"
            found.append(f"{host} does not say what it can go back to ({report['trouble']}). {mend}, or take it out of the inventory.")
        elif report.get("unfinished"):
            found.append(f"{host} has an unfinished {report['unfinished']['transaction']}. Run deploy.yml or rollback.yml again first.")
        elif not report.get("live"):
            found.append(f"{host} runs no release. Deploy one there, or take it out of the inventory.")
    return found


def _live_obstacles(release: str, given_up: Sequence[str]) -> list[str]:
    return [f"{release} is live, so it cannot be given up."] if _version(release) in given_up else []


def _target_obstacles(due: Sequence[Migration], reports: Mapping[str, Report], gone: Mapping[str, Sequence[str]]) -> list[str]:
    """Releases that a host can still go back to and that do not know a migration which is due."""
    unknowing: dict[str, list[str]] = {}
    for host, report in reports.items():
        for name, known in report["migrations"].items():
            if name not in gone[host] and {entry["id"] for entry in due} - {entry["id"] for entry in known}:
                unknowing.setdefault(name, []).append(host)
    if not unknowing:
        return []
    shown = "; ".join(f"{name} on {', '.join(hosts)}" for name, hosts in sorted(unknowing.items()))
    versions = ",".join(sorted({_version(name) for name in unknowing}))
    return [
        (
            f"Hosts can still go back to releases that do not know {', '.join(entry['id'] for entry in due)}: {shown}. Deploy further versions until "
            f"these are pruned (app_keep_releases); or say that nobody is to go back to them, which removes them there: -e give_up={versions} "
            "-e \"reason='...'\""
        )
    ]


def _hosts_that(reports: Mapping[str, Report], release: str) -> str:
    return ", ".join(host for host, report in reports.items() if report.get("live") == release)


def _version(release: str) -> str:
    return release.rpartition("-")[0]
