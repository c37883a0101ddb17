#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate rollouts that the canary gate judges, and write docs/gate.md: false alarms, and seconds until a bad release is caught.

    make gate-figures                                             # thousands of rollouts, minutes
    PYTHONPATH=collections tools/gate_figures.py --rollouts 100 --out -

The judge is the one that deployments use; only its looks are drawn at random, from a fixed seed.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.tossable.fleet.plugins.plugin_utils import gate
from ansible_collections.tossable.fleet.plugins.plugin_utils.haproxy import LATENCY_BOUNDS
from checkout import ROOT

HOSTS = 4
WAVES = (1, 1, 2)
LOOK_SECONDS = 5
BAKE_SECONDS = 60
BASELINE_SECONDS = 600
LONGEST_SECONDS = 900
RATES = (10, 100, 1000)
MEDIAN_MS, SIGMA = 40.0, 0.6
SEED = 8


@dataclass(frozen=True)
class Release:
    """How a release behaves: share of failed requests, and how many times slower than usual it is."""

    errors: float = 0.005
    slower: float = 1.0


def binomial(rng: random.Random, n: int, p: float) -> int:
    """A draw by inversion, starting at the mode: about sqrt(n p (1 - p)) steps."""
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    mode = int((n + 1) * p)
    odds = p / (1 - p)
    at_mode = math.exp(math.lgamma(n + 1) - math.lgamma(mode + 1) - math.lgamma(n - mode + 1) + mode * math.log(p) + (n - mode) * math.log1p(-p))
    left = rng.random() - at_mode
    up = down = mode
    chance_up = chance_down = at_mode
    while left > 0 and (up < n or down > 0):
        if up < n:
            chance_up *= odds * (n - up) / (up + 1)
            up += 1
            left -= chance_up
            if left <= 0:
                return up
        if down > 0:
            chance_down *= down / (odds * (n - down + 1))
            down -= 1
            left -= chance_down
            if left <= 0:
                return down
    return mode


def shares(slower: float) -> list[float]:
    """The share of each bucket of the histogram, for times that are log-normal."""
    edges = [0.5 * (1 + math.erf(math.log(bound / (MEDIAN_MS * slower)) / (SIGMA * math.sqrt(2)))) for bound in LATENCY_BOUNDS]
    return [high - low for low, high in zip([0.0, *edges], [*edges, 1.0], strict=True)]


SHARES: dict[float, list[float]] = {}


def draw(rng: random.Random, requests: int, release: Release) -> gate.Side:
    """What balancers count for so many requests."""
    latency, left, share_left = {}, requests, 1.0
    chances = SHARES.setdefault(release.slower, shares(release.slower))
    for bound, chance in zip([*LATENCY_BOUNDS, math.inf], chances, strict=True):
        if chance < 1e-9 or not left:
            continue
        count = binomial(rng, left, min(1.0, chance / share_left))
        share_left -= chance
        left -= count
        if count:
            latency[float(bound)] = count
    return gate.Side(requests, binomial(rng, requests, release.errors), latency)


