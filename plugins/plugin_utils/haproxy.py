# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What HAProxy says of itself through its admin socket, as data. Pure functions around one shell command.

The answers to several commands sent on one line come back in order, each closed by an empty line: `show info` is
`Name: value` lines, `show stat` is CSV below `# pxname,...`, `show servers state` is words below `# be_id ...`, `show table` is a line
for each entry below `# table: ...` (HAProxy 2.6 to 3.0, management guide chapter 9). Columns are taken by name, so versions that add
some are read as well.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ansible_collections.tossable.fleet.plugins.module_utils.host import maintenance

#: The table in which the role load_balancer counts answers by `backend/server/upper bound of the bucket in ms`.
LATENCY_TABLE: Final = "latency"
#: Upper bounds of its buckets in ms; the last bucket is `inf`. A tenth of a decade each (R10 preferred numbers), as whole milliseconds.
LATENCY_BOUNDS: Final = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800),
    *(1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000, 10000),
)

#: `show info` comes last: what is never missing shows that all before it has come.
COMMANDS: Final = f"show stat;show servers state;show table {LATENCY_TABLE};show map {maintenance.MAP};show info"

# Exit codes of the script below, chosen so that neither the shell nor socat uses them.
NO_SOCAT: Final = 81
NO_SOCKET: Final = 82
NO_PERMISSION: Final = 83
NO_ANSWER: Final = 84

_EVIDENCE: Final = "systemctl --no-pager --lines=5 status haproxy.service 2>&1 | tail -n 12"

_SCRIPT: Final = """\
socket={socket}
command -v socat >/dev/null || exit {no_socat}
[ -S "$socket" ] || {{ {evidence}; exit {no_socket}; }}
[ -r "$socket" ] && [ -w "$socket" ] || {{ id; ls -l "$socket"; exit {no_permission}; }}
printf '%s\\n' {commands} | socat -t {timeout} - UNIX-CONNECT:"$socket" || {{ {evidence}; exit {no_answer}; }}"""

# Bits of srv_admin_state (management guide, "show servers state"), strongest first.
_MAINT: Final = 0x01 | 0x02 | 0x20 | 0x40
_DRAIN: Final = 0x08 | 0x10

_LATENCY_ENTRY: Final = re.compile(r"key=(?P<backend>[^/ ]+)/(?P<server>[^/ ]+)/(?P<bound>\d+|inf) .*gpc0=(?P<count>\d+)")

# A line of the answer to `show map`, whose values module_utils/host/maintenance.py makes: three fields. A terminal may end it with a carriage return.
_MAINTENANCE_ENTRY: Final = re.compile(r"^0x[0-9a-f]+ (?P<backend>\S+) (?P<value>\d+\|[\w+/=]+\|[\w+/=]*)\r?$", re.MULTILINE)

_OPERATIONAL: Final = {"0": "stopped", "1": "starting", "2": "running", "3": "stopping"}


def command(socket: str, timeout_seconds: int) -> str:
    """The shell command that asks everything in one exec; its exit code is for `trouble`."""
    return _SCRIPT.format(
        socket=shlex.quote(socket),
        timeout=timeout_seconds,
        commands=shlex.quote(COMMANDS),
        evidence=_EVIDENCE,
        no_socat=NO_SOCAT,
        no_socket=NO_SOCKET,
        no_permission=NO_PERMISSION,
        no_answer=NO_ANSWER,
    )


def trouble(rc: int, stdout: str, stderr: str, socket: str) -> str | None:
    """Why there is no answer, in words and with what was found; None when there is one."""
    found = "\n".join([*stdout.strip().splitlines(), *stderr.strip().splitlines()][-12:])
    if rc == 0 and any(line.startswith("# pxname,") for line in stdout.splitlines()):
        return None
    said = {
        NO_SOCAT: "socat is not installed, so HAProxy's admin socket cannot be asked. Run site.yml for this host.",
        NO_SOCKET: f"{socket} does not exist: HAProxy is not running, or it was not set up by the role load_balancer. Its unit says:",
        NO_PERMISSION: f"This account may not use {socket}. Set become on the task, or add the account to load_balancer_admins.",
        NO_ANSWER: f"HAProxy did not answer on {socket}. Its unit says:",
    }.get(rc, f"Asking HAProxy through {socket} gave no statistics (exit code {rc}):")
    return f"{said}\n{found}" if found else said


