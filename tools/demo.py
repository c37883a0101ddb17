#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole path on one machine (make demo): a fleet from nothing, two releases of the sample application, the second under load.

It types what operators type, one command after the other, and counts the requests that failed meanwhile. Run again, it mends what is
missing, provisions only where what provisioning reads has changed, and releases both versions again. Figures: build/demo.json. Exit code 0
when every step succeeded, no request failed or was tried again, and enough of them were sent.
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
from phases import PhaseError, Phases, end_cleanly, inventory, table

OLD, NEW = "1.0.0", "1.1.0"
RATE = 120.0  # requests a second
BEFORE, AFTER = 240, 240  # requests before the second deployment begins, and after it has ended
LEAST_REQUESTS = 2000
LEAST_RATE = 100.0  # requests a second that have really been sent
INVENTORY = "inventories/lab"
#: For a version that is known to be bad, because somebody has rolled it back since.
AGAIN = "force='the demonstration, again'"
SENT = f"requests sent during deploy {NEW}"
ASK_HOST = "python3 -I /usr/local/lib/tossable/current info storefront"
ASK_BALANCER = "echo show stat | socat -t2 - UNIX-CONNECT:/run/haproxy/admin.sock"
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


def ask(hosts: str, command: str) -> str:
    """What a command prints as root on some hosts."""
    asked = ["ansible", hosts, "-i", INVENTORY, "--become", "-m", "ansible.builtin.raw", "-a", command]
    return subprocess.run(asked, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False).stdout


def machines() -> str:
    """Which machines these are: each has given itself an id when it was made."""
    return "\n".join(sorted(re.findall(r"^[0-9a-f]{32}$", ask("all", "cat /etc/machine-id"), re.MULTILINE)))


def bad_versions(told: str) -> set[str]:
    """The versions that a host has marked bad, by what the hosts say of themselves: a line of JSON each, among others."""
    reports = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return {release.rpartition("-")[0] for report in reports for release in report.get("bad", {})}


def tried_again(told: str) -> int | None:
    """How often a load balancer sent a request a second time, to the same server or to another; None where none said it."""
    rows = [line.split(",") for line in told.splitlines() if re.match(r"[\w.-]+,[\w.-]+,", line)]
    names = next((line.removeprefix("# ").split(",") for line in told.splitlines() if line.startswith("# pxname,")), None)
    if names is None or not rows:
        return None
    counted = [dict(zip(names, row, strict=False)) for row in rows]
    return sum(int(row[column] or 0) for row in counted for column in ("wretr", "wredis"))


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
    again = ["-e", AGAIN] if version in bad_versions(ask("app", ASK_HOST)) else []
    return phases.run(f"deploy {version}", ["ansible-playbook", "deploy.yml", "-e", f"version={version}", *again]).seconds


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


def shortfalls(load: Summary, retries: int | None) -> dict[str, str]:
    """What fell short of the promise: its name in the table to a sentence."""
    short = {}
    if load["failed"]:
        short["requests failed"] = f"{load['failed']} requests failed: {LOGS.relative_to(ROOT)}/demo-requests.jsonl has each of them"
    if load["requests"] < LEAST_REQUESTS:
        short[SENT] = f"only {load['requests']} requests were sent, expected {LEAST_REQUESTS}"
    if load["rate"] < LEAST_RATE:
        short["requests a second"] = (
            f"only {load['rate']:g} requests a second were sent, expected {LEAST_RATE:g}: this machine has more to do than it can (load average "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
        )
    if retries is None:
        short["requests tried again"] = "no load balancer said how often it tried a request again"
    elif retries:
        short["requests tried again"] = f"load balancers tried {retries} requests again, which hides failures: see load_balancer_retries"
    if not {OLD, NEW} <= set(load["by_release"]):
        short["releases that answered"] = f"answers came from {load['by_release']}, expected both releases: the deployment under load was none"
    return short


def report(phases: Phases, deployments: Sequence[dict[str, Any]], load: Summary, retries: int | None, url: str, page: str) -> int:
    """Write build/demo.json and show the same as a table; return how many things fell short."""
    short = shortfalls(load, retries)
    figures = {
        "deployments": deployments,
        "requests": load["requests"],
        "failed": load["failed"],
        "rate": load["rate"],
        "tried_again": retries,
        "p50_ms": load["p50_ms"],
        "p99_ms": load["p99_ms"],
        "max_ms": load["max_ms"],
        "by_release": load["by_release"],
        "phases": {phase.name: round(phase.seconds, 2) for phase in phases.done},
    }
    (BUILD / "demo.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    rows = [("", "seconds"), *((phase.name, f"{phase.seconds:.1f}") for phase in phases.done)]
    counted = {
        SENT: load["requests"],
        "requests a second": f"{load['rate']:g}",
        "requests failed": load["failed"],
        "requests tried again": "?" if retries is None else retries,
        "releases that answered": len(load["by_release"]),
    }
    rows += [(name, f"FELL SHORT: {value}" if name in short else str(value)) for name, value in counted.items()]
    print(f"\n{table(rows)}\n")
    for words in short.values():
        print(words, file=sys.stderr)
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
    return len(short)


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
    return report(phases, deployments, load, tried_again(ask("lb", ASK_BALANCER)), url, page)


def what_next(error: PhaseError) -> str:
    """What to do after a phase that failed."""
    if re.search(r"already (holds|keeps) storefront", error.output):
        return "The storefront has changed since this lab was made, and a version is built once in each lab. From nothing: make lab-down demo"
    return "After mending the cause: make demo. From nothing: make lab-down demo"


def main() -> int:
    """Demonstrate; where a step fails, say how to begin anew."""
    end_cleanly()
    (BUILD / "demo.json").unlink(missing_ok=True)
    phases = Phases("demo")
    try:
        return min(1, demonstrate(phases))
    except PhaseError as error:
        print(f"\n{what_next(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped after {time.monotonic() - phases.began:.0f} s; make demo goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