def arrivals(rng: random.Random, mean: float) -> int:
    """Requests of a Poisson process; above 50 by its normal approximation."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    found, product, end = 0, rng.random(), math.exp(-mean)
    while product > end:
        found, product = found + 1, product * rng.random()
    return found


def begin(rng: random.Random, rate: float, old: Release, settings: gate.Settings) -> gate.Judge:
    """A judge who knows the baseline."""
    return gate.Judge(settings, draw(rng, arrivals(rng, rate * BASELINE_SECONDS), old), LATENCY_BOUNDS)


def look(rng: random.Random, rate: float, new_hosts: int, new: Release, old: Release, wave: int) -> gate.Look:
    """One look at a fleet of which so many hosts run the new release."""
    each = rate * LOOK_SECONDS / HOSTS
    old_hosts = HOSTS - new_hosts
    old_side = draw(rng, arrivals(rng, each * old_hosts), old) if old_hosts else gate.Side()
    return gate.Look(draw(rng, arrivals(rng, each * new_hosts), new), old_side, old_hosts > 0, wave)


def is_failed(judge: gate.Judge) -> bool:
    """Whether the gate stops the rollout now."""
    return any(measure.failed for measure in judge.measures())


def false_alarms(rollouts: int, rate: float, new: Release, old: Release, seed: int = SEED, settings: gate.Settings | None = None) -> int:
    """How many whole rollouts are stopped, out of so many; every look is taken, also those that an early pass would save."""
    stopped = 0
    for number in range(rollouts):
        rng = random.Random(f"{seed} {number} {rate} {new} {old}")
        judge = begin(rng, rate, old, settings or gate.Settings())
        looks = ((wave, sum(WAVES[:wave])) for wave in range(1, len(WAVES) + 1) for _ in range(BAKE_SECONDS // LOOK_SECONDS))
        for wave, new_hosts in looks:
            judge.look(look(rng, rate, new_hosts, new, old, wave))
            if is_failed(judge):
                stopped += 1
                break
    return stopped


def seconds_to_stop(rng: random.Random, rate: float, new: Release, old: Release) -> float:
    """Seconds from the switch of the first host until the gate fails; infinity where it has not by the end."""
    judge = begin(rng, rate, old, gate.Settings())
    for number in range(1, LONGEST_SECONDS // LOOK_SECONDS + 1):
        judge.look(look(rng, rate, WAVES[0], new, old, 1))
        if is_failed(judge):
            return number * LOOK_SECONDS
    return math.inf


def seconds_to_pass(rng: random.Random, rate: float) -> float:
    """Seconds until a release that is like the old one passes early; infinity where it has not by the end."""
    judge = begin(rng, rate, Release(), gate.Settings())
    for number in range(1, LONGEST_SECONDS // LOOK_SECONDS + 1):
        judge.look(look(rng, rate, WAVES[0], Release(), Release(), 1))
        if judge.verdict([], final=False).verdict == "pass":
            return number * LOOK_SECONDS
    return math.inf


def told(values: Sequence[float]) -> str:
    """Median, 90th percentile, and the share within the time to bake."""
    ordered = sorted(values)
    words = [
        f"{value:.0f}" if value < math.inf else f"> {LONGEST_SECONDS}" for value in (statistics.median_low(ordered), ordered[len(ordered) * 9 // 10])
    ]
    within = sum(value <= BAKE_SECONDS for value in ordered) / len(ordered)
    return f"{words[0]} ({words[1]}), {100 * within:.0f} %"


def alarm_cases() -> list[tuple[str, Release, Release]]:
    """Releases that must not be stopped: name, new, old."""
    tolerance, slower = gate.Settings().error_tolerance, gate.Settings().latency_tolerance
    return [
        ("no errors on both sides", Release(0.0), Release(0.0)),
        ("0.5 % errors on both sides", Release(), Release()),
        ("5 % errors on both sides", Release(0.05), Release(0.05)),
        (f"errors just as tolerated: 0.5 % and {100 * (0.005 + tolerance):.2g} %", Release(0.005 + tolerance), Release()),
        (f"time just as tolerated: {100 * slower:g} % more", Release(slower=1 + slower), Release()),
    ]


def harm_cases() -> list[tuple[str, Release]]:
    """Releases that must be stopped."""
    return [
        *((f"+{points} points of errors", Release(0.005 + points / 100)) for points in (1, 2, 5, 20)),
        *((f"+{percent} % latency (p95)", Release(slower=1 + percent / 100)) for percent in (20, 50)),
    ]


def page(rollouts: int) -> str:
    """The text of docs/gate.md."""
    alarms, total = [], 0
    for name, new, old in alarm_cases():
        counts = [false_alarms(rollouts, rate, new, old) for rate in RATES]
        total += sum(counts)
        alarms.append(f"| {name} | " + " | ".join(f"{100 * count / rollouts:.2f} %" for count in counts) + " |")
        print(alarms[-1], file=sys.stderr, flush=True)
    caught = []
    repeats = max(20, rollouts // 5)
    for name, new in harm_cases():
        cells = [
            told([seconds_to_stop(random.Random(f"{SEED} {name} {rate} {one}"), rate, new, Release()) for one in range(repeats)]) for rate in RATES
        ]
        caught.append(f"| {name} | " + " | ".join(cells) + " |")
        print(caught[-1], file=sys.stderr, flush=True)
    passes = [told([seconds_to_pass(random.Random(f"{SEED} pass {rate} {one}"), rate) for one in range(repeats)]) for rate in RATES]
    values = {
        "rollouts": rollouts,
        "repeats": repeats,
        "all": rollouts * len(RATES) * len(alarms),
        "total": total,
        "head": " | ".join(f"{rate} requests/s" for rate in RATES),
        "rule": "|---" * (len(RATES) + 1) + "|",
        "alarms": "\n".join(alarms),
        "caught": "\n".join(caught),
        "passes": " | ".join(passes),
        "settings": gate.Settings(),
    }
    return (ROOT / "tools" / "gate.md.in").read_text(encoding="utf-8").format(**values)


def main() -> int:
    """Write the page; exit code 1 where false alarms are more than promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1000, help="for each line and rate of the first table (default: %(default)s)")
    parser.add_argument("--out", default=str(ROOT / "docs" / "gate.md"), help="file to write, - for the terminal")
    given = parser.parse_args()
    began = time.monotonic()
    text = page(given.rollouts)
    if given.out == "-":
        print(text)
    else:
        Path(given.out).write_text(text, encoding="utf-8")
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