def parse(text: str) -> dict[str, Any]:
    """The answers to `COMMANDS` as {"process": {...}, "backends": {backend: {server: {...}}}, "frontends": {name: {...}}, "maintenance": {...}}.

    Numbers are ints; what HAProxy leaves empty is None. Times are seconds, except those whose name ends in _ms.
    Raises ValueError where the text holds no statistics, or breaks off.
    """
    stat = _whole(text, "# pxname,")
    if not stat:
        raise ValueError("no line '# pxname,...' in HAProxy's answer")
    process = _whole(text, "Name: ")
    if not process:
        raise ValueError(_broken_off("there is no 'Name: ...' at its end"))
    rows = list(csv.DictReader([stat[0].removeprefix("# "), *stat[1:]]))
    states = {(row["be_name"], row["srv_name"]): row for row in _words(_whole(text, "# be_id "))}
    latency = _latency(_section(text, f"# table: {LATENCY_TABLE},"))
    backends: dict[str, dict[str, Any]] = {row["pxname"]: {} for row in rows if row["svname"] == "BACKEND" and row["pxname"] != LATENCY_TABLE}
    for row in rows:
        if row["svname"] not in ("FRONTEND", "BACKEND") and row["pxname"] in backends:
            name = row["svname"]
            found = _server(row, states.get((row["pxname"], name), {}))
            backends[row["pxname"]][name] = found | {"latency": latency.get((row["pxname"], name), {})}
    return {
        "process": _process(process),
        "backends": backends,
        "frontends": {row["pxname"]: _traffic(row) | {"status": row["status"]} for row in rows if row["svname"] == "FRONTEND"},
        "maintenance": {found["backend"]: maintenance.from_value(found["value"])._asdict() for found in _MAINTENANCE_ENTRY.finditer(text)},
    }


def _section(text: str, start: str) -> list[str]:
    """Lines from the first that begins with `start` up to the next empty one."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(start):
            return [line, *_until_empty(lines)]
    return []


def _whole(text: str, start: str) -> list[str]:
    """The same, of a section whose end has come; raises ValueError where it breaks off: what is missing would pass for what is not there."""
    lines = _section(text, start)
    if lines and text.splitlines()[-len(lines) :] == lines:
        raise ValueError(_broken_off(f"the last line below '{start}...' is {lines[-1][:80]!r}"))
    return lines


def _broken_off(found: str) -> str:
    return f"HAProxy's answer breaks off, {found}: HAProxy ended meanwhile, or was slower than `timeout` allows. Ask again."


def _until_empty(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip():
            return
        yield line


def _words(lines: Sequence[str]) -> list[dict[str, str]]:
    if not lines:
        return []
    names = lines[0].removeprefix("# ").split()
    return [dict(zip(names, line.split(), strict=False)) for line in lines[1:]]


def _latency(lines: Sequence[str]) -> dict[tuple[str, str], dict[str, int]]:
    """Answers of each server by bucket, not cumulative: {(backend, server): {upper bound in ms or inf: count}}. Empty buckets are left out."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for line in lines:
        if entry := _LATENCY_ENTRY.search(line):
            found.setdefault((entry["backend"], entry["server"]), {})[entry["bound"]] = int(entry["count"])
    return found


def _process(lines: Sequence[str]) -> dict[str, Any]:
    info = dict(line.split(": ", 1) for line in lines if ": " in line)
    return {
        "version": info.get("Version"),
        "pid": _number(info.get("Pid")),
        "node": info.get("node"),
        "uptime_seconds": _number(info.get("Uptime_sec")),
        "connections_current": _number(info.get("CurrConns")),
        "connections_limit": _number(info.get("Maxconn")),
    }


def _server(row: Mapping[str, str], state: Mapping[str, str]) -> dict[str, Any]:
    admin = int(state.get("srv_admin_state", "0"))
    return {
        "status": row["status"],
        "admin_state": "maint" if admin & _MAINT else "drain" if admin & _DRAIN else "ready",
        "operational_state": _OPERATIONAL.get(state.get("srv_op_state", "")),
        "weight": _number(row["weight"]),
        "address": row.get("addr") or None,
        "check_status": row["check_status"].removeprefix("* ") or None,
        "check_code": _number(row["check_code"]),
        "check_description": row.get("last_chk") or row.get("check_desc") or None,
        "checks_failed": _number(row["chkfail"]),
        "agent_status": row["agent_status"].removeprefix("* ") or None,
        "agent_description": row.get("last_agt") or row.get("agent_desc") or None,
        "times_down": _number(row["chkdown"]),
        "seconds_since_change": _number(row["lastchg"]),
        "queue_current": _number(row["qcur"]),
        "connection_time_ms": _number(row["ctime"]),
        "response_time_ms": _number(row["rtime"]),
        **_traffic(row),
    }


def _traffic(row: Mapping[str, str]) -> dict[str, Any]:
    requests = _number(row["req_tot"])
    return {
        "sessions_current": _number(row["scur"]),
        "sessions_total": _number(row["stot"]),
        "requests_total": _number(row["stot"]) if requests is None else requests,
        "responses": {kind: _number(row[f"hrsp_{kind}"]) for kind in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")},
        "errors": {
            "request": _number(row["ereq"]),
            "connection": _number(row["econ"]),
            "response": _number(row["eresp"]),
        },
        "retries": _number(row["wretr"]),
        "redispatches": _number(row["wredis"]),
    }


def _number(text: str | None) -> int | None:
    return int(text) if text else None
