"""The canary gate stops what does harm, lets go what does not, and never takes silence for health."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import gate_figures
import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import gate, haproxy
from hypothesis import given, settings
from hypothesis import strategies as st

HOSTS = ["app1", "app2", "app3", "app4"]
SETTINGS = gate.Settings()
FAST = {32.0: 900, 100.0: 80, 160.0: 20}
SHARE = st.floats(0.001, 0.9)


def side(requests: int, errors: int = 0, slower: int = 1) -> gate.Side:
    """A side whose answers take so many times longer than usual."""
    latency = {bound * slower: count * requests // 1000 for bound, count in FAST.items()}
    return gate.Side(requests, errors, latency)


def judged(looks: list[gate.Look], baseline: gate.Side | None = None, final: bool = True) -> gate.Verdict:
    """The verdict after these looks."""
    judge = gate.Judge(SETTINGS, baseline or gate.Side(), haproxy.LATENCY_BOUNDS)
    for look in looks:
        judge.look(look)
    return judge.verdict(["app1"], final)


def chance(n: int, k: int, p: float) -> float:
    """Of k events in n."""
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@given(SHARE, SHARE, st.floats(0, 0.05), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, -1]), SHARE)
@settings(max_examples=150)
def test_the_expected_evidence_of_a_look_is_at_most_one_wherever_the_null_hypothesis_holds(
    new: float, old: float, offset: float, new_requests: int, old_requests: int, direction: int, expected: float
) -> None:
    """Exactly, by enumeration: this is what makes every number and order of looks valid (Ville)."""
    if (new - old - offset) * direction > 0:
        new = min(old + offset, 1.0)
    test = gate.Proportions(offset, 1 if direction == 1 else -1, events=expected * 50, total=50)
    means = [0.0] * len(test.logs)
    for one, other in itertools.product(range(new_requests + 1), range(old_requests + 1)):
        trial = gate.Proportions(offset, test.direction, events=expected * 50, total=50)
        trial.look((one, new_requests), (other, old_requests))
        weight = chance(new_requests, one, new) * chance(old_requests, other, old)
        means = [mean + weight * math.exp(log) for mean, log in zip(means, trial.logs, strict=True)]
    assert max(means) <= 1 + 1e-6


@given(st.integers(0, 300), st.integers(1, 300))
@settings(max_examples=50)
def test_a_bound_of_a_share_holds_what_was_seen(events: int, more: int) -> None:
    low, high = gate.rate_bounds(events, events + more, 0.01)
    assert 0 <= low <= events / (events + more) <= high <= 1


def test_the_bounds_of_a_share_are_wrong_less_often_than_promised_however_often_one_looks() -> None:
    rng, wrong = random.Random(1), 0
    for _ in range(200):
        events = 0
        for total in range(1, 301):
            events += rng.random() < 0.1
            if total % 20 == 0:
                low, high = gate.rate_bounds(events, total, 0.05)
                if not low <= 0.1 <= high:
                    wrong += 1
                    break
    assert wrong <= 10


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), max_size=8), st.booleans())
@settings(max_examples=60)
def test_no_data_on_one_side_never_passes(looks: list[tuple[int, int]], final: bool) -> None:
    assert judged([gate.Look(side(new), gate.Side()) for new, _old in looks], final=final).verdict == "inconclusive"
    assert judged([gate.Look(gate.Side(), side(old)) for _new, old in looks], final=final).verdict == "inconclusive"


def test_no_latency_is_no_data() -> None:
    verdict = judged([gate.Look(gate.Side(1000), gate.Side(3000))] * 5)
    assert verdict.verdict == "inconclusive"
    assert "no data for latency" in verdict.line


def test_too_little_traffic_is_inconclusive_and_says_how_much_is_needed() -> None:
    verdict = judged([gate.Look(side(20), side(60))] * 3)
    assert (verdict.verdict, verdict.decided) == ("inconclusive", False)
    assert "60 requests since this wave switched, 100 needed" in verdict.line


def test_a_later_wave_without_traffic_does_not_pass_by_what_the_first_one_had() -> None:
    looks = [gate.Look(side(1000), side(3000))] * 5 + [gate.Look(gate.Side(), gate.Side(), wave=2)]
    assert judged(looks[:5]).verdict == "pass"
    assert judged(looks).verdict == "inconclusive"


@given(st.integers(1, 12), st.integers(200, 3000), st.sampled_from([0.0, 0.01, 0.1]))
@settings(max_examples=40)
def test_sides_that_are_alike_never_fail(looks: int, requests: int, errors: float) -> None:
    one = side(requests, round(requests * errors))
    other = side(3 * requests, 3 * round(requests * errors))
    assert judged([gate.Look(one, other)] * looks).verdict == "pass"


@pytest.mark.parametrize("new_requests", [200, 2000])
def test_zero_to_non_zero_errors_counts(new_requests: int) -> None:
    bad = judged([gate.Look(side(new_requests, new_requests // 25), side(new_requests * 3))] * 2, baseline=side(50000))
    assert bad.verdict == "fail"
    assert bad.line.startswith("fail: errors 4 % of ")
    assert "against 0 %" in bad.line
    assert "evidence" in bad.line
    assert bad.line.endswith("new on app1")


def test_a_slower_release_fails_by_its_latency() -> None:
    verdict = judged([gate.Look(side(1000, slower=2), side(3000))] * 4, baseline=side(10000))
    assert verdict.verdict == "fail"
    assert "p95 latency" in verdict.line


def test_errors_on_both_sides_at_once_are_no_sign_of_harm() -> None:
    calm, storm = gate.Look(side(500, 0), side(1500, 0)), gate.Look(side(500, 250), side(1500, 750))
    assert judged([calm, calm, storm, storm, calm], baseline=side(5000)).verdict == "pass"


def test_the_last_wave_is_compared_with_the_baseline() -> None:
    before = [gate.Look(side(1000, 5), side(3000, 15))] * 3
    good = judged([*before, *[gate.Look(side(2000, 10), gate.Side(), old_left=False, wave=2)] * 5])
    bad = judged([*before, *[gate.Look(side(2000, 200), gate.Side(), old_left=False, wave=2)] * 5])
    assert (good.verdict, bad.verdict) == ("pass", "fail")
    assert "(baseline)" in bad.line


def test_without_any_baseline_the_last_wave_is_inconclusive() -> None:
    assert judged([gate.Look(side(2000), gate.Side(), old_left=False)] * 5).verdict == "inconclusive"


def test_a_good_release_passes_before_the_time_is_over() -> None:
    """Nothing is said of a latency with gaps in its histogram: this one has none."""
    rng, usual = random.Random(5), gate_figures.Release(0.001)
    looks = [gate.Look(gate_figures.draw(rng, 1000, usual), gate_figures.draw(rng, 3000, usual)) for _ in range(4)]
    verdict = judged(looks, baseline=gate_figures.draw(rng, 20000, usual), final=False)
    assert (verdict.verdict, verdict.decided) == ("pass", True)


def test_half_a_bucket_is_half_its_requests() -> None:
    histogram = gate.filled({40.0: 100, math.inf: 7}, [32.0, 40.0, 50.0])
    assert gate.slower_than(histogram, 50.0) == 7
    assert gate.slower_than(histogram, math.sqrt(32 * 40)) == pytest.approx(57)
    assert gate.slower_than(histogram, 32.0) == 107


def test_simulated_rollouts_raise_at_most_one_false_alarm_in_a_hundred() -> None:
    """In short: `make gate-figures` takes thousands."""
    like, edge = gate_figures.Release(), gate_figures.Release(0.005 + SETTINGS.error_tolerance)
    rollouts = {(rate, new): 25 for rate in (10, 100) for new in (like, edge)}
    stopped = sum(gate_figures.false_alarms(count, rate, new, like, seed=3) for (rate, new), count in rollouts.items())
    assert stopped <= sum(rollouts.values()) / 100


def test_simulated_harm_is_caught_while_it_bakes() -> None:
    rng = random.Random(4)
    found = [gate_figures.seconds_to_stop(rng, 100, gate_figures.Release(0.205), gate_figures.Release()) for _ in range(10)]
    assert max(found) <= 15


# Readings


def balancer(pid: int = 1, **servers: tuple[int, int]) -> dict[str, Any]:
    """What `balancer_info` says of servers with so many answers, and so many of these 5xx."""
    backend = {
        name: {
            "responses": {"2xx": requests - errors, "5xx": errors, "other": None},
            "errors": {"connection": 0, "response": None},
            "latency": {"40": requests},
        }
        for name, (requests, errors) in servers.items()
    }
    return {"trouble": None, "process": {"pid": pid}, "backends": {"shop": backend}}


def read(at: float, new: list[str], *balancers: dict[str, Any]) -> dict[str, Any]:
    return gate.condense({f"lb{number}": one for number, one in enumerate(balancers)}, "shop", at, new)


def counted(readings: list[dict[str, Any]]) -> list[tuple[int, int, int, int]]:
    """Requests and errors of the new side, then of the old one, for each look."""
    return [(look.new.requests, look.new.errors, look.old.requests, look.old.errors) for look in gate.looks(readings, ["app1", "app2"])]


def test_balancers_are_added_up_and_a_host_that_switched_counts_from_then_on() -> None:
    readings = [
        read(0, [], balancer(app1=(100, 1), app2=(100, 0)), balancer(app1=(50, 0), app2=(50, 0))),
        read(5, ["app1"], balancer(app1=(110, 5), app2=(120, 0)), balancer(app1=(50, 0), app2=(60, 1))),
        read(9, ["app1"], balancer(app1=(115, 6), app2=(130, 0)), balancer(app1=(55, 0), app2=(65, 1))),
    ]
    assert counted(readings) == [(0, 0, 30, 1), (10, 1, 15, 0)]


@pytest.mark.parametrize("pid", [1, 2])
def test_counters_that_began_anew_count_from_zero(pid: int) -> None:
    readings = [read(0, ["app1"], balancer(app1=(100, 9), app2=(100, 0))), read(5, ["app1"], balancer(pid, app1=(7, 1), app2=(8, 0)))]
    assert counted(readings) == [(7, 1, 8, 0)]


def test_another_process_counts_from_zero_although_it_has_counted_more() -> None:
    readings = [read(0, ["app1"], balancer(1, app1=(10, 0), app2=(10, 0))), read(5, ["app1"], balancer(2, app1=(30, 0), app2=(40, 0)))]
    assert counted(readings) == [(30, 0, 40, 0)]


def test_a_silent_balancer_counts_when_it_speaks_again() -> None:
    silent = {"trouble": "gone", "backends": {}}
    readings = [
        read(at, ["app1"], said) for at, said in ((0, balancer(app1=(10, 0), app2=(10, 0))), (5, silent), (9, balancer(app1=(30, 2), app2=(50, 0))))
    ]
    assert counted(readings) == [(0, 0, 0, 0), (20, 2, 40, 0)]


def test_an_absent_server_is_no_data() -> None:
    assert counted([read(0, ["app1"], balancer()), read(5, ["app1"], balancer())]) == [(0, 0, 0, 0)]
    assert (
        gate.judge([read(0, [], balancer()), read(5, ["app1"], balancer())], HOSTS, SETTINGS, haproxy.LATENCY_BOUNDS, final=True).verdict
        == "inconclusive"
    )


def rolled(*steps: tuple[list[str], dict[str, tuple[int, int]]], lost: tuple[str, ...] = ()) -> gate.Verdict:
    """The verdict after readings of four hosts: who is new then, and what each host has had since the one before (requests, errors)."""
    rng, usual = random.Random(2), gate_figures.Release(0.001)
    total = dict.fromkeys(HOSTS, gate_figures.draw(rng, 20000, usual))
    readings = []
    for number, (new, had) in enumerate([([], {}), *steps]):
        for host, (requests, errors) in had.items():
            total[host] += gate.Side(requests, errors, gate_figures.draw(rng, requests, usual).latency)
        servers = {
            host: {"requests": side.requests, "errors": side.errors, "latency": {str(bound): count for bound, count in side.latency.items()}}
            for host, side in total.items()
        }
        reading = {"at": 5.0 * number, "new": new, "lost": list(lost), "balancers": {"lb1": {"pid": 1, "servers": servers}}, "measures": {}}
        readings.append(reading)
    return gate.judge(readings, HOSTS, SETTINGS, haproxy.LATENCY_BOUNDS, final=True)


USUAL = dict.fromkeys(HOSTS, (400, 0))
WAVE_1 = [(["app1"], USUAL)] * 6
ALL = list(HOSTS)


@pytest.mark.parametrize("new", [["app1", "app2"], ALL])
def test_a_wave_does_not_pass_by_what_was_counted_while_it_switched(new: list[str]) -> None:
    """Hosts of the waves before are busy then; those of this one have had no request yet."""
    assert rolled(*WAVE_1).verdict == "pass"
    verdict = rolled(*WAVE_1, (new, USUAL))
    assert (verdict.verdict, verdict.decided) == ("inconclusive", False)


def test_a_wave_needs_requests_of_its_own_hosts() -> None:
    others = {host: (400, 0) for host in HOSTS if host != "app2"}
    assert "0 requests since this wave switched" in rolled(*WAVE_1, *[(["app1", "app2"], others)] * 3).line
    assert rolled(*WAVE_1, *[(["app1", "app2"], USUAL)] * 3).verdict == "pass"


def test_hosts_that_ran_the_release_before_the_run_are_its_first_wave() -> None:
    readings = [read(5.0 * at, ["app1"], balancer(app1=(1000 * at, 0), app2=(1000 * at, 0))) for at in range(4)]
    assert [(look.wave, look.arrived) for look in gate.looks(readings, ["app1", "app2"])] == [(0, 1000)] * 3


def test_a_dead_host_is_no_old_one_to_compare_the_last_wave_with() -> None:
    bad = {"app1": (400, 0), "app3": (400, 80), "app4": (400, 80)}
    last = [(["app1", "app3", "app4"], bad)] * 6
    verdict = rolled(*WAVE_1, *last, lost=("app2",))
    assert verdict.verdict == "fail"
    assert "(baseline)" in verdict.line


def test_a_wave_whose_only_host_died_is_judged_by_the_other_new_ones() -> None:
    rest = dict.fromkeys(("app1", "app3", "app4"), (400, 0))
    assert rolled(*WAVE_1, *[(["app1", "app2"], rest)] * 3, lost=("app2",)).verdict == "pass"


def test_readings_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order of time"):
        gate.looks([read(5, [], balancer()), read(0, [], balancer())], ["app1"])


def test_a_further_measure_stops_a_release() -> None:
    readings = []
    for number in range(6):
        figures = {"payments": {"app1": (30.0 * number, 100.0 * number), "app2": (0.0, 100.0 * number)}}
        servers = balancer(app1=(1000 * number, 0), app2=(1000 * number, 0))
        readings.append(gate.condense({"lb1": servers}, "shop", number, ["app1"] if number else [], figures))
    verdict = gate.judge(readings, ["app1", "app2"], SETTINGS, haproxy.LATENCY_BOUNDS, final=False, names={"payments": (0.002, 0.02)})
    assert verdict.verdict == "fail"
    assert "payments 30 %" in verdict.line


def test_where_there_is_no_latency_to_judge_errors_have_the_whole_budget() -> None:
    judge = gate.Judge(SETTINGS, gate.Side(), words=("variant off", "this step began"))
    for _ in range(5):
        judge.look(gate.Look(gate.Side(200), gate.Side(200)))
    verdict = judge.verdict(None, final=True)
    assert ([measure.name for measure in verdict.measures], verdict.verdict) == (["errors"], "pass")
    assert verdict.measures[0].threshold == 2 / SETTINGS.alpha
    assert verdict.line.endswith(" of 200")
    assert "(variant off)" in verdict.line
