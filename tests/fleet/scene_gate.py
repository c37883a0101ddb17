"""The gate in a real fleet: good releases pass, no traffic is what the inventory says it is, harm in a later wave brings all back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conftest import BALANCER, Fleet, Scene, tortured

#: Real rollouts of a good release in a row.
ROLLOUTS = 20
PROMETHEUS = '{global: {scrape_interval: 1s}, scrape_configs: [{job_name: balancer, static_configs: [{targets: ["127.0.0.1:8404"]}]}]}'
PROMETHEUS_ASKED = "http://127.0.0.1:9090/api/v1/query?query=haproxy_server_http_responses_total"
GATE: dict[str, Any] = {"rollout_bake_seconds": 20, "rollout_look_seconds": 2, "rollout_hold_seconds": 2}


def good_releases(fleet: Fleet) -> None:
    """There and back, judged after each wave, and never stopped; under a load that brings a verdict before a wave has baked."""
    with tortured("gate", f"{ROLLOUTS} good releases are judged and pass", rate=100.0) as case:
        began = time.monotonic()
        for number in range(ROLLOUTS):
            shown = fleet.deploy(("1.1.0", "1.0.0")[number % 2], "-e", json.dumps(GATE)).message()
            assert shown.count("pass: ") == 3, shown
        seconds = time.monotonic() - began
    case.passed(lowest=2, rollouts=ROLLOUTS, stopped=0, seconds_each=round(seconds / ROLLOUTS, 1))


def no_traffic(fleet: Fleet) -> None:
    """Five requests a second are too few for a verdict, and the inventory says what follows: go on, stop, or wait and then stop."""
    fleet.built("1.4.0", "")
    short = {
        "rollout_bake_seconds": 2,
        "rollout_look_seconds": 1,
        "rollout_wait_seconds": 4,
        "rollout_min_requests": 100000,
        "force": "for this test",
    }
    with tortured("gate", "too few requests: proceed, stop, wait", rate=5.0) as case:
        shown = fleet.must("deploy.yml", "-e", json.dumps({**short, "version": "1.1.0", "rollout_on_inconclusive": "proceed"})).message()
        assert shown.count("inconclusive: ") >= 3, shown
        for answer in ("stop", "wait"):
            done = fleet.play("deploy.yml", "-e", json.dumps({**short, "version": "1.4.0", "rollout_on_inconclusive": answer}))
            assert done.code == 2
            assert "The gate stops the rollout. inconclusive: " in done.message(), done.output
            assert set(fleet.releases().values()) == {"1.1.0"}
        # Nothing was found against it, so nothing is held against it.
        fleet.must("deploy.yml", "-e", "version=1.4.0")
    case.passed(lowest=2)
    fleet.deploy("1.0.0")


def harm_in_a_later_wave(fleet: Fleet) -> None:
    """Only the hosts of the last wave fail half of their pages: all waves go back."""
    fleet.deploy("1.2.0", "--tags", "stage")
    home, last = "/srv/storefront/releases/1.2.0-*", fleet.hosts()[2:]
    for host in last:
        fleet.on(host, f"for f in {home}/FAULT; do printf error-rate:0.5 > $f; done")
    try:
        with tortured("gate", "harm in the last of three waves") as case:
            done = fleet.play("deploy.yml", "-e", json.dumps({**GATE, "version": "1.2.0", "force": "for this test"}))
        assert done.code == 2, done.output
        assert "The gate stops the rollout. fail: errors" in done.message(), done.output
        assert "baseline" in done.message().partition("The gate stops the rollout.")[2], "no host ran the old release any more"
        touched = [host for host, text in fleet.journal("storefront").items() if "-activate-1.2.0-" in text]
        assert touched == fleet.hosts()
        case.passed(lost=None, lowest=2, seen=case.summary["failed"], share=round(case.summary["failed"] / case.summary["requests"], 4))
    finally:
        for host in last:
            fleet.on(host, f"for f in {home}/FAULT; do : > $f; done")


@contextmanager
def prometheus(fleet: Fleet) -> Iterator[str]:
    """Debian's Prometheus on the load balancer, where it reads HAProxy's own exporter every second; its address."""
    fleet.on("lb1", "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends prometheus")
    try:
        fleet.on("lb1", f"printf '%s' '{PROMETHEUS}' > /etc/prometheus/prometheus.yml && systemctl restart prometheus")
        fleet.on("lb1", "nft insert rule inet tossable_baseline input tcp dport 9090 accept")
        fleet.on("lb1", f"timeout 60 sh -c 'until curl -fsS {PROMETHEUS_ASKED} | grep -q app4; do sleep 0.5; done'")
        yield f"{BALANCER}:9090"
    finally:
        fleet.on("lb1", "DEBIAN_FRONTEND=noninteractive apt-get purge -qy prometheus && rm -rf /etc/prometheus && systemctl reload nftables")


def prometheus_says(fleet: Fleet) -> None:
    """A measure of the inventory's own, by Prometheus: one that finds nothing lets a release pass, one that finds harm on the first host stops it."""
    answers = 'sum by (server) (haproxy_server_http_responses_total{proxy="storefront",server!=""})'
    harmless = answers.replace('server!=""', 'code="5xx",server!=""')
    harmful = answers.replace('server!=""', 'server="app1"')
    with prometheus(fleet) as address, tortured("gate", "a further measure, by a real Prometheus") as case:
        measure = {"name": "what Prometheus counts", "prometheus": address, "total": answers, "label": "server"}
        shown = fleet.deploy("1.1.0", "-e", json.dumps({**GATE, "rollout_measures": [{**measure, "events": harmless}]})).message()
        assert shown.count("pass: ") == 3, shown
        assert "what Prometheus counts" in shown
        fleet.deploy("1.0.0")
        options = {**GATE, "version": "1.1.0", "force": "for this test", "rollout_measures": [{**measure, "events": harmful}]}
        done = fleet.play("deploy.yml", "-e", json.dumps(options))
        assert done.code == 2, done.output
        assert "The gate stops the rollout. fail: what Prometheus counts" in done.message(), done.output
    case.passed()


SCENES = [
    Scene("Prometheus is asked for a further measure", prometheus_says),
    Scene("good releases are never rolled back", good_releases),
    Scene("no traffic is inconclusive", no_traffic),
    Scene("harm in a later wave brings every wave back", harm_in_a_later_wave),
]
