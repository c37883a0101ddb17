# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A flag that is rolled out in steps: what the steps are, where one goes on, and what is judged after each look. Pure functions.

Users who have the flag's on variant are the new side, those who have its off variant the old one, over the same seconds and on the same hosts,
by what the applications count (flag_metrics). The judge is the release's (gate): one budget for the whole rollout, and where nobody has
the off variant any more, the last step is compared with what that did before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from . import flag_live, flag_metrics, flag_set, flag_steps, gate
from .flag_live import Live, Order
from .flag_set import Flag, FlagError, State

STEPS = "1,10,50,100"
#: Ansible cannot leave a loop of tasks: a look that is not needed any more costs a task, or a twelfth where its dozen had not begun.
DOZEN = 12
#: Kinds of flags that are about who gets something, not about whether it works.
NOT_ROLLED = ("permission",)


class Wish(NamedTuple):
    """What was asked for: ``steps`` as typed, times in seconds, shares as percentages of requests; ``on_inconclusive`` is wait, proceed or stop."""

    flag: str
    steps: Any = STEPS
    bake_seconds: int = 60
    look_seconds: int = 5
    wait_seconds: int = 600
    on_inconclusive: str = "proceed"
    error_tolerance: float = 0.2
    error_harm: float = 2.0
    min_requests: int = 100


def percents(typed: Any) -> list[float]:
    """Steps as numbers, from a list or a text such as 1,10,50,100; raises FlagError unless they rise, above 0 and up to 100."""
    parts = typed if isinstance(typed, list | tuple) else str(typed).split(",")
    try:
        found = [float(str(part).strip().removesuffix("%")) for part in parts]
        fits = bool(found) and all(one < other for one, other in zip([0.0, *found], [*found, math.inf], strict=True)) and found[-1] <= 100
    except ValueError:
        fits = False
    if not fits:
        typed = ",".join(str(part) for part in parts)
        raise FlagError(f"-e steps={typed} is no way up: write rising shares of users, above 0 and at most 100, such as {STEPS}")
    return [int(one) if one.is_integer() else one for one in found]


def plan(
    flags: Mapping[str, Flag],
    live: Live,
    wish: Wish,
    order: Order,
    groups: Mapping[str, Sequence[str]],
    today: date,
    run: str,
    hosts: Mapping[str, Mapping[str, Any]],
    at: float,
) -> dict[str, Any]:
    """What will be done, as plain data for the tasks that do it. ``hosts`` is what state=counted returned, read at ``at`` (seconds since the epoch).

    ``steps`` are those that are left, each with the ``changes`` that take it; ``now`` is where the rollout stands (see :func:`judged`); ``lines``
    tell it.
    Raises FlagError with everything that stands in the way; nothing has changed then.
    """
    if wish.flag not in flags:
        raise flag_live.unknown(flags, wish.flag)
    flag, wanted, override = flags[wish.flag], percents(wish.steps), live.overrides.get(wish.flag)
    counted, silent = flag_metrics.heard(hosts)
    if faults := [*_unfit(flag, override), *_times(wish), *_unseen(counted, silent)]:
        raise FlagError("\n".join(faults))
    steps = _steps(flags, live, flag, wanted, run, order.reason, today)
    if steps:
        # As it will be, so that whoever may not hears it now.
        flag_live.decide(flags, live, b"", steps[0]["changes"], order, groups, today)
    waits = wish.wait_seconds // wish.look_seconds if wish.on_inconclusive == "wait" else 0
    bakes = math.ceil(wish.bake_seconds / wish.look_seconds)
    declared = flag_set.told(flag.state)
    return {
        "flag": flag.key,
        "run": run,
        "on": flag.on,
        "off": flag.off,
        "steps": steps,
        "bake_looks": bakes,
        "most_looks": bakes + waits,
        "dozens": [list(range(first, min(first + DOZEN, bakes + waits))) for first in range(0, bakes + waits, DOZEN)],
        "look_seconds": wish.look_seconds,
        "wish": wish._asdict(),
        "declared": declared,
        "before": flag_steps.told(declared, flag_steps.before(override)),
        "lines": _lines(flag, wish, steps, override, f"{len(flag_metrics.hosts_of(counted))} of {len(hosts)} hosts", silent),
        "now": {
            "goes_on": True,
            "step": 0,
            "passed": 0,
            "verdict": "",
            "line": "",
            "readings": [_reading(counted, flag.key, 0, False, at)],
            "changes": {flag.key: flag_steps.done(run)},
            "reason": f"rolled out in {len(wanted)} steps{f': {order.reason}' if order.reason else ''}",
        },
    }


