# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is announced to whom, and in which words. Pure functions; the address of a target may hold a secret and is in no text made here.

A *story* is what all events of a run share, a dict: ``kind``, ``app``, ``environment``, ``version``, ``run``, ``by``, ``on_behalf_of``, ``reason``.
An *event* is a dict with its name in ``event`` and what `_WORDS` reads of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

#: Bytes: a line of IRC holds 512 of them, with the sender's name and the channel.
LONGEST = 380
_KEYS = ("to", "events", "name")


class Target(NamedTuple):
    """Who is told, which events, and what the target is called where it has to be named."""

    label: str
    to: str
    events: tuple[str, ...]


def targets(announce: Sequence[Any]) -> list[Target]:
    """The data of `announce` as targets; ValueError with every mistake, its place and what is possible."""
    found, wrong = [], []
    for number, entry in enumerate(announce):
        place = f"announce[{number}]"
        if not isinstance(entry, Mapping):
            wrong.append(f"{place} is not of the form {{to: ADDRESS, events: [{', '.join(EVENTS[:2])}]}}")
            continue
        wrong += [f"{place} has '{key}', which is not known: there are {', '.join(_KEYS)}" for key in entry if key not in _KEYS]
        to, events, name = entry.get("to"), entry.get("events", list(EVENTS)), entry.get("name", "")
        if not isinstance(to, str) or not to:
            wrong.append(f"{place}.to is missing: say where to, {ADDRESSES}")
            continue
        if not isinstance(events, list) or not events:
            wrong.append(f"{place}.events is not a list of events: there are {', '.join(EVENTS)}")
            continue
        wrong += [f"{place}.events: {event!r} is not known: there are {', '.join(EVENTS)}" for event in events if event not in EVENTS]
        found.append(Target(label(place, to, str(name)), to, tuple(map(str, events))))
    if wrong:
        raise ValueError(listed(wrong))
    return found


ADDRESSES = "an address as the library apprise reads it, for example ircs://robot@irc.example/#ops or mailto://..."


def label(place: str, to: str, name: str) -> str:
    """How the target is called: its name, else its place and the kind of service; nothing else of the address is shown."""
    scheme = re.match(r"[a-z][a-z0-9+.-]{0,20}(?=://)", to, re.IGNORECASE)
    return _clean(name) or (f"{place} ({scheme[0].lower()})" if scheme else place)


def listed(wrong: Sequence[str]) -> str:
    """Mistakes, a line each."""
    return "\n".join(f"- {one}" for one in wrong)


def refusal(mistakes: str) -> str:
    """What is told where `announce` cannot be meant, and nothing begins."""
    return f"Nothing was changed, because announcements could not be sent as they stand in the inventory:\n{mistakes}"


def left_aside(mistakes: str) -> str:
    """The same for a run that goes on all the same."""
    return f"Announcements cannot be sent as they stand in the inventory; the run goes on without those:\n{mistakes}"


def unreadable(number: int) -> str:
    """What is told of an address that apprise cannot read."""
    return f"announce[{number}].to cannot be read (it is not shown, it may hold a secret): expected is {ADDRESSES}"


def whole(story: Mapping[str, Any], event: Mapping[str, Any], now: datetime, uptime: float) -> dict[str, Any]:
    """An event as its words read it, where tasks tell only what they know: which wave it was, and how a run came to its end (``ended``).

    How long it took is what the ledger was told (``seconds``), else the time since it took the lock (``since``), both by `uptime`.
    """
    if "batch" in event:
        return {**event, "number": wave(event["waves"], event["all"], event["batch"]), "of": len(event["waves"])}
    if event["event"] == "recovering":
        return {**event, "cause": cause(event["aborted"], "")}
    if event["event"] == "ended":
        ended = outcome(story["kind"], event["aborted"], event["well"], event["switched"], event["stranded"])
        why = cause(event["aborted"], event.get("msg", "")) if event["aborted"] or not event["well"] else ""
        return {**event, "event": ended, "cause": why, "seconds": _took(story, event, now, uptime)}
    return dict(event)


