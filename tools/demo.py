#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole path on one machine (make demo): a fleet from nothing, two releases of the sample application, the second under load.

It types what operators type, one command after the other, and counts the requests that failed meanwhile. Run again, it mends what is
missing, provisions only where what provisioning reads has changed, and releases both versions again. Figures: build/demo.json. Exit code 0
when every step succeeded and no request failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from checkout import BUILD, LOGS, ROOT, environment
from load import Load, Summary
from phases import PhaseError, Phases, inventory, table

OLD, NEW = "1.0.0", "1.1.0"
RATE = 120.0  # requests a second
BEFORE, AFTER = 240, 240  # requests before the second deployment begins, and after it has ended
LEAST_REQUESTS = 2000
INVENTORY = "inventories/lab"
# Where somebody has rolled one of the two back since, it is released again all the same.
AGAIN = "force='the demonstration, again'"
#: What provisioning is made of, and what remembers the one that was finished.
PROVISIONING = ("ansible.cfg", "inventories/lab", "playbooks", "plugins", "roles")
PROVISIONED = BUILD / "labs" / "lab" / "provisioned"


def provision(phases: Phases, known: dict[str, Any]) -> None:
    """Type site.yml, unless the same machines were brought to the same state before."""
    wanted = fingerprint(known, machines())
    if PROVISIONED.exists() and PROVISIONED.read_text(encoding="utf-8") == wanted:
        phases.say("provision: nothing that it reads has changed since the last time (what was changed by hand: ansible-playbook playbooks/site.yml)")
        return
    PROVISIONED.unlink(missing_ok=True)
    phases.run("provision", ["ansible-playbook", "playbooks/site.yml"])
    PROVISIONED.write_text(wanted, encoding="utf-8")


def machines() -> str:
    """Which machines these are: each has given itself an id when it was made."""
    asked = ["ansible", "all", "-i", INVENTORY, "-m", "ansible.builtin.raw", "-a", "cat /etc/machine-id"]
    answers = subprocess.run(asked, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False).stdout
    return "\n".join(sorted(re.findall(r"^[0-9a-f]{32}$", answers, re.MULTILINE)))


def fingerprint(known: dict[str, Any], machine_ids: str) -> str:
    """The inventory, the machines, and the files that provisioning reads."""
    found = hashlib.sha256(f"{json.dumps(known, sort_keys=True)}\n{machine_ids}\n".encode())
    for name in PROVISIONING:
        for path in sorted([ROOT / name, *(ROOT / name).rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def deploy(phases: Phases, version: str) -> float:
    """Type deploy.yml; return its seconds."""
    return phases.run(f"deploy {version}", ["ansible-playbook", "deploy.yml", "-e", f"version={version}", "-e", AGAIN]).seconds


def deploy_under_load(phases: Phases, version: str, url: str) -> tuple[float, Summary]:
    """Deploy while users ask; return the deployment's seconds and what became of the requests."""
    load = Load(url, rate=RATE, requests=LOGS / "demo-requests.jsonl", summary=LOGS / "demo-requests.json")
    with load:
        phases.say(f"load: {RATE:g} requests a second to {url}, each with a connection of its own, none tried twice")
        load.wait_for(BEFORE, 60)
        seconds = deploy(phases, version)
        load.wait_for(max(load.sent() + AFTER, LEAST_REQUESTS), 120)
    for failure in load.failures(5):
        phases.say(f"load: failed after {failure.at:.2f} s: {failure.error or failure.status}")
    return seconds, load.summary


def report(phases: Phases, deployments: Sequence[dict[str, Any]], load: Summary, url: str, page: str) -> None:
    """Write build/demo.json and show the same as a table."""
    figures = {
        "deployments": deployments,
        "requests": load["requests"],
        "failed": load["failed"],
        "rate": load["rate"],
        "p50_ms": load["p50_ms"],
        "p99_ms": load["p99_ms"],
        "max_ms": load["max_ms"],
        "by_release": load["by_release"],
        "phases": {phase.name: round(phase.seconds, 2) for phase in phases.done},
    }
    (BUILD / "demo.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    rows = [("", "seconds"), *((phase.name, f"{phase.seconds:.1f}") for phase in phases.done)]
    rows += [(f"requests sent during deploy {NEW}", str(load["requests"])), ("requests failed", str(load["failed"]))]
    print(f"\n{table(rows)}\n")
    print(f"answers: half within {load['p50_ms']} ms, 99 of 100 within {load['p99_ms']} ms, the slowest {load['max_ms']} ms")
    activate = "" if "VIRTUAL_ENV" in os.environ else "    . .venv/bin/activate\n"
    print(f"""
The fleet runs on. Look at it: {url}   Who deployed what: {page}   Then type:

{activate}    ansible-playbook playbooks/status.yml                     what is live where, since when, by whom
    ansible-playbook deploy.yml -e version={OLD}             release
    ansible-playbook playbooks/rollback.yml                   go back, no version needed
    ansible-playbook playbooks/toss.yml -e target=app2        throw a machine away and get it back
    make lab-down                                             remove it all
""")


def demonstrate(phases: Phases) -> int:
    """All steps; return how many things fell short."""
    phases.run("lab", ["ansible-playbook", "playbooks/lab.yml"])
    known = inventory(INVENTORY)
    hosts = len(known["app"]["hosts"])
    balancer = known["_meta"]["hostvars"][known["lb"]["hosts"][0]]["ansible_host"]
    url = f"http://{balancer}/"
    page = f"http://{known['_meta']['hostvars'][known['ops']['hosts'][0]]['ansible_host']}:8088/"
    provision(phases, known)
    for version in (OLD, NEW):
        phases.run(f"build {version}", ["ansible-playbook", "playbooks/build.yml", "-e", f"version={version}"])
    deployments = [{"version": OLD, "seconds": round(deploy(phases, OLD), 2), "hosts": hosts}]
    seconds, load = deploy_under_load(phases, NEW, url)
    deployments.append({"version": NEW, "seconds": round(seconds, 2), "hosts": hosts})
    report(phases, deployments, load, url, page)
    short = []
    if load["failed"]:
        short.append(f"{load['failed']} requests failed: {LOGS.relative_to(ROOT)}/demo-requests.jsonl has each of them")
    if load["requests"] < LEAST_REQUESTS:
        short.append(f"only {load['requests']} requests were sent, expected {LEAST_REQUESTS}")
    if not {OLD, NEW} <= set(load["by_release"]):
        short.append(f"answers came from {load['by_release']}, expected both releases: the deployment under load was none")
    for words in short:
        print(words, file=sys.stderr)
    return len(short)


def main() -> int:
    """Demonstrate; where a step fails, say how to begin anew."""
    (BUILD / "demo.json").unlink(missing_ok=True)
    phases = Phases("demo")
    try:
        return min(1, demonstrate(phases))
    except PhaseError:
        print("\nAfter mending the cause: make demo. From nothing: make lab-down demo", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped after {time.monotonic() - phases.began:.0f} s; make demo goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