def _steps(flags: Mapping[str, Flag], live: Live, flag: Flag, wanted: Sequence[float], run: str, reason: str, today: date) -> list[dict[str, Any]]:
    """The steps that are left, from the one that is live on; none where all is done. Raises FlagError where no step is high enough."""
    override = live.overrides.get(flag.key)
    reached, under_way = _reached(flag, override), flag_steps.mark(override)
    if reached == 100 and not under_way:
        return []
    found: list[dict[str, Any]] = []
    for number, percent in enumerate(wanted, 1):
        if percent < reached:
            continue
        state = flag_set.asked(flag, flag_steps.words(percent), today) or flag.state
        change = flag_steps.step(run, number, len(wanted), percent)
        found.append(
            {
                "number": number,
                "said": f"step {number} of {len(wanted)}, {flag_set.told(state)}",
                "reason": f"step {number} of {len(wanted)}{f': {reason}' if reason else ''}",
                "changes": {flag.key: change if found else flag_steps.first(change, override)},
                "alone": _for_all(flags, live, flag, state),
            }
        )
    if not found:
        typed = ", ".join(f"{percent:g}" for percent in wanted)
        raise FlagError(f"{flag.key} is at {reached:g} % already, above every step ({typed}): add a higher one, or switch it by playbooks/flag.yml")
    return found


def _unfit(flag: Flag, override: flag_steps.Override | None) -> list[str]:
    """Why this flag cannot be rolled out to a share of users."""
    found = []
    if len(flag.variants) != 2 or not all(isinstance(value, bool) for value in flag.variants.values()):
        found.append(
            f"{flag.where}: {flag.key} has not two variants, true and false (it has: {', '.join(flag.variants)}): playbooks/flag.yml switches it"
        )
    if flag.kind in NOT_ROLLED:
        found.append(f"{flag.where}: {flag.key} is of kind {flag.kind}, it says who gets something: switch it by playbooks/flag.yml")
    state = (override or {"state": flag.state})["state"]
    if not {"to", "percent"} & set(state):
        found.append(
            f"{flag.key} is by a rule now ({flag_set.told(state)}), and a share of all users would replace that: playbooks/flag.yml switches it"
        )
    return found


def _unseen(counted: Mapping[str, Mapping[str, Any]], silent: Sequence[str]) -> list[str]:
    """That nothing could be judged, where no application shows what it counts."""
    if any(counts["counts_requests"] for counts in counted.values()):
        return []
    where = "Say where by flag_metrics in the inventory (docs/guides/flags.md), or switch it by playbooks/flag.yml:"
    said = "".join(f"\n- {line}" for line in silent or ["what was read there has no such counter"])
    return [f"no host shows what its application has counted by flag and variant, so nothing could be judged. {where}{said}"]


def _times(wish: Wish) -> list[str]:
    return [
        f"-e {name}={seconds} has to be 1 or more: what is not watched is a switch, playbooks/flag.yml"
        for name, seconds in (("bake_seconds", wish.bake_seconds), ("rollout_look_seconds", wish.look_seconds))
        if seconds < 1
    ]


def _reached(flag: Flag, override: flag_steps.Override | None) -> float:
    """For how many per cent of users it is on."""
    state = (override or {"state": flag.state})["state"]
    return float(state["percent"]) if "percent" in state else 100.0 if state == {"to": flag.on} else 0.0


def _for_all(flags: Mapping[str, Flag], live: Live, flag: Flag, state: State) -> bool:
    """Whether everybody has the on variant in that state; raises FlagError where nobody could have it."""
    states = {key: live.overrides[key]["state"] if key in live.overrides else one.state for key, one in flags.items()}
    given = flag_set.variant(flags, {**states, flag.key: state}, flag.key)
    if given == flag.off:
        raise FlagError(
            f"{flag.where}: {flag.key} requires {', '.join(flag.requires)}, and as that is now nobody would get {flag.key}: switch that first"
        )
    return given == flag.on


def _lines(
    flag: Flag, wish: Wish, steps: Sequence[Mapping[str, Any]], override: flag_steps.Override | None, where: str, silent: Sequence[str]
) -> list[str]:
    declared = flag_set.told(flag.state)
    now = flag_steps.told(declared, override)
    if not steps:
        return [f"{flag.key} is {now}: nothing is left to be rolled out."]
    under_way = flag_steps.mark(override)
    then = {"wait": f"waits for up to {wish.wait_seconds} s more, then goes back", "proceed": "goes on", "stop": "goes back"}[wish.on_inconclusive]
    against = f"variant {flag.on} against variant {flag.off}, by the errors that applications count on {where}"
    watched = f"Each is watched for {wish.bake_seconds} s, or until there is a verdict: {against}."
    return [
        f"{flag.key} is {now}.",
        *(["A rollout is under way, step {step} of {of} (run {run}): this one goes on from there.".format(**under_way)] if under_way else []),
        *(f"- {step['said']}" for step in steps),
        f"{watched} Where that is inconclusive it {then}.",
        f"On harm it goes back by itself to what was live before: {flag_steps.told(declared, flag_steps.before(override))}.",
        *(f"Not counted: {line}" for line in silent),
    ]


