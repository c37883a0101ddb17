# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the robot understands and answers: who may what, what the ledger tells, which command comes of a line. Pure functions but `read_ledger` and
`read_lock`.

A *record* is a line of the ledger, a dict; a *run* is what its records say of one deployment, see `runs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
ACCOUNT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._@\[\]|^-]{0,63}")
CONFIRM_SECONDS = 60
LONGEST_REASON = 200
#: Words of the ledger in the words of all announcements.
_OUTCOMES = {"deployed": "deployed", "rolled_back": "rolled back", "failed": "failed", "interrupted": "interrupted", "running": "under way"}
_LISTED = 5


class Speaker(NamedTuple):
    """Who wrote a line: the name that anybody can choose, and the account that the server vouches for, which may be none."""

    nick: str
    account: str | None

    def __str__(self) -> str:
        """How a person is called in answers."""
        return f"{self.nick} (account {self.account})" if self.account else f"{self.nick} (for whom the server does not vouch)"


class Order(NamedTuple):
    """Something that changes the fleet: what (a version, empty for the one before; a flag and its state), why, and what its playbook is given."""

    verb: str
    what: str
    reason: str
    given: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The order as it was typed, in short."""
        return f"{self.verb} {self.what}".strip()


def speaker(vouched_by: str, source: str, tags: Mapping[str, str]) -> Speaker:
    """Who wrote a line, from its source (``nick!user@host``) and tags.

    ``account``: the server tells the account that somebody has logged in to with each line (IRCv3 account-tag). ``user``: the server puts a tilde
    before each user name that it did not prove, as ngircd does with PAM and without Ident. Whatever else is in a line, anybody can choose.
    """
    nick, _sign, rest = source.partition("!")
    user = rest.partition("@")[0]
    told = tags.get("account") if vouched_by == "account" else user
    return Speaker(nick, told if told and ACCOUNT.fullmatch(told) else None)


def may(people: Mapping[str, Sequence[str]], who: Speaker, verb: str) -> bool:
    """Whether the list lets this account do it."""
    return who.account is not None and verb in people.get(who.account, ())


def refusal(who: Speaker, verb: str, recorded: bool) -> str:
    """What somebody is told who may not."""
    known = "the robot's list (chat_robot_people) does not let that account" if who.account else "log in to the chat first, a nick proves nothing"
    return f"Refused: {who} may not {verb}: {known}. " + ("That is in the ledger." if recorded else "It could not be written to the ledger.")


def order(words: Sequence[str], nick: str, channel: str) -> Order | str:
    """The order in a line such as ``deploy 1.4.2 because the checkout is slow``, or what is wrong with it."""
    verb, rest = words[0], list(words[1:])
    version = rest.pop(0) if rest and rest[0] != "because" else ""
    if version and not VERSION.fullmatch(version):
        return f"That is no version. Say for example: {verb} 1.4.2"
    if verb == "deploy" and not version:
        return "Which version? Say for example: deploy 1.4.2"
    if rest and rest[0] != "because":
        return f"I understand only: {verb} 1.4.2 because ..."
    why = reason(" ".join(rest[1:]) or f"asked by {nick} in {channel}")
    return Order(verb, version, why, (("version", version),) if version else ())


def reason(text: str) -> str:
    """A reason as it is handed to Ansible, which would run what stands between braces as a template."""
    return "".join({"{": "(", "}": ")"}.get(one, one) if one.isprintable() else " " for one in text)[:LONGEST_REASON]


def variables(wish: Order, app: str, robot: str, who: Speaker) -> dict[str, str]:
    """What the playbook is given."""
    return {"app": app, "by": robot, "on_behalf_of": who.account or "", "reason": wish.reason, **dict(wish.given)}


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The ledger's records, oldest first; none where there is no ledger. A line that is no record is passed over."""
    try:
        raw = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for text in raw.splitlines():
        try:
            record = json.loads(text)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("run"), str):
            found.append(record)
    return found


def read_lock(path: Path) -> dict[str, Any]:
    """Who has the lock (``lease``, None where nobody has); ``trouble`` where that cannot be read, nothing where no lock is kept here."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        return {"trouble": f"{path}: {type(error).__name__}"}
    lease = found.get("lease") if isinstance(found, dict) else None
    return {"lease": lease if isinstance(lease, dict) else None}


def runs(records: Sequence[Mapping[str, Any]], app: str, environment: str, lock_now: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """What became of each run of the application in this environment, in the order of their starts.

    One that has no end is under way as long as no other one has started since and it has its lock, where that is known, else it was interrupted.
    """
    mine = [record for record in records if (record.get("application"), record.get("environment")) == (app, environment)]
    # By what they say, not by the ledger's order: a record that could not be written in time is appended when it can be.
    started = sorted((record for record in mine if record.get("event") == "started"), key=_at)
    newest = _at(started[-1]) if started else ""
    found: dict[str, dict[str, Any]] = {}
    for record in [*started, *(record for record in mine if record.get("event") == "ended")]:
        run = found.setdefault(record["run"], {"outcome": "running", "began": _at(record)})
        run.update({name: value for name, value in record.items() if name not in ("event", "schema")})
    listed = sorted(found.values(), key=lambda run: str(run["began"]))
    for run in listed:
        if run["outcome"] == "running" and (run["began"] < newest or not may_run(run["run"], lock_now, now)):
            run["outcome"] = "interrupted"
    return listed


def _at(record: Mapping[str, Any]) -> str:
    return str(record.get("at", ""))


def may_run(run: str, lock_now: Mapping[str, Any], now: datetime) -> bool:
    """Whether the run has its lock, or that is not known."""
    if "lease" not in lock_now:
        return True
    lease = lock_now["lease"] or {}
    until = moment(str(lease.get("until", "")))
    return bool((lease.get("owner") or {}).get("run") == run and until and now < until)


def told(run: Mapping[str, Any], now: datetime) -> str:
    """One run in one line."""
    word = _OUTCOMES.get(str(run["outcome"]), str(run["outcome"]))
    who = f"{run.get('by')} on behalf of {run['on_behalf_of']}" if run.get("on_behalf_of") else str(run.get("by"))
    cause = f": {run['cause']}" if run.get("cause") else ""
    seconds = f" after {float(run['seconds']):.0f} s" if isinstance(run.get("seconds"), int | float) else ""
    return clean(
        f"{run.get('kind')} {run.get('application')} {run.get('version')} in {run.get('environment')} {word}{seconds}, "
        f"by {who}{cause} ({ago(run, now)}, run {run['run']})"
    )


def ended(wish: Order, failure: str, made: Sequence[Mapping[str, Any]], now: datetime, noted: str = "") -> str:
    """How an order came to its end: what the ledger says of the run that it ``made``, or noted of a switch, else what the playbook said."""
    if made and made[-1]["outcome"] not in ("running", "interrupted"):
        return told(made[-1], now)
    if failure:
        return clean(f"{wish} failed: {failure}")
    if wish.verb == "panic" and not noted:
        return clean(f"{wish} switched nothing off: no such flag is on. Say flags to see them; more minutes, or a group of flags, may be meant")
    return clean(f"{wish} ended well" + (f": {noted}" if noted else ""))


def ago(run: Mapping[str, Any], now: datetime) -> str:
    """How long ago a run began, in words."""
    began = moment(str(run.get("began", "")))
    if began is None:
        return "nobody knows when"
    seconds = max(0, int((now - began).total_seconds()))
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{seconds // size} {word}{'' if seconds // size == 1 else 's'} ago"
    return f"{seconds} s ago"


def moment(text: str) -> datetime | None:
    """A time as the ledger writes it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def status(found: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """What was deployed last, what is under way, and how often this week."""
    if not found:
        return ["No deployment is in the ledger yet."]
    return [told(found[-1], now), f"{len(went_live(found, 7, now))} in the last 7 days"]


def went_live(found: Sequence[Mapping[str, Any]], days: int, now: datetime) -> list[Mapping[str, Any]]:
    """The deployments that went live in the last days, as the status page and its line for the foot of an application count them.

    One that was rolled back, and what is no deployment (a rollback, contract migrations, hosts brought right), is none of them.
    """
    since = now - timedelta(days=days)
    well = [run for run in found if run.get("kind") == "deploy" and run.get("outcome") == "deployed"]
    return [run for run in well if (ended := moment(str(run.get("at", "")))) is not None and since < ended <= now]


def within(found: Sequence[Mapping[str, Any]], days: int, now: datetime) -> list[Mapping[str, Any]]:
    """The runs that began in the last days, whatever they were and whatever became of them."""
    since = now - timedelta(days=days)
    return [run for run in found if (began := moment(str(run.get("began", "")))) is not None and began >= since]


def deploys(found: Sequence[Mapping[str, Any]], words: Sequence[str], now: datetime) -> list[str]:
    """How many went live in the last days, by whom, and the last runs of these days, also those that did not."""
    asked = re.fullmatch(r"([1-9][0-9]{0,2})d?", words[0]) if words else None
    if words and not asked:
        return ["Of how many days? Say for example: deploys 7d"]
    days = int(asked[1]) if asked else 7
    live = went_live(found, days, now)
    counts: dict[str, int] = {}
    for run in live:
        who = str(run.get("on_behalf_of") or run.get("by"))
        counts[who] = counts.get(who, 0) + 1
    by = ", ".join(f"{who} {count}" for who, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))
    head = f"{len(live)} in the last {days} days" + (f": {by}" if by else "")
    return [clean(head), *(told(run, now) for run in within(found, days, now)[-_LISTED:])]


def who_deployed(found: Sequence[Mapping[str, Any]], words: Sequence[str], now: datetime) -> list[str]:
    """Who brought a version, and when."""
    if not words:
        return ["Which version? Say for example: who 1.4.2"]
    these = [run for run in found if run.get("version") == words[0]]
    return [told(run, now) for run in these[-_LISTED:]] or [f"Nobody: version {clean(words[0])[:64]} is not in the ledger."]


def why(found: Sequence[Mapping[str, Any]], words: Sequence[str], now: datetime) -> list[str]:
    """Why a run was made, and why it ended as it did."""
    if not words:
        return ["Which run? Say for example: why 20261125T101500Z-1a2b3c"]
    these = [run for run in found if str(run["run"]) == words[0] or (len(words[0]) >= 6 and str(run["run"]).endswith(words[0]))]
    if not these:
        return [f"Run {clean(words[0])[:64]} is not in the ledger."]
    run = these[-1]
    return [told(run, now), clean(f"reason given: {run.get('reason') or 'none'}")]


def lock(answer: Mapping[str, Any], now: datetime) -> str:
    """Who has the lock, from what was read of it."""
    if answer.get("trouble"):
        return f"The lock could not be read: {answer['trouble']}"
    lease = answer.get("lease")
    if not lease:
        return "The lock is free."
    owner = lease.get("owner", {})
    because = f", because: {owner['reason']}" if owner.get("reason") else ""
    until = moment(str(lease.get("until", "")))
    over = f"; its lease ran out at {lease['until']}, so it is free for whoever comes next" if until and until <= now else ""
    return clean(f"{owner.get('by')} has the lock since {lease.get('since')} for {owner.get('what')}{because} (run {owner.get('run')}){over}")


HELP = [
    "status, deploys [7d], who VERSION, why RUN, lock, flags, alerts: I tell what is known.",
    "deploy VERSION [because ...], rollback [VERSION] [because ...]: I do it for people on my list, once they have confirmed it.",
    "flag NAME on|off|10%|reset [because ...], panic [MINUTES|GROUP] [because ...]: so do I with feature flags.",
]


class Confirmations:
    """Orders that wait for a yes; each account has one at most."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[str, Order, float]] = {}

    def ask(self, account: str, wish: Order, code: str, now: float) -> str:
        """Keep the order, and say what confirms it."""
        self.waiting[account] = (code, wish, now + CONFIRM_SECONDS)
        # The code comes first: whatever is long is cut at its end.
        return f"If that is meant, say within {CONFIRM_SECONDS} s: yes {code} - {wish}, because: {wish.reason}"

    def confirm(self, account: str | None, code: str, now: float) -> Order | None:
        """The order that this account confirms with this code in time; it is used up by that, and by a wrong code as well."""
        wanted, wish, until = self.waiting.pop(account or "", ("", None, 0.0))
        return wish if wanted and code == wanted and now < until else None


class Bound:
    """So many in an hour and no more: a stranger who asks again and again does not fill the ledger."""

    def __init__(self, most: int, seconds: float = 3600) -> None:
        self.most, self.seconds = most, seconds
        self.moments: list[float] = []

    def passes(self, now: float) -> bool:
        """Whether one more is within the bound; it counts then."""
        self.moments = [one for one in self.moments if now - one < self.seconds]
        if len(self.moments) >= self.most:
            return False
        self.moments.append(now)
        return True


def clean(text: str) -> str:
    """On one line of bounded length and without control characters, which mean something to chat services."""
    said = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    while len(said.encode()) > 380:
        said = said[:-8].rstrip(".") + "..."
    return said