def line(story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """One event in one line, whatever the texts of others in it contain."""
    head = f"{story['kind']} {story['app']} {story['version']} in {story['environment']}"
    if not story["version"]:
        head = f"flags in {story['environment']}:" if story["kind"] == "flag" else f"{head}:"
    tail = f" (run {story['run']})"
    said = _clean(f"{head} {_WORDS[event['event']](story, event)}")
    raw, room = said.encode(), LONGEST - len(tail.encode())
    return (said if len(raw) <= room else raw[: room - 3].decode(errors="ignore") + "...") + tail


def outcome(kind: str, aborted: Mapping[str, Any], ended: bool, switched: bool, stranded: bool) -> str:
    """How a run ended: ``deployed``, ``rolled_back``, ``failed``, or ``staged`` where it was to do no more than that (``--tags stage``).

    ``aborted`` says why it was, and is empty where it was not; ``ended`` tells that nothing failed after that either; ``switched`` that waves
    had begun; ``stranded`` that a host is not back on the release it came from.
    """
    if not aborted:
        return ("rolled_back" if kind == "rollback" else "deployed" if switched else "staged") if ended else "failed"
    return "rolled_back" if kind == "deploy" and switched and not stranded else "failed"


def cause(aborted: Mapping[str, Any], msg: str) -> str:
    """Why a run did not end well, in one line: what the run's own last line says."""
    if aborted:
        return _clean(f"failed on {aborted['host']}: {_first_line(aborted['reason'])}")
    return _clean(_first_line(msg))


def wave(sizes: Sequence[int], hosts: Sequence[str], batch: Sequence[str]) -> int:
    """Which wave ``batch`` is, counted from 1; ``hosts`` are all of the play in their order, cut into waves of these sizes."""
    begins, first = 0, hosts.index(batch[0])
    for number, size in enumerate(sizes, start=1):
        begins += size
        if first < begins:
            return number
    return len(sizes)


def _took(story: Mapping[str, Any], event: Mapping[str, Any], now: datetime, uptime: float) -> int | None:
    """Without ledger and lock a run waits for nobody, and its id is as old as itself."""
    if event.get("seconds") is not None:
        return round(float(event["seconds"]))
    return round(max(uptime - float(event["since"]), 0.0)) if event.get("since") is not None else seconds_since(story["run"], now)


def seconds_since(run: str, now: datetime) -> int | None:
    """Seconds since the run took its id, which begins with the time (UTC); None where it does not."""
    try:
        began = datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0, round((now - began).total_seconds()))


def who(story: Mapping[str, Any]) -> str:
    """Who did it, and for whom."""
    return f"{story['by']} on behalf of {story['on_behalf_of']}" if story.get("on_behalf_of") else str(story["by"])


def _because(story: Mapping[str, Any]) -> str:
    return f", because: {story['reason']}" if story["reason"] else ""


def _started(story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    ordered = f", by {who(story)}{_because(story)}"
    if "migrations" in event:
        return f"started: {', '.join(event['migrations']) or 'no migration is pending'}{ordered}"
    moving = [move for move in event["hosts"].values() if move["changes"]]
    left = ", ".join(sorted({move["from"] or "nothing" for move in moving}))
    where = f"on {_many(len(moving), 'host')} in {_many(len(event['waves']), 'wave')}"
    what = f"{left} -> {event['release']} {where}" if moving else "no host has to change"
    return f"started: {what}{ordered}"


def _interrupted(_story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    return f"{'goes on with' if event['continues'] else 'follows'} run {event['continues'] or event['before']}, which was interrupted"


def _wave(_story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    return f"wave {event['number']} of {event['of']} done: {', '.join(sorted(event['hosts'])) or 'no host'}"


def _gate(_story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    verdict = "" if str(event["line"]).startswith(event["verdict"]) else f"{event['verdict']}: "
    return f"gate of wave {event['number']} of {event['of']}: {verdict}{event['line']}"


def _noted(story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    return f"{event['text']}, by {who(story)}, {'because: ' + story['reason'] if story['reason'] else 'no reason given'}"


def _ended(word: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], str]:
    def words(story: Mapping[str, Any], event: Mapping[str, Any]) -> str:
        took = "" if event.get("seconds") is None else f" after {event['seconds']} s"
        left = f", without {', '.join(event['lost'])}" if event.get("lost") else ""
        # Why it was ordered is not why it did not end well.
        return f"{word}{took}{left}" + (f": {event['cause']}; it was ordered" if event.get("cause") else ",") + f" by {who(story)}{_because(story)}"

    return words


_WORDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "started": _started,
    "interrupted": _interrupted,
    "wave": _wave,
    "gate": _gate,
    "recovering": lambda _story, event: f"goes back: {event['cause']}",
    "staged": _ended("staged (no host switched)"),
    "deployed": _ended("deployed"),
    "rolled_back": _ended("rolled back"),
    "failed": _ended("failed"),
    **dict.fromkeys(("flag", "unlock", "maintenance", "toss"), _noted),
}
EVENTS = tuple(_WORDS)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _first_line(text: object) -> str:
    return next(iter(str(text).strip().splitlines()), "") or "no reason known"


def _clean(text: str) -> str:
    """On one line and without control characters, which mean something to chat services."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