def _reading(counted: Mapping[str, Mapping[str, Any]], flag: str, step: int, alone: bool, at: float) -> dict[str, Any]:
    """What was counted of the flag, condensed to what the gate needs, to be kept between tasks."""
    variants = {key: {"began": counts["began"], "variants": counts["requests"].get(flag, {})} for key, counts in counted.items()}
    return {"at": at, "step": step, "alone": alone, "counted": variants}


def looks(readings: Sequence[Mapping[str, Any]], on: str, off: str) -> list[gate.Look]:
    """Each pair of readings as a look. An application that was silent counts when it speaks again, over the whole time since: on both sides alike.

    Raises ValueError where readings are not in the order of time.
    """
    times = [reading["at"] for reading in readings]
    if times != sorted(times):
        raise ValueError(f"readings are not in the order of time: {times}")
    last: dict[str, Mapping[str, Any]] = {}
    found = []
    for number, reading in enumerate(readings):
        sides = {on: gate.Side(), off: gate.Side()}
        for key, counts in reading["counted"].items():
            known = last.get(key)
            if known:
                grown = flag_metrics.difference(known["variants"], counts["variants"], known["began"] == counts["began"])
                sides = {variant: side + _side(grown.get(variant, (0, 0))) for variant, side in sides.items()}
            last[key] = counts
        if number:
            found.append(gate.Look(sides[on], sides[off], not reading["alone"], reading["step"]))
    return found


def _side(figures: Sequence[float]) -> gate.Side:
    return gate.Side(int(figures[1]), int(figures[0]))


def baseline(reading: Mapping[str, Any], off: str) -> gate.Side:
    """All that the off variant has done since the applications began to count."""
    total = gate.Side()
    for counts in reading["counted"].values():
        total += _side(counts["variants"].get(off, (0, 0)))
    return total


def verdict(readings: Sequence[Mapping[str, Any]], on: str, off: str, settings: gate.Settings, final: bool) -> gate.Verdict:
    """The verdict on all readings of a rollout so far; raises ValueError where they are not in the order of time."""
    judging = gate.Judge(settings, baseline(readings[0], off), words=(f"variant {off}", "this step began"))
    for look in looks(readings, on, off):
        judging.look(look)
    return judging.verdict(None, final)


def judged(
    plan: Mapping[str, Any],
    now: Mapping[str, Any],
    step: Mapping[str, Any],
    look: int,
    hosts: Mapping[str, Mapping[str, Any]],
    lost: str,
    at: float,
) -> dict[str, Any]:
    """Where the rollout stands after a look (the first of a step is 0): ``goes_on``, the ``step`` that was looked at, ``passed`` the last one that is
    done with, ``verdict``, ``line``, ``readings``, and the ``changes`` and ``reason`` of the switch by which it ends.

    ``hosts`` is what state=counted returned at ``at`` (seconds since the epoch), ``lost`` says that somebody else has switched the flag.
    """
    wish = Wish(**plan["wish"])
    head = f"{plan['flag']}, {step['said']}"
    now = {**now, "step": step["number"]}
    if lost:
        return {**now, "goes_on": False, "verdict": "lost", "line": lost, "reason": lost, "changes": {plan["flag"]: flag_steps.back(plan["run"])}}
    counted, silent = flag_metrics.heard(hosts)
    readings = [*now["readings"], _reading(counted, plan["flag"], step["number"], step["alone"], at)]
    settings = gate.Settings(error_tolerance=wish.error_tolerance / 100, error_harm=wish.error_harm / 100, min_requests=wish.min_requests)
    final = look + 1 >= plan["bake_looks"]
    found = verdict(readings, plan["on"], plan["off"], settings, final)
    line = "; ".join([f"{head}: {found.line}", *(f"no answer from {one}" for one in silent)])
    last = look + 1 >= plan["most_looks"]
    decided = found.decided or last or (final and (found.verdict == "pass" or wish.on_inconclusive != "wait"))
    stops = decided and (found.verdict == "fail" or (found.verdict == "inconclusive" and wish.on_inconclusive != "proceed"))
    course = {
        **now,
        "verdict": found.verdict,
        "line": line,
        "readings": readings,
        "passed": step["number"] if decided and not stops else now["passed"],
    }
    if stops:
        course |= {"goes_on": False, "reason": f"taken back: {line}", "changes": {plan["flag"]: flag_steps.back(plan["run"])}}
    return course


def ended(plan: Mapping[str, Any], now: Mapping[str, Any], summary: str, missed: str) -> tuple[bool, str]:
    """Whether a rollout has ended well, and what is said of it, last of all why. ``summary`` is of its last switch, ``missed`` who did not get it."""
    if now["goes_on"]:
        said = f"{plan['flag']} is rolled out. {summary}. {now['line']}"
        return not missed, "\n".join([said, missed]).strip()
    back = f"{plan['flag']} was taken back to what was live before ({plan['before']}). " if now["verdict"] != "lost" else ""
    return False, "\n".join([missed, f"{back}{now['line']}"]).strip()
