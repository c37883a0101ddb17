# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What operators are shown of flags: the table, what differs, who did not get them, what a panic is about. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from . import flag_live, flag_metrics, flag_set, flag_steps
from .flag_live import Live
from .flag_set import Flag

_UNFIT = "its switch does not fit its declaration any more ({unfit}), so it stays as it was published: state=reset takes the switch away"
_HEADS = ("flag", "state", "declared", "since", "by", "why", "age", "expires", "remarks")


def changes(typed: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was typed of each flag, None for what was not, as the changes of a switch; raises ValueError in words."""
    found = {}
    for flag, words in typed.items():
        said = {name: value for name, value in words.items() if value is not None}
        told = ", ".join(f"{name}={value}" for name, value in said.items())
        if not flag and not said:
            continue
        if not flag:
            raise ValueError(f"which flag is to be {told}? Say it with -e flag=NAME")
        if len(said) != 1:
            ways = "-e state=on, -e state=off, -e state=reset, -e percent=10, or -e \"rule='transaction_volume >= 100000'\""
            raise ValueError(f"how is {flag} to be? Say one of {ways} (there was {told or 'none'})")
        found[str(flag)] = said
    return found


def diff(rows: Sequence[Mapping[str, Any]], before: Sequence[str], after: Sequence[str]) -> dict[str, str]:
    """What `--diff` shows: the states, and what sample users get."""
    return {
        "before": "".join(f"{line}\n" for line in [*(f"{row['flag']}: {row['before']}" for row in rows), *before]),
        "after": "".join(f"{line}\n" for line in [*(f"{row['flag']}: {row['after']}" for row in rows), *after]),
    }


def rows(flags: Mapping[str, Flag], live: Live, now: datetime) -> list[dict[str, Any]]:
    """A row for each flag that is declared or switched, by name."""
    return [_row(key, flags.get(key), live, now) for key in sorted({*flags, *live.overrides})]


def _row(key: str, flag: Flag | None, live: Live, now: datetime) -> dict[str, Any]:
    override = live.overrides.get(key)
    mark: Mapping[str, Any] = override or live.changed.get(key, {})
    state = override["state"] if override else flag.state if flag else {}
    declared = flag_set.told(flag.state) if flag else "not declared"
    until = (override or {}).get("until")
    expires = flag.expires if flag else None
    return {
        "flag": key,
        "kind": flag.kind if flag else "",
        "owner": flag.owner if flag else "",
        "groups": list(flag.groups) if flag else [],
        "state": flag_set.told(state) if flag else "no effect",
        "declared": declared,
        "off": flag is None or state == {"to": flag.off},
        "unfit": flag_set.misfit(flag, state) if flag and override else "",
        "switched": override is not None,
        "differs": override is not None and (flag is None or override["state"] != flag.state),
        "since": mark.get("at", ""),
        "by": _who(mark),
        "reason": mark.get("reason", ""),
        "age_seconds": _seconds(mark.get("at"), now),
        "changed_seconds": _seconds(live.changed.get(key, {}).get("at"), now),
        "until": until,
        "over": bool(until) and (_seconds(until, now) or 0) > 0,
        "expires": expires.isoformat() if expires else None,
        "expired": flag is not None and flag.expired(now.date()),
        "rollout": {name: flag_steps.mark(override)[name] for name in ("run", "step", "of")} if flag_steps.mark(override) else None,
    }


def _who(mark: Mapping[str, Any]) -> str:
    """What was typed of who it was and for whom, and whose controller it was typed on where that is another name."""
    by, behalf, account = (str(mark.get(name) or "") for name in ("by", "on_behalf_of", "account"))
    typed = f" (account {account})" if account not in ("", by) else ""
    return (f"{by} for {behalf}" if behalf else by) + typed


def _seconds(at: Any, now: datetime) -> float | None:
    """Seconds since a moment, below 0 before it; None where it is none."""
    try:
        moment = datetime.fromisoformat(str(at))
    except ValueError:
        return None
    return (now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds()


def span(seconds: float | None) -> str:
    """How long, in one word."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def table(
    live: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, Mapping[str, Any]] | None = None,
    signed: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Lines of the table of what state=live returned, and what there is to say of hosts: what state=read and (``counts``) state=counted returned.

    ``signed``: what signed_flags returned in check mode of each store (``item``): whether it would sign anew what is live.
    """
    idle, unheard = never(counts or {})
    cells = [_HEADS, *(_cells(row, idle(row["flag"])) for row in live["flags"])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    differ = strays(live, hosts)
    last = f"all {len(hosts)} hosts hold generation {live['generation']}"
    if not live["generation"]:
        differ, last = [], "nothing was published yet: site.yml or any switch does that"
    elif differ:
        last = f"{len(differ)} of {len(hosts)} hosts do not hold generation {live['generation']}; playbooks/flag.yml without a flag brings it:"
    uncounted = [f"who evaluates a flag is not known of {len(unheard)} of {len(counts or {})} hosts:", *(f"- {line}" for line in unheard)]
    shown = shown if live["flags"] else ["no flag is declared"]
    stale = [
        f"{one['item']}: what is signed for hosts that boot is not generation {live['generation']}; playbooks/flag.yml without a flag signs it"
        if one["signed"]
        else f"{one['item']}: {one['summary']}"
        for one in signed
        if one["anew"] or not one["signed"]
    ]
    return [*shown, "", last, *(f"- {line}" for line in [*differ, *stale]), *(uncounted if unheard else [])]


def never(counts: Mapping[str, Mapping[str, Any]]) -> tuple[Callable[[str], str], list[str]]:
    """Says of a flag that no application has evaluated it since its start (empty where one has, or none was heard), and a line for each host
    whose applications cannot be heard. ``counts`` is what state=counted returned of each host."""
    counted, silent = flag_metrics.heard(counts)
    hosts = flag_metrics.hosts_of(counted, "counts_evaluations")
    deaf = [
        f"{host}: it shows no counter of evaluations"
        for host in counts
        if host not in hosts and not any(line.startswith(f"{host}:") for line in silent)
    ]
    used = {flag for one in counted.values() for flag, number in one["evaluations"].items() if number}
    began = min((one["began"] for one in counted.values() if one["began"]), default=0)
    since = f"since {datetime.fromtimestamp(began, UTC):%Y-%m-%dT%H:%M:%SZ}" if began else "since applications were started"

    def idle(flag: str) -> str:
        return f"NEVER EVALUATED {since} on {len(hosts)} of {len(counts)} hosts: does the code ask for it?" if hosts and flag not in used else ""

    return idle, [*silent, *deaf]


def _cells(row: Mapping[str, Any], idle: str) -> tuple[str, ...]:
    rollout = row["rollout"]
    remarks = [
        *([f"in a rollout, step {rollout['step']} of {rollout['of']}: roll_out_flag.yml goes on from here, if none runs"] if rollout else []),
        *([idle] if idle and row["declared"] != "not declared" else []),
        *(["its declaration is gone: state=reset takes the switch away"] if row["declared"] == "not declared" else []),
        *([_UNFIT.format(**row)] if row["unfit"] else []),
        *([f"EXPIRED {row['expires']}: remove the flag from the code, or give it another date"] if row["expired"] else []),
        *(
            [f"its end has passed ({row['until']}): state=reset, or another -e ends=..."]
            if row["over"]
            else [f"until {row['until']}"]
            if row["until"]
            else []
        ),
    ]
    declared = row["declared"] if row["differs"] else ""
    known = (row["flag"], row["state"], declared, row["since"], row["by"], row["reason"], span(row["age_seconds"]), row["expires"] or "")
    return (*(" ".join(str(cell).split()) or "-" for cell in known), "; ".join(remarks))


def strays(live: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]], newest: int = 0) -> list[str]:
    """A line for each host that does not hold what is live: ``hosts`` is what state=read or state=published returned.

    ``newest`` is the generation that is live by now, where others may have switched meanwhile: a host that holds theirs holds this one's switch.
    """
    said, live_now = [], live["generation"]
    for host, found in hosts.items():
        generation = int(found.get("generation") or 0)
        if live_now < generation <= newest or (found.get("digest") == live["digest"] and not found.get("trouble")):
            continue
        held = f"it holds generation {generation}" if generation else f"no answer: {' '.join(str(found.get('msg', '')).split())}"
        said.append(f"{host}: {found.get('trouble') or held + f', and {live_now} is live'}")
    return said


def missed(
    live: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]], newest: int = 0, check: bool = False, unsigned: Sequence[str] = ()
) -> str:
    """What is said at the end of a switch that did not come to all hosts; empty where it did, and where nothing was to be switched (``check``).

    ``unsigned``: why the flags could not be signed for hosts that boot.
    """
    said = [] if check else strays(live, hosts, newest)
    if not said:
        return ""
    later = max(int(found.get("generation") or 0) for found in hosts.values())
    help_words = "A host that boots gets them before it serves; else playbooks/flag.yml without a flag brings them where they are missing."
    if unsigned:
        help_words = f"{unsigned[0]} Then bring them with playbooks/flag.yml without a flag; until then such a host serves with old flags."
    if later > max(int(live["generation"]), newest):
        help_words = f"Hosts hold generation {later}, so the live state on the ops host was lost: run the same command again with -e above={later}"
    head = f"{len(said)} of {len(hosts)} hosts did not get the flags (generation {live['generation']}); all others have them:"
    return "\n".join([head, *(f"- {line}" for line in said), help_words])


def panic(found: Mapping[str, Any], minutes: float | str, group: str) -> list[dict[str, Any]]:
    """The flags that a panic switches off: of that group, else each of kind release that changed within so many minutes; none that is off.

    ``minutes``: as typed, a number, or a span such as V(2h). Raises ValueError in words.
    """
    seconds = 60 * _minutes(minutes)

    def meant(row: Mapping[str, Any]) -> bool:
        if group:
            return group in row["groups"]
        return row["kind"] == "release" and row["changed_seconds"] is not None and row["changed_seconds"] <= seconds

    return [row for row in found["flags"] if not row["off"] and meant(row)]


def _minutes(typed: float | str) -> float:
    """How many minutes are meant; raises ValueError in words."""
    text = str(typed).strip()
    try:
        found = float(flag_live.minutes(text) or text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ValueError(f"Nothing was changed: -e minutes='{text}' is no span of time. Write 60, 90m, 1h or 2d, or name a group: -e group=...")
    return found


def panic_lines(chosen: Sequence[Mapping[str, Any]], minutes: float | str, group: str) -> list[str]:
    """A line for each flag: what it is, and who has changed it when and why; ``minutes`` as above."""
    if not chosen:
        which = (
            f"no flag of the group '{group}' is on"
            if group
            else f"no flag of kind release that is on has changed within {_minutes(minutes):g} minutes"
        )
        return [f"Nothing to switch off: {which}. playbooks/flags.yml shows all of them; -e minutes=... or -e group=... says which are meant."]
    return [
        f"{row['flag']}: {row['state']} -> off ({row['kind']}, owner {row['owner']}"
        + (f"; changed {span(row['age_seconds'])} ago by {row['by']}, {row['reason'] or 'no reason given'}" if row["since"] else "")
        + ")"
        for row in chosen
    ]
