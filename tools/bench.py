#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy.yml against the leanest loop we can write over ssh (make bench): same bytes, same hosts, same waves, same load, in turn.

The raw loop fetches, verifies and unpacks on all hosts at once, then goes wave by wave: out of the load balancer, switch, restart, be healthy,
back. It speaks to the same agent, by the same files, as the transaction program does; it keeps no journal and takes nothing back. Both move the fleet
from the same release to the same other one, which no host has beforehand; the way back is not counted.

Figures: build/bench.json. Exit code 0 when nothing failed and deploy.yml took at most BOUND times as long.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench_lab import BenchLab
from checkout import BUILD, LOGS
from load import Load, Summary
from phases import Phase, PhaseError, Phases, end_cleanly, inventory, table

LAB = BenchLab("bench", "10.77.30.0/24")
APP, OLD, NEW = "storefront", "1.0.0", "1.1.0"
BOUND = 2.0
RATE = 100.0  # requests a second

# Both scripts run as root on a host, in one exec.
STAGE = r"""
set -eu
home=/srv/$app/releases part=$home/.raw
rm -rf "$part" && mkdir -p "$part/.tossable" && cd "$part"
curl -fsS -o .tossable/manifest.json "$url/$app-$version.manifest.json" \
     -o .tossable/manifest.json.sig "$url/$app-$version.manifest.json.sig" -o .archive "$url/$app-$version.tar.zst"
ssh-keygen -q -Y verify -f "/etc/tossable/allowed_signers.d/$app" -I builder@lab -n artifact@tossable \
     -s .tossable/manifest.json.sig <.tossable/manifest.json
grep -q "$digest" .tossable/manifest.json
echo "$digest  .archive" | sha256sum --check --status
tar --extract --zstd --no-same-owner --file .archive && rm .archive
chown -R "$app": . && runuser -u "$app" -- sh -c "$hook" && chown -R root: .
mv "$part" "$home/$release"
sync --file-system "$home/$release"
"""
ROLL = r"""
set -eu
base=/srv/$app state=/run/tossable/$app/state told=/run/tossable-agent-$app
say() {
    echo "$1" >"$state.new" && mv "$state.new" "$state"
    until grep -qx "$1" "$told"/*; do sleep 0.01; done
}
say drain
while ss -Htn state established "( sport = :$port )" | grep -qv 127.0.0.1; do sleep 0.01; done
say maint
ln -sfn "releases/$release" "$base/.current.new" && mv -T "$base/.current.new" "$base/current"
systemctl restart "$app-web" "$app-worker"
good=0
while :; do
    if curl -fsS -m 1 -o /dev/null "http://127.0.0.1:$port/readyz"; then good=$((good + 1)); else good=0; fi
    [ $good -lt 2 ] || break
    sleep 0.1
done
say ready
"""


class RawError(Exception):
    """A host of the raw loop failed."""


