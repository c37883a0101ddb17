# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judge a new release against the old one from load balancers' counters. Pure functions; standard library only.

A *look* is what was counted between two readings, on hosts of the new release and on hosts of the old one, over the same seconds.
Every measure is a share of requests: those that failed, or those slower than a bound. Each is tested by an e-process, so that one
may look as often as one likes (Ville's inequality: under the null hypothesis an e-process ever reaches 1/alpha with a probability of at
most alpha). The error budget alpha is spent once for a whole rollout; `Settings` says how it is split.

Sources:

- Turner, Ly, Grünwald (2024), Generic E-variables for exact sequential k-sample tests that allow for optional stopping, J. Stat. Plan.
  Inference 230; Turner, Grünwald (2023), Exact anytime-valid confidence intervals for contingency tables and beyond, Stat. & Prob. Letters
  198: the e-variable for two proportions and a convex null hypothesis, see `Proportions.look`.
- Ville (1939); Shafer (2021), Testing by betting, JRSS A 184: products and averages of e-values.
- Robbins (1970), Statistical methods related to the law of the iterated logarithm, Ann. Math. Stat. 41: the beta-binomial mixture
  in `rate_bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from . import gate_series

Word = Literal["pass", "fail", "inconclusive"]

#: Alternatives that the tests bet on: how much worse than tolerated the new side is, as a share of its requests.
LIFTS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
#: Alternatives that an early pass bets on: the new side's share, as parts of the share that would be harm.
PARTS: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)
#: Shares are kept this far from 0 and 1, where a likelihood ratio would be infinite.
TINY: Final = 1e-6
#: The bounds of the histogram around this quantile of the old side are compared.
QUANTILE: Final = 0.95
INFINITY: Final = "inf"


@dataclass(frozen=True)
class Settings:
    """What counts as worse, and how sure one has to be.

    Shares are fractions of 1 (0.02 is 2 percentage points of requests, or 2 % of time). A release fails when it is worse than the tolerance
    beyond doubt, and passes early when harm is excluded beyond doubt.

    ``alpha`` is the probability that a release no worse than tolerated fails at any look of the rollout. Each measure gets an equal part; half of
    that is for the comparison with old hosts, a quarter for the bound of the baseline's rate, a quarter for the comparison with that bound.
    ``beta`` is the same for passing a release early that does harm, for each measure.
    """

    alpha: float = 0.01
    beta: float = 0.05
    error_tolerance: float = 0.002
    error_harm: float = 0.02
    latency_tolerance: float = 0.1
    latency_harm: float = 0.5
    min_requests: int = 100


@dataclass(frozen=True)
class Side:
    """What was counted on one side during a look.

    ``latency`` maps a bucket's upper bound in ms (math.inf for the last one) to the requests in that bucket alone, not cumulative.
    ``measures`` maps a further measure to (events, total).
    """

    requests: int = 0
    errors: int = 0
    latency: Mapping[float, int] = field(default_factory=dict)
    measures: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __add__(self, other: Side) -> Side:
        return Side(
            self.requests + other.requests,
            self.errors + other.errors,
            {bound: self.latency.get(bound, 0) + other.latency.get(bound, 0) for bound in sorted({*self.latency, *other.latency})},
            {
                name: (
                    self.measures.get(name, (0, 0))[0] + other.measures.get(name, (0, 0))[0],
                    self.measures.get(name, (0, 0))[1] + other.measures.get(name, (0, 0))[1],
                )
                for name in sorted({*self.measures, *other.measures})
            },
        )


@dataclass(frozen=True)
class Look:
    """Both sides over the same seconds; ``old_left`` is whether any host still runs the old release, ``wave`` how many have switched.

    ``arrived`` is how many of the new side's requests went to hosts that switched with this wave, None where all of them count.
    """

    new: Side
    old: Side
    old_left: bool = True
    wave: int = 1
    arrived: int | None = None


@dataclass(frozen=True)
class Measure:
    """One measure's figures: shares of both sides (None without data), their sample sizes, and the evidence against what it needs."""

    name: str
    new: float | None
    old: float | None
    new_requests: float
    old_requests: float
    old_is: str
    worse: float
    threshold: float
    harmless: bool
    unit: Literal["%", "ms"] = "%"

    @property
    def failed(self) -> bool:
        """Whether the evidence that the new side is worse than tolerated has reached its threshold."""
        return self.worse >= self.threshold


@dataclass(frozen=True)
class Verdict:
    """The gate's word, one line that says why, and the figures behind it. ``decided`` means that further looks cannot change it for the better."""

    verdict: Word
    line: str
    decided: bool
    measures: tuple[Measure, ...]


def divergence(a: float, b: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions in nats."""
    return sum(p * math.log(p / q) for p, q in ((a, b), (1 - a, 1 - b)) if p > 0)


def clamp(share: float) -> float:
    """A share that has a finite logarithm on both sides."""
    return min(max(share, TINY), 1 - TINY)


def project(new: float, old: float, offset: float, new_requests: float, old_requests: float) -> tuple[float, float]:
    """The point of the line new = old + offset nearest to (new, old), by divergence weighted with the numbers of requests.

    All arguments but the numbers are shares. Its slope is monotonic along the line, so bisection finds the point to 1e-13.
    """
    if not offset:
        mean = clamp((new_requests * new + old_requests * old) / (new_requests + old_requests))
        return mean, mean
    low, high = max(TINY, TINY - offset), min(1 - TINY, 1 - TINY - offset)

    def slope(x: float) -> float:
        shifted = x + offset
        return new_requests * (shifted - new) / (shifted * (1 - shifted)) + old_requests * (x - old) / (x * (1 - x))

    # The nearest point lies between the two unconstrained ones.
    low, high = max(low, min(old, new - offset)), min(high, max(old, new - offset))
    while high - low > 1e-13 + 1e-10 * low:
        middle = (low + high) / 2
        if slope(middle) > 0:
            high = middle
        else:
            low = middle
    return clamp((low + high) / 2 + offset), clamp((low + high) / 2)


def log_ratio(events: float, total: float, alternative: float, null: float) -> float:
    """Log likelihood ratio of events among total under two shares."""
    return events * math.log(alternative / null) + (total - events) * math.log((1 - alternative) / (1 - null))


def log_mean_exp(logs: Sequence[float]) -> float:
    """Logarithm of the mean of the exponentials."""
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


@dataclass
class Proportions:
    """E-process against "the new side's share is at most (``direction`` 1) or at least (-1) the old side's plus ``offset``".

    Each look multiplies the e-process of each alternative by

        prod_i p*(y_i) / p0(y_i)

    over all requests of the look, where p* are the shares bet on and p0 the point of the null hypothesis nearest to them in divergence,
    weighted by the numbers of requests. With c = (p* - p0) / (p0 (1 - p0)) on each side its expectation under shares q of the null is
    prod (1 + (q - p0) c)^n <= exp(sum n c (q - p0)) <= 1: the last step is the optimality of the projection on a half-plane, which is convex
    (Turner, Grünwald 2023, theorem 1). It holds for every look by itself, so shares may change from look to look (a busy hour, a broken
    database) as long as the two sides keep to the null. Fractional events in [0, 1] keep it, by convexity. The bet may depend
    on earlier looks only: the old side's share is learnt from them. The mean over alternatives is an e-process again.
    """

    offset: float
    direction: Literal[1, -1] = 1
    events: float = 0.5
    total: float = 50.0
    logs: list[float] = field(default_factory=lambda: [0.0] * len(LIFTS))
    best: float = -math.inf

    def learn(self, events: float, total: float) -> None:
        """Take the old side's figures as what to expect of it from the next look on."""
        self.events += events
        self.total += total

    def look(self, new: tuple[float, float], old: tuple[float, float]) -> None:
        """One look: events and total of each side."""
        if new[1] > 0 and old[1] > 0:
            expected = clamp(self.events / self.total)
            for index, bet in enumerate(self._bets(clamp(expected + self.offset))):
                null_new, null_old = project(bet, expected, self.offset, new[1], old[1])
                self.logs[index] += log_ratio(*new, bet, null_new) + log_ratio(*old, expected, null_old)
            self.best = max(self.best, log_mean_exp(self.logs))
        self.learn(*old)

    def look_alone(self, new: tuple[float, float], bound: float) -> None:
        """One look at the new side, against a fixed share plus the offset: one-sample, the nearest point of the null is its boundary."""
        if new[1] <= 0:
            return
        null = clamp(bound + self.offset)
        for index, bet in enumerate(self._bets(null)):
            self.logs[index] += log_ratio(*new, bet, null)
        self.best = max(self.best, log_mean_exp(self.logs))

    def _bets(self, edge: float) -> list[float]:
        """What the new side's share is bet to be, where the null hypothesis ends at ``edge``."""
        if self.direction == 1:
            return [clamp(edge + lift) for lift in LIFTS]
        return [clamp(edge * part) for part in PARTS]

    @property
    def value(self) -> float:
        """The largest e-value seen so far; the null hypothesis is refused at level alpha when it is at least 1/alpha."""
        return math.exp(min(self.best, 700.0)) if self.best > -math.inf else 1.0


def rate_bounds(events: float, total: float, alpha: float) -> tuple[float, float]:
    """Bounds of a share that hold at every sample size at once with probability 1 - alpha; (0, 1) without data.

    The beta-binomial mixture with a uniform prior (Robbins 1970): a share p is refused when
    B(events + 1, total - events + 1) / (p^events (1 - p)^(total - events)) reaches 1/alpha.
    """
    if total <= 0:
        return 0.0, 1.0
    mixture = math.lgamma(events + 1) + math.lgamma(total - events + 1) - math.lgamma(total + 2)

    def refused(share: float) -> bool:
        chance = clamp(share)
        return mixture - events * math.log(chance) - (total - events) * math.log(1 - chance) >= -math.log(alpha)

    def edge(inside: float, outside: float) -> float:
        for _step in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if refused(middle) else (middle, outside)
        return outside

    seen = events / total
    return (edge(seen, 0.0) if refused(0.0) else 0.0), (edge(seen, 1.0) if refused(1.0) else 1.0)


def slower_than(histogram: Mapping[float, int], bound: float) -> float:
    """Requests slower than a bound in ms, within a bucket by interpolation of the logarithm of time (fractional)."""
    found, lower = 0.0, 0.0
    for upper in sorted(histogram):
        if lower >= bound:
            found += histogram[upper]
        elif upper > bound:
            inside = 1.0 if math.isinf(upper) else math.log(upper / bound) / math.log(upper / max(lower, upper / 2))
            found += histogram[upper] * min(inside, 1.0)
        lower = upper
    return found


def filled(histogram: Mapping[float, int], bounds: Iterable[float]) -> dict[float, int]:
    """The histogram with a count for each of the bounds: a bucket that never counted is not in the balancer's table."""
    return {bound: histogram.get(bound, 0) for bound in sorted({*histogram, *bounds})}


def quantile(histogram: Mapping[float, int], share: float) -> float | None:
    """Upper bound in ms of the bucket in which the quantile lies; None without data."""
    left = share * sum(histogram.values())
    for upper in sorted(histogram):
        left -= histogram[upper]
        if left <= 0 and histogram[upper]:
            return upper
    return None


@dataclass
class _Test:
    """One measure (or one bound of the histogram): worse than tolerated, and harm excluded, against old hosts and against the baseline."""

    tolerance: float
    harm: float
    worse: Proportions = field(init=False)
    harmless: Proportions = field(init=False)
    worse_alone: Proportions = field(init=False)
    harmless_alone: Proportions = field(init=False)

    def __post_init__(self) -> None:
        self.worse = Proportions(self.tolerance)
        self.harmless = Proportions(self.harm, -1)
        self.worse_alone = Proportions(self.tolerance)
        self.harmless_alone = Proportions(self.harm, -1)

    def learn(self, events: float, total: float) -> None:
        self.worse.learn(events, total)
        self.harmless.learn(events, total)


class Judge:
    """Takes looks in the order of time and gives a verdict after any of them; what it has seen is all that it depends on.

    ``baseline`` is what was counted before the first switch: it is learnt from, and where old hosts gave too little it is what the last
    wave, without old hosts, is compared with. ``names`` are the further measures, each with its (tolerance, harm) as shares. Without ``bounds`` of a
    histogram latency is no measure. ``words`` says what the other side is called, and since when the requests of a wave count.
    """

    def __init__(
        self,
        settings: Settings,
        baseline: Side,
        bounds: Sequence[float] = (),
        names: Mapping[str, tuple[float, float]] | None = None,
        words: tuple[str, str] = ("old hosts", "this wave switched"),
    ) -> None:
        self.settings = settings
        self.bounds = sorted(bounds)
        self.before = baseline
        self.new = self.old = self.new_alone = Side()
        self.in_wave = Look(Side(), Side(), arrived=0)
        self.names = dict(names or {})
        self.old_side, self.since = words
        self.shares = {"errors": _Test(settings.error_tolerance, settings.error_harm)}
        self.shares |= {name: _Test(tolerance, harm) for name, (tolerance, harm) in self.names.items()}
        self.slow: dict[float, _Test] = {}
        self.shares["errors"].learn(baseline.errors, baseline.requests)
        self._choose_bounds(baseline.latency)
        # What each measure has of the budget.
        self.alpha = settings.alpha / (len(self.shares) + bool(self.bounds))
        self.threshold = 2 / self.alpha

    def look(self, look: Look) -> None:
        """Take one look into account."""
        if look.wave != self.in_wave.wave:
            self.begin_wave(look.wave, look.old_left)
        same, arrived = self.in_wave, look.new.requests if look.arrived is None else look.arrived
        self.in_wave = Look(same.new + look.new, same.old + look.old, look.old_left, look.wave, (same.arrived or 0) + arrived)
        if not look.old_left:
            self._look_alone(look.new)
            return
        self.shares["errors"].worse.look((look.new.errors, look.new.requests), (look.old.errors, look.old.requests))
        self.shares["errors"].harmless.look((look.new.errors, look.new.requests), (look.old.errors, look.old.requests))
        for name in self.names:
            new, old = look.new.measures.get(name, (0, 0)), look.old.measures.get(name, (0, 0))
            self.shares[name].worse.look(new, old)
            self.shares[name].harmless.look(new, old)
        self._look_latency(look)
        self.new += look.new
        self.old += look.old

    def begin_wave(self, wave: int, old_left: bool) -> None:
        """From here on the requests of this wave count; it has had none yet."""
        self.in_wave = Look(Side(), Side(), old_left, wave, arrived=0)

    def _look_latency(self, look: Look) -> None:
        if not self.slow:
            # The bounds are chosen by what was seen before the look that they judge.
            self._choose_bounds((self.old + look.old).latency)
            return
        new, old = filled(look.new.latency, self.bounds), filled(look.old.latency, self.bounds)
        new_total, old_total = sum(new.values()), sum(old.values())
        for bound, test in self.slow.items():
            slow = (slower_than(new, bound), new_total)
            test.worse.look(slow, (slower_than(old, bound / (1 + self.settings.latency_tolerance)), old_total))
            test.harmless.look(slow, (slower_than(old, bound / (1 + self.settings.latency_harm)), old_total))

    def _look_alone(self, new: Side) -> None:
        """A look of the last wave, when no host runs the old release any more: against the bound of the baseline's share."""
        part = self.alpha / 4
        base = self.baseline()
        for name, test in self.shares.items():
            events, total = (base.errors, base.requests) if name == "errors" else base.measures.get(name, (0, 0))
            figures = (new.errors, new.requests) if name == "errors" else new.measures.get(name, (0, 0))
            if total > 0:
                low, high = rate_bounds(events, total, part)
                test.worse_alone.look_alone(figures, high)
                test.harmless_alone.look_alone(figures, low)
        histogram, filled_new = filled(base.latency, self.bounds), filled(new.latency, self.bounds)
        total = sum(histogram.values())
        if total:
            for bound, test in self.slow.items():
                figures = (slower_than(filled_new, bound), sum(filled_new.values()))
                # The bounds of the histogram share the part.
                share = part / len(self.slow)
                _low, high = rate_bounds(slower_than(histogram, bound / (1 + self.settings.latency_tolerance)), total, share)
                low, _high = rate_bounds(slower_than(histogram, bound / (1 + self.settings.latency_harm)), total, share)
                test.worse_alone.look_alone(figures, high)
                test.harmless_alone.look_alone(figures, low)
        self.new_alone += new

    def baseline(self) -> Side:
        """What the last wave is compared with: the old hosts during this rollout, or where they gave too little what was counted before it."""
        return self.old if self.old.requests >= self.settings.min_requests else self.before + self.old

    def _choose_bounds(self, histogram: Mapping[float, int]) -> None:
        """The bound at the quantile of the old side and its two neighbours; none without data or bounds."""
        middle = quantile(histogram, QUANTILE)
        finite = [bound for bound in self.bounds if not math.isinf(bound)]
        if middle is None or not finite or sum(histogram.values()) < 20:
            return
        at = min(range(len(finite)), key=lambda index: abs(finite[index] - min(middle, finite[-1])))
        self.slow = {bound: _Test(0.0, 0.0) for bound in finite[max(0, at - 1) : at + 2]}
        total = sum(histogram.values())
        for bound, test in self.slow.items():
            test.worse.learn(slower_than(filled(histogram, self.bounds), bound / (1 + self.settings.latency_tolerance)), total)
            test.harmless.learn(slower_than(filled(histogram, self.bounds), bound / (1 + self.settings.latency_harm)), total)

    def verdict(self, hosts: Sequence[str] | None, final: bool) -> Verdict:
        """The verdict after the looks so far; ``final`` when the time to bake is over. ``hosts`` are those of the new release, None where it is not
        hosts that are compared."""
        measures = self.measures()
        where = "" if hosts is None else f"; {_hosts(hosts)}"
        failed = [measure for measure in measures if measure.failed]
        if failed:
            worst = max(failed, key=lambda measure: measure.worse / measure.threshold)
            return Verdict("fail", f"fail: {describe(worst, self.settings, self.names)}{where}", True, measures)
        errors = measures[0]
        told = f"{'; '.join(describe(measure, self.settings, self.names) for measure in measures)}{where}"
        if not errors.new_requests or not errors.old_requests:
            side = "new" if not errors.new_requests else errors.old_is
            return Verdict("inconclusive", f"inconclusive: no requests on the {side} side; {told}", False, measures)
        few = min(self.in_wave.arrived or 0, self.in_wave.old.requests if self.in_wave.old_left else errors.old_requests)
        missing = [measure.name for measure in measures if not measure.new_requests or not measure.old_requests]
        if few < self.settings.min_requests:
            return Verdict(
                "inconclusive",
                f"inconclusive: {few:.0f} requests since {self.since}, {self.settings.min_requests} needed on each side; {told}",
                False,
                measures,
            )
        if missing:
            return Verdict("inconclusive", f"inconclusive: no data for {', '.join(missing)}; {told}", False, measures)
        if all(measure.harmless for measure in measures):
            return Verdict("pass", f"pass: harm is excluded; {told}", True, measures)
        if final:
            return Verdict("pass", f"pass: no sign of harm; {told}", True, measures)
        return Verdict("inconclusive", f"inconclusive so far; {told}", False, measures)

    def measures(self) -> tuple[Measure, ...]:
        """The figures of each measure, errors first, then latency where it is one, then the further ones."""
        alone = not self.in_wave.old_left
        new, old = (self.new_alone, self.baseline()) if alone else (self.new, self.old)
        is_old = "baseline" if alone else self.old_side
        sure = 1 / self.settings.beta

        def shares(name: str, one: tuple[float, float], other: tuple[float, float]) -> Measure:
            test = self.shares[name]
            worse = max(test.worse.value, test.worse_alone.value / 2)
            harmless = (test.harmless_alone if alone else test.harmless).value >= sure
            return Measure(name, _share(one), _share(other), one[1], other[1], is_old, worse, self.threshold, harmless)

        def latency() -> Measure:
            worse = log_mean_value([test.worse for test in self.slow.values()])
            worse_alone = log_mean_value([test.worse_alone for test in self.slow.values()])
            harmless = [(test.harmless_alone if alone else test.harmless).value >= sure for test in self.slow.values()]
            sizes = (sum(new.latency.values()), sum(old.latency.values())) if self.slow else (0, 0)
            quantiles = quantile(new.latency, QUANTILE), quantile(old.latency, QUANTILE)
            excluded = bool(harmless) and all(harmless)
            return Measure("latency", *quantiles, *sizes, is_old, max(worse, worse_alone / 2), self.threshold, excluded, "ms")

        return (
            shares("errors", (new.errors, new.requests), (old.errors, old.requests)),
            *([latency()] if self.bounds else []),
            *(shares(name, new.measures.get(name, (0, 0)), old.measures.get(name, (0, 0))) for name in self.names),
        )


def log_mean_value(tests: Sequence[Proportions]) -> float:
    """The mean of several e-processes, an e-process again; 1 where there is none. Of their present values: maxima must not be averaged."""
    return math.exp(min(log_mean_exp([log_mean_exp(test.logs) for test in tests]), 700.0)) if tests else 1.0


def _share(figures: tuple[float, float]) -> float | None:
    return figures[0] / figures[1] if figures[1] else None


def _hosts(hosts: Sequence[str]) -> str:
    shown = ", ".join(hosts[:6])
    return f"new on {shown}{f' and {len(hosts) - 6} more' if len(hosts) > 6 else ''}" if hosts else "no new hosts"


def describe(measure: Measure, settings: Settings, names: Mapping[str, tuple[float, float]]) -> str:
    """A measure in words: both sides, their sample sizes, what is tolerated, the evidence and its threshold."""

    def figure(value: float | None) -> str:
        if value is None:
            return "no data"
        return f"up to {value:g} ms" if measure.unit == "ms" else f"{100 * value:.3g} %"

    if measure.name == "latency":
        what, tolerated = "p95 latency", f"{100 * settings.latency_tolerance:g} %"
    else:
        tolerance = settings.error_tolerance if measure.name == "errors" else names[measure.name][0]
        what, tolerated = measure.name, f"{100 * tolerance:g} points"
    return (
        f"{what} {figure(measure.new)} of {measure.new_requests:.0f} against {figure(measure.old)} of {measure.old_requests:.0f} "
        f"({measure.old_is}), tolerated +{tolerated}, evidence {measure.worse:.3g} of {measure.threshold:.0f}"
    )


# Readings: what `balancer_info` said at a time, condensed to what the gate needs.


def condense(
    balancers: Mapping[str, Any],
    backend: str,
    at: float,
    new: Sequence[str],
    measures: Mapping[str, Mapping[str, gate_series.Figures]] | None = None,
    lost: Sequence[str] = (),
) -> dict[str, Any]:
    """A reading as plain data, to be kept between tasks: counters by balancer and server, and which hosts ran the new release from then on.

    ``lost`` are hosts that are dead by then: none of them runs anything any more.
    ``measures`` are further measures' counters since whenever they began: {name: {host: figures}}, see `gate_series.Figures`.
    """
    found: dict[str, Any] = {}
    for name, balancer in balancers.items():
        if balancer.get("trouble"):
            continue
        servers = {server: _counters(figures) for server, figures in balancer.get("backends", {}).get(backend, {}).items()}
        found[name] = {"pid": balancer.get("process", {}).get("pid"), "servers": servers}
    counted = {name: dict(by_host) for name, by_host in (measures or {}).items()}
    return {"at": at, "new": list(new), "lost": list(lost), "balancers": found, "measures": counted}


def _counters(server: Mapping[str, Any]) -> dict[str, Any]:
    """HAProxy counts a response where one came (`responses`), otherwise an error: the sum is what was sent to the server."""
    responses = {kind: count or 0 for kind, count in server.get("responses", {}).items()}
    lost = (server["errors"].get("connection") or 0) + (server["errors"].get("response") or 0)
    return {"requests": sum(responses.values()) + lost, "errors": responses.get("5xx", 0) + lost, "latency": dict(server.get("latency") or {})}


def _side(counters: Mapping[str, Any]) -> Side:
    latency = {math.inf if bound == INFINITY else float(bound): int(count) for bound, count in counters["latency"].items()}
    return Side(counters["requests"], counters["errors"], latency)


def difference(before: Mapping[str, Any], after: Mapping[str, Any], same_process: bool) -> Side:
    """What was counted between two readings of a server. Counters that began anew (another process, or smaller than before) count from 0."""
    new, old = _side(after), _side(before)
    counts = {bound: new.latency.get(bound, 0) - count for bound, count in old.latency.items()}
    if not same_process or new.requests < old.requests or new.errors < old.errors or min(counts.values(), default=0) < 0:
        return new
    return Side(
        new.requests - old.requests,
        new.errors - old.errors,
        {bound: count - old.latency.get(bound, 0) for bound, count in new.latency.items()},
    )


def baseline_of(reading: Mapping[str, Any]) -> Side:
    """All that a reading has counted since its balancers began to count."""
    total = Side()
    for balancer in reading["balancers"].values():
        for counters in balancer["servers"].values():
            total += _side(counters)
    return total


def looks(readings: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> list[Look]:
    """Each pair of readings as a look, over all balancers and those of ``hosts`` that stayed on one side.

    A host that switched between two readings counts from the later one on, and so does its wave: the look in which it switched belongs to the wave
    before. A balancer that was silent counts when it speaks again, over the whole time since: on both sides alike. Raises ValueError
    where readings are not in the order of time.
    """
    last: dict[tuple[str, str], tuple[Mapping[str, Any], Any, bool]] = {}
    counted: dict[tuple[str, str], gate_series.Known] = {}
    found = []
    times = [reading["at"] for reading in readings]
    if times != sorted(times):
        raise ValueError(f"readings are not in the order of time: {times}")
    waves = _waves(readings)
    for number, reading in enumerate(readings):
        sides = {True: Side(), False: Side()}
        wave, newcomers = waves[max(number - 1, 0)]
        arrived = 0
        for name, balancer in reading["balancers"].items():
            for host in hosts:
                counters = balancer["servers"].get(host)
                if counters is None:
                    continue
                is_new = host in reading["new"]
                known = last.get((name, host))
                if known and known[2] == is_new:
                    since = difference(known[0], counters, known[1] == balancer["pid"])
                    sides[is_new] += since
                    arrived += since.requests if host in newcomers else 0
                last[name, host] = (counters, balancer["pid"], is_new)
        for name, by_host in reading.get("measures", {}).items():
            for host in hosts:
                figures, is_new = by_host.get(host), host in reading["new"]
                if figures is None:
                    continue
                grown, counted[name, host] = gate_series.grown(counted.get((name, host)), figures, is_new)
                sides[is_new] += Side(measures={name: grown})
        if number:
            found.append(Look(sides[True], sides[False], old_left(readings[number - 1], hosts), wave, arrived))
    return found


def old_left(reading: Mapping[str, Any], hosts: Sequence[str]) -> bool:
    """Whether any of the hosts runs the old release at a reading: a dead one does not."""
    return any(host not in reading["new"] and host not in reading.get("lost", ()) for host in hosts)


def _waves(readings: Sequence[Mapping[str, Any]]) -> list[tuple[int, set[str]]]:
    """For each reading, how many waves have switched by then, and the hosts of the last one that live; all new hosts where none of these does."""
    found: list[tuple[int, set[str]]] = []
    switched = newcomers = set(readings[0]["new"]) if readings else set()
    wave = 0
    for reading in readings:
        if (new := set(reading["new"])) != switched:
            wave, switched, newcomers = wave + 1, new, new - switched
        found.append((wave, newcomers.difference(reading.get("lost", ())) or new))
    return found


def judge(
    readings: Sequence[Mapping[str, Any]],
    hosts: Sequence[str],
    settings: Settings,
    bounds: Sequence[float],
    final: bool,
    names: Mapping[str, tuple[float, float]] | None = None,
) -> Verdict:
    """The verdict on all readings of a rollout so far, the first of which was taken before the first switch.

    ``hosts`` are all hosts of the rollout, ``bounds`` the upper bounds of the histogram in ms, ``names`` the further measures with their (tolerance,
    harm) as shares. Raises ValueError where readings are not in the order of time.
    """
    judging = Judge(settings, baseline_of(readings[0]) if readings else Side(), bounds, names)
    for look in looks(readings, hosts):
        judging.look(look)
    if readings:
        wave, _newcomers = _waves(readings)[-1]
        if wave != judging.in_wave.wave:
            judging.begin_wave(wave, old_left(readings[-1], hosts))
    return judging.verdict(list(readings[-1]["new"]) if readings else [], final)
