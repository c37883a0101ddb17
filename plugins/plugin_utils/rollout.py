# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run for the terminal: each event as lines, and the whole as a picture of few lines. Pure functions over what `watching` saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .watching import HIDDEN, Ended

#: Width of the first column, in which the longest word is "unreachable"; a host's name may be longer.
LABEL = 12
#: Hosts that the picture names in one line, and waves that it has lines for.
NAMED = 6
WAVES = 4
#: Phases in which a batch of a play is a wave, as deploy.yml, reconcile.yml and rollback.yml call them.
ROLLS = ("Roll", "Roll back")


@dataclass
class Course:
    """How far the run is; times are seconds of the run."""

    plays: Sequence[str] = ()
    play: str = ""
    batch: int = 1
    at: int = -1
    #: Tasks that run now, by host, each with when it began.
    running: dict[str, tuple[str, float]] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    planned: float = 0.0
    #: How the switch of each host ended, and the steps of it.
    switched: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    gate: str = ""

    def begin(self, play: str) -> list[str]:
        """A play begins, or its next batch; its line."""
        if play == self.play:
            self.batch += 1
        else:
            self.play, self.batch = play, 1
            later = [number for number, name in enumerate(self.plays) if name == play and number > self.at]
            self.at = later[0] if later else self.at
        self.running.clear()
        hosts = self.wave(self.batch) if rolls(play) else []
        number = f" (wave {self.batch}: {', '.join(hosts)})" if hosts else f" ({self.batch})" if self.batch > 1 else ""
        return ["", f"{play or 'play'}{number}"]

    def wave(self, number: int) -> list[str]:
        """The hosts of a wave, from 1, by the plan."""
        return [host for host, move in (self.plan.get("hosts") or {}).items() if move.get("wave") == number]

    def see(self, ended: Ended, now: float) -> None:
        """A task ended on a host."""
        self.running.pop(ended.host, None)
        if "kind" in ended.told and "hosts" in ended.told:
            self.plan, self.planned = ended.told, now
        if "verdict" in ended.told:
            self.gate = str(ended.told.get("line") or ended.told["verdict"])
        if "steps" in ended.told or (ended.action.endswith(".release") and ended.status == "failed"):
            steps = ended.told.get("steps") or ()
            self.switched[ended.host] = "failed" if ended.status == "failed" else f"{total(steps):.1f} s"
            self.steps[ended.host] = f"{'failed after ' if ended.status == 'failed' and steps else ''}{steps_of(steps)}"


def phase(play: str) -> str:
    """The short name of a play: what stands before its explanation."""
    return play.partition(" - ")[0]


def rolls(play: str) -> bool:
    """Whether the play takes hosts wave by wave."""
    return phase(play) in ROLLS