@dataclass
class Raw:
    """The raw loop: one ssh exec a host to stage, one to roll, over connections that stay open as Ansible's do."""

    hosts: dict[str, dict[str, Any]]
    wave: int
    url: str
    parts: dict[str, float] = field(default_factory=dict)

    async def on(self, host: str, script: str, variables: dict[str, str]) -> None:
        """Run a script as root on one host."""
        known = self.hosts[host]
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        command = [
            *("ssh", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", "ControlPath=~/.ansible/cp/raw-%C", "-o", "BatchMode=yes"),
            *shlex.split(known["ansible_ssh_common_args"]),
            *("-i", known["ansible_ssh_private_key_file"], f"{known['ansible_user']}@{known['ansible_host']}"),
            f"sudo env {given} bash -c {shlex.quote(script)}",
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RawError(f"{host}: exit code {process.returncode}: {output.decode(errors='replace')[-1000:]}")

    async def everywhere(self, hosts: Sequence[str], script: str, variables: dict[str, str]) -> None:
        """The same on several hosts at once; each is heard out before the first failure is raised."""
        for answer in await asyncio.gather(*(self.on(host, script, variables) for host in hosts), return_exceptions=True):
            if answer:
                raise answer

    async def stage(self, version: str) -> None:
        """Bring a version to all hosts at once."""
        began = time.monotonic()
        manifest = manifest_of(version)
        variables = {
            "app": APP,
            "version": version,
            "release": release_of(version),
            "url": f"{self.url}/{APP}/{version}",
            "digest": manifest["archive"]["sha256"],
            "hook": shlex.join(manifest["hooks"].get("install", ["true"])),
        }
        await self.everywhere(list(self.hosts), STAGE, variables)
        self.parts["stage"] = time.monotonic() - began

    async def roll(self, version: str) -> None:
        """Switch all hosts, wave by wave."""
        began = time.monotonic()
        names = list(self.hosts)
        for start in range(0, len(names), self.wave):
            await self.everywhere(names[start : start + self.wave], ROLL, {"app": APP, "release": release_of(version), "port": "8000"})
        self.parts["roll"] = time.monotonic() - began

    def remove(self, version: str) -> None:
        """Make as if no host had ever seen a version (it must not be live)."""
        asyncio.run(self.everywhere(list(self.hosts), 'rm -rf "/srv/$app/releases/$release"', {"app": APP, "release": release_of(version)}))

    def release(self, version: str) -> float:
        """Stage and roll; return the seconds."""
        began = time.monotonic()

        async def both() -> None:
            await self.stage(version)
            await self.roll(version)

        asyncio.run(both())
        return time.monotonic() - began

    def back(self, version: str) -> None:
        """Roll to a version that is staged, outside of what is counted."""
        asyncio.run(self.roll(version))


def manifest_of(version: str) -> dict[str, Any]:
    """The manifest of a version that was built."""
    found: dict[str, Any] = json.loads((LAB.artifacts / APP / version / f"{APP}-{version}.manifest.json").read_text(encoding="utf-8"))
    return found


def release_of(version: str) -> str:
    """The release id of a version."""
    return f"{version}-{manifest_of(version)['archive']['sha256'][:8]}"


def parts_of(phase: Phase) -> dict[str, float]:
    """Seconds of deploy.yml by the first word of its plays (Plan, Stage, Roll, ...), and before the first of them."""
    starts = [*phase.plays, ("", phase.seconds)]
    parts = {"start": starts[0][1]}
    for (name, start), (_next, end) in itertools.pairwise(starts):
        word = name.split()[0].lower()
        parts[word] = parts.get(word, 0.0) + end - start
    return parts


def medians(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each part."""
    return {name: round(statistics.median(sample.get(name, 0.0) for sample in samples), 2) for name in samples[0]}


def measure(phases: Phases, raw: Raw, rounds: int) -> dict[str, Any]:
    """Both in turn, each first in every other round; returns the figures."""
    waves = json.dumps({"rollout_waves": [raw.wave, "100%"]})
    seconds: dict[str, list[float]] = {"raw": [], "deploy": []}
    parts: dict[str, list[dict[str, float]]] = {"raw": [], "deploy": []}

    def deploy(version: str) -> Phase:
        return phases.run(f"deploy {version}", LAB.play("deploy.yml", "-e", f"version={version}", "-e", waves), quiet=True)

    def one_raw() -> None:
        raw.remove(NEW)
        seconds["raw"].append(raw.release(NEW))
        parts["raw"].append(dict(raw.parts))
        raw.back(OLD)

    def one_deploy() -> None:
        raw.remove(NEW)
        # Removing has opened the raw loop's connections, so Ansible's are opened as well.
        phases.run("connect", ["ansible", "-i", LAB.inventory, "app", "-m", "ansible.builtin.raw", "-a", "true"], quiet=True)
        phase = deploy(NEW)
        seconds["deploy"].append(phase.seconds)
        parts["deploy"].append(parts_of(phase))
        deploy(OLD)

    for number in range(rounds):
        order: list[Callable[[], None]] = [one_raw, one_deploy]
        for step in order if number % 2 == 0 else reversed(order):
            step()
        phases.say(f"round {number + 1} of {rounds}: raw loop {seconds['raw'][-1]:.2f} s, deploy.yml {seconds['deploy'][-1]:.2f} s")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "hosts": len(raw.hosts),
        "wave": raw.wave,
        "raw_seconds": [round(value, 2) for value in seconds["raw"]],
        "deploy_seconds": [round(value, 2) for value in seconds["deploy"]],
        "raw_median": round(middle["raw"], 2),
        "deploy_median": round(middle["deploy"], 2),
        "ratio": round(middle["deploy"] / middle["raw"], 2),
        "raw_parts": medians(parts["raw"]),
        "deploy_parts": medians(parts["deploy"]),
    }


def prepare(phases: Phases, hosts: int) -> tuple[dict[str, dict[str, Any]], str, str]:
    """Make and provision the lab, build both versions, release the old one; return hosts, the store's address and the balancer's."""
    LAB.prepare(phases, hosts, (OLD, NEW))
    known = inventory(LAB.inventory)
    variables = known["_meta"]["hostvars"]
    store = f"http://{variables[known['ops']['hosts'][0]]['ansible_host']}:8080"
    balancer = f"http://{variables[known['lb']['hosts'][0]]['ansible_host']}/"
    return {name: variables[name] for name in known["app"]["hosts"]}, store, balancer


def report(figures: dict[str, Any], load: Summary) -> None:
    """Write build/bench.json and show the same."""
    cores = os.cpu_count()
    figures |= {"requests": load["requests"], "failed": load["failed"], "p99_ms": load["p99_ms"], "cores": cores, "load_average": os.getloadavg()[0]}
    (BUILD / "bench.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    raw, ours = figures["raw_parts"], figures["deploy_parts"]
    rows = [("", "raw loop", "deploy.yml", "difference"), *(part_row(name, raw.get(name, 0.0), ours[name]) for name in ours)]
    rows.append(part_row("in all (median)", figures["raw_median"], figures["deploy_median"]))
    print(f"\nSeconds, {figures['hosts']} hosts in waves of {figures['wave']}, {cores} cores shared by controller and hosts:\n\n{table(rows)}\n")
    print(f"deploy.yml takes {figures['ratio']:.2f} times as long as the raw loop (at most {BOUND}).")
    print(f"{load['requests']} requests, {load['failed']} failed.")


def part_row(name: str, raw: float, ours: float) -> tuple[str, ...]:
    """One line of the table."""
    return (name, f"{raw:8.2f}", f"{ours:8.2f}", f"{ours - raw:8.2f}")


def bench(phases: Phases, hosts: int, wave: int, rounds: int) -> int:
    """Prepare, measure, report; return how many things fell short."""
    known, store, balancer = prepare(phases, hosts)
    raw = Raw(known, wave, store)
    load = Load(balancer, rate=RATE, requests=LOGS / "bench-requests.jsonl", summary=LOGS / "bench-requests.json")
    with load:
        figures = measure(phases, raw, rounds)
    report(figures, load.summary)
    for failure in load.failures(5):
        print(f"failed after {failure.at:.2f} s: {failure.error or failure.status}", file=sys.stderr)
    return int(load.summary["failed"] > 0) + int(figures["ratio"] > BOUND)


def main() -> int:
    """Read the command line, measure, and remove the lab."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10, help="application hosts (default %(default)s)")
    parser.add_argument("--wave", type=int, default=5, help="hosts in a wave (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    given = parser.parse_args()
    end_cleanly()
    phases = Phases("bench")
    try:
        return min(1, bench(phases, given.hosts, given.wave, given.rounds))
    except (PhaseError, RawError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nbench: stopped after {time.monotonic() - phases.began:.0f} s", file=sys.stderr)
        return 130
    finally:
        if not given.keep:
            LAB.remove(phases)


if __name__ == "__main__":
    sys.exit(main())
