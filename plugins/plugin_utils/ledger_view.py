# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the ledger is asked for and shown: an operator's filters, the table, one run whole, CSV. Pure functions.

A *run* is what `module_utils/host/ledger_runs.runs` returned.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.tossable.fleet.plugins.module_utils.host.ledger_runs import OUTCOMES

from .ledger import moment

Run = Mapping[str, Any]

#: Runs that are shown where nothing is asked for.
LAST = 20
#: Names that are named where another one was asked for.
NAMED = 12
#: Characters of a cause in the table.
CAUSE = 60
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
COLUMNS = (
    *("at", "run", "environment", "application", "kind", "from", "to", "version", "by", "on_behalf_of", "reason"),
    *("seconds", "outcome", "cause", "continued_by"),
)


def since(word: str, now: float) -> str:
    """The moment that is meant by `7d` or `2026-11-01`; raises ValueError, in words."""
    if found := re.fullmatch(r"(\d{1,5})([mhdw])", word):
        return moment(max(now - int(found[1]) * _UNITS[found[2]].total_seconds(), 0.0))
    try:
        at = datetime.fromisoformat(word)
    except ValueError:
        raise ValueError(
            f"since is {word!r}, which is no time: say it as 30m, 12h, 7d or 2w, or as a day or a time (UTC) such as 2026-11-01."
        ) from None
    return moment((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def wanted(words: Mapping[str, str], now: float) -> dict[str, Any]:
    """The filters as `ledger_runs.select` takes them, of what was typed; raises ValueError, in words. Without any the newest LAST are meant."""
    outcome = words.get("outcome") or ""
    if outcome and outcome not in OUTCOMES:
        raise ValueError(f"outcome is {outcome!r}, and there are only: {', '.join(OUTCOMES)}.")
    found = {name: words.get(name) or "" for name in ("by", "app", "outcome", "run")}
    when = since(words["since"], now) if words.get("since") else ""
    return {**found, "since": when, "last": 0 if when or any(found.values()) else LAST}


def nothing(words: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> str:
    """Why nothing was found, where a filter names what the ledger has never seen; else empty. ``known`` are its ``by``, ``app`` and ``run``."""
    for name, what in (("run", "run"), ("app", "application"), ("by", "person")):
        if words.get(name) and words[name] not in {one.partition("@")[0] for one in known[name]} | set(known[name]):
            newest = list(known[name])[-NAMED:] if name == "run" else list(known[name])[:NAMED]
            there = f"the newest are: {', '.join(newest)}" if name == "run" else f"there are: {', '.join(newest)}"
            return f"The ledger has no {what} {words[name]!r} ({there if newest else 'it is empty'})."
    return ""


def table(runs: Sequence[Run], more: bool) -> list[str]:
    """A line for each run, oldest first, below the names of the columns; ``more`` where the ledger holds others."""
    if not runs:
        return ["No run fits." if more else "The ledger is empty: nothing has been deployed since it is kept."]
    rows = [("when (UTC)", "application", "kind", "from", "to", "who", "why", "seconds", "outcome"), *map(_row, runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *(["There are more: -e since=30d, by, app, outcome; one run whole: -e run=..."] if more else [])]


def _row(run: Run) -> tuple[str, ...]:
    cause = run["cause"] if len(run["cause"]) <= CAUSE else f"{run['cause'][: CAUSE - 3]}..."
    after = f" (run {run['continued_by']} went on)" if run["continued_by"] else f" ({cause})" if cause else ""
    return (
        run["at"][:19].replace("T", " "),
        run["application"],
        run["kind"],
        ", ".join(run["from"]) or "-",
        run["to"] or "-",
        who(run),
        run["reason"] or "-",
        "-" if run["seconds"] is None else f"{run['seconds']:.1f}",
        f"{run['outcome']}{after}",
    )


def who(run: Run) -> str:
    """Who ordered it, and for whom."""
    return f"{run['by']} for {run['on_behalf_of']}" if run["on_behalf_of"] else str(run["by"])


def _account(run: Run) -> str:
    """Whose controller wrote its first record, where that is another name than the one that was typed."""
    record = run["started"] or run["noted"] or run["ended"] or {}
    return f" (account {record['account']})" if record.get("account") not in (None, "", run["by"]) else ""


def whole(run: Run) -> list[str]:
    """All that is known of one run, for the terminal."""
    began, end = run["started"] or {}, run["ended"] or {}
    took = "" if run["seconds"] is None else f", {run['seconds']:.1f} s"
    lines = [
        _told("run", f"{run['run']}: {run['kind']} {run['application']} in {run['environment']}"),
        _told("when", f"{run['at']}{took}"),
        _told("who", who(run) + _account(run)),
        _told("why", run["reason"] or "no reason given"),
        _told("outcome", f"{run['outcome']}{': ' + run['cause'] if run['cause'] else ''}"),
    ]
    if run["noted"]:
        return lines
    lines.append(_told("release", f"{', '.join(run['from']) or 'nothing'} -> {run['to']}"))
    for label, text in (("plan", began.get("plan")), ("forced", began.get("forced")), ("continues", began.get("continues"))):
        lines += [_told(label, text)] if text else []
    lines += [_told("continued by", run["continued_by"])] if run["continued_by"] else []
    if broken := began.get("lock_broken"):
        lines.append(_told("lock", f"broken before by {broken['by']} (it was of run {broken['run']}), because: {broken['reason']}"))
    if commits := (began.get("commits") or {}).get("list"):
        told = [f"{one['commit'][:10]} {one['author']}: {one['subject']}" for one in commits]
        lines += [_told("commits" if not at else "", line) for at, line in enumerate(told)]
    for number, wave in enumerate(end.get("waves", ()), 1):
        took = "" if wave["seconds"] is None else f", {wave['seconds']:.1f} s"
        gate = f"; gate: {wave['gate']['line']}" if wave["gate"] else ""
        lines.append(_told(f"wave {number}", f"{', '.join(wave['hosts'])}: {wave['outcome']}{took}{gate}"))
    for host, told_of in end.get("hosts", {}).items():
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in told_of["steps"].items())
        lines.append(_told(host, f"{told_of['outcome']}, runs {told_of['to'] or 'nobody knows what'}{f' ({steps} s)' if steps else ''}"))
    flags = [f"{one['flag']}: {one['before']} -> {one['after']}" for one in end.get("flags", ()) if {"flag", "before", "after"} <= one.keys()]
    lines += [_told("flags" if not at else "", line) for at, line in enumerate(flags)]
    if phases := end.get("phases"):
        lines.append(_told("phases", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items())))
    return lines


def _told(label: str, text: str) -> str:
    return f"{label:<14}{text}"


def _cell(value: object) -> object:
    """Somebody's words are no formula of the spreadsheet that opens them."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else "" if value is None else value


def as_csv(runs: Sequence[Run]) -> str:
    """The runs as a table for a spreadsheet; several releases in a cell have a space between them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        cells = {**run, "from": " ".join(run["from"])}
        writer.writerow([_cell(cells[name]) for name in COLUMNS])
    return out.getvalue()


def last_line(runs: Sequence[Run]) -> str:
    """Who changed last what is live, and when: a line for the status; the ledger's newest run that was no note."""
    done = [run for run in runs if run["outcome"] != "noted" and run["kind"] != "contract"]
    if not done:
        return "last run: none in the ledger"
    run = done[-1]
    why = f", because: {run['reason']}" if run["reason"] else ""
    cause = f" ({run['cause']})" if run["cause"] else ""
    return f"last run: {run['kind']} to {run['to']} by {who(run)} at {run['at'][:19]}Z{why}: {run['outcome']}{cause}; run {run['run']}"