def total(steps: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of all steps."""
    return sum(float(step["seconds"]) for step in steps)


def steps_of(steps: Sequence[Mapping[str, Any]]) -> str:
    """Each step of a host's transaction with its seconds."""
    return ", ".join(f"{step['step']} {float(step['seconds']):.2f} s" for step in steps)


def labelled(label: str, text: str) -> list[str]:
    """Lines with a word in the first column of the first one, the others below."""
    first, *rest = text.splitlines() or [""]
    head = f"{label:<{LABEL - 1}} " if label else " " * LABEL
    return [f"{head}{first}".rstrip(), *(f"{'':{LABEL}}{line}".rstrip() for line in rest)]


def event(ended: Ended, where: str) -> list[str]:
    """What there is to say of a task that ended on a host; nothing where it changed nothing and has nothing to say."""
    if ended.status in ("failed", "unreachable", "ignored"):
        return failure(ended, where)
    if ended.status == "skipped":
        return []
    if ended.told.get("steps"):
        return labelled(ended.host, switch(ended.told))
    if "verdict" in ended.told:
        return labelled("gate", str(ended.told.get("line") or ended.told["verdict"]))
    if ended.message and ended.message != HIDDEN:
        return ended.message.splitlines()
    return labelled("changed", f"{ended.host}: {ended.task}") if ended.status == "changed" else []


def switch(told: Mapping[str, Any]) -> str:
    """The steps of a host's transaction, each with its seconds, and what was noticed."""
    notes = [f"! {note}" for note in told.get("notes") or ()]
    return "\n".join([f"{told.get('release') or ''} in {total(told['steps']):.1f} s: {steps_of(told['steps'])}".strip(), *notes])


def failure(ended: Ended, where: str) -> list[str]:
    """What failed, where, and the evidence; what to do next is the end of the message of the fleet's own actions."""
    if ended.status == "ignored":
        return labelled("ignored", f"{ended.host}: {ended.task}: {(ended.message or 'no reason given').splitlines()[0]}")
    lines = labelled(ended.status, f"{ended.host}: {ended.task}{f' ({where})' if where else ''}")
    lines += labelled("", ended.message or "no reason given")
    return [*lines, *(f"{'':{LABEL}}| {line}".rstrip() for line in ended.evidence)]


def picture(course: Course, now: float) -> list[str]:
    """The run as it is now: what and how long, phases, waves with their hosts, the gate, what runs."""
    lines = [_head(course, now)]
    names = list(dict.fromkeys(phase(play) for play in course.plays))
    if len(names) > 1:
        done = phase(course.play)
        lines.append("  ".join(f"[{name}]" if name == done else name for name in names))
    lines += _waves(course, now)
    if course.gate:
        lines += labelled("gate", course.gate)[:1]
    running = dict(course.running)
    if running:
        first = next(iter(running.values()))
        hosts = [host for host, (task, _since) in running.items() if task == first[0]]
        lines += labelled("now", f"{first[0]}: {shortened(hosts)} ({now - first[1]:.0f} s)")[:1]
    return lines


def _head(course: Course, now: float) -> str:
    plan = course.plan
    what = " ".join(str(plan[word]) for word in ("kind", "app", "version") if plan.get(word)) or phase(course.play) or "run"
    seconds = (plan.get("estimate") or {}).get("seconds")
    if seconds is None:
        return f"{what}  {now:.0f} s"
    left = seconds - (now - course.planned)
    return f"{what}  {now:.0f} s, {f'about {left:.0f} s left' if left >= 1 else 'longer than the last ones took'}"


def _waves(course: Course, now: float) -> list[str]:
    numbers = sorted({move.get("wave") or 0 for move in (course.plan.get("hosts") or {}).values()} - {0})
    current = course.batch if rolls(course.play) else 1
    first = max(0, min(current - 2, len(numbers) - WAVES))
    lines = []
    for number in numbers[first : first + WAVES]:
        hosts = [f"{host} {_state(course, host, now)}".strip() for host in course.wave(number)]
        lines += labelled(f"wave {number}", shortened(hosts))[:1]
        if number == current:
            lines += _steps(course, course.wave(number), now)
    return lines


def _steps(course: Course, hosts: Sequence[str], now: float) -> list[str]:
    """A line for each host of the wave at work, where they are few: the steps of its transaction, which it tells all at once when it has ended."""
    if not rolls(course.play) or len(hosts) > NAMED:
        return []
    lines = []
    for host in hosts:
        if host in course.running:
            lines += labelled("", f"{host}: {course.running[host][0]} ({now - course.running[host][1]:.0f} s)")[:1]
        elif course.steps.get(host):
            lines += labelled("", f"{host}: {course.steps[host]}")[:1]
    return lines


def _state(course: Course, host: str, now: float) -> str:
    running = course.running.get(host)
    if rolls(course.play) and running:
        return f"... {now - running[1]:.0f} s"
    return course.switched.get(host, "")


def shortened(names: Sequence[str]) -> str:
    """Some names, and how many more."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
