"""A fleet of its own for the tests: made once, provisioned, with a few versions built; every test starts on release 1.0.0."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from load import Load

ROOT = Path(__file__).resolve().parents[2]
#: FLEET_LAB and FLEET_NETWORK name another lab, for a second run beside this one.
LAB = os.environ.get("FLEET_LAB", "fleet")
NETWORK = os.environ.get("FLEET_NETWORK", "10.77.20.0/24")
BALANCER = f"http://{ipaddress.ip_network(NETWORK)[10]}"
LOGS = ROOT / "build" / "logs" / "fleet"
#: What is built before the first test. The faults are the storefront's own (examples/storefront/storefront/faults.py).
VERSIONS = {"1.0.0": "", "1.1.0": "", "1.2.0": "", "1.3.0": "", "5.0.0": "error-rate:0.05", "6.6.6": "never-ready"}


class Run(NamedTuple):
    """A playbook that ended: its exit code and all it printed."""

    code: int
    output: str

    def message(self) -> str:
        """The output with its line breaks and indents folded, so that a sentence can be looked for."""
        return re.sub(r"\s+", " ", self.output)


class Fleet:
    """What an operator types, and what can be seen from outside."""

    def __init__(self) -> None:
        self.inventory = ROOT / "build" / "labs" / LAB / "inventory" / "hosts.yml"
        self.count = 0
        self.names: list[str] = []

    def run(self, *argv: str) -> Run:
        """Run a command of the repository; its output is kept in build/logs/fleet."""
        self.count += 1
        done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        output = done.stdout + done.stderr
        name = re.sub(r"[^a-z0-9.]+", "-", " ".join(argv).lower())[-100:]
        (LOGS / f"{self.count:03}-{name}.log").write_text(output)
        return Run(done.returncode, output)

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """Start a playbook without waiting for it, in a process group of its own."""
        return subprocess.Popen(
            ["ansible-playbook", "-i", str(self.inventory), *command],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def play(self, playbook: str, *options: str) -> Run:
        """Run a playbook against this fleet."""
        return self.run("ansible-playbook", "-i", str(self.inventory), playbook, *options)

    def must(self, playbook: str, *options: str) -> Run:
        """Run a playbook that has to succeed; what it printed is the evidence when it does not."""
        done = self.play(playbook, *options)
        assert done.code == 0, f"{playbook} {' '.join(options)} ended with {done.code}:\n{done.output[-6000:]}"
        return done

    def deploy(self, version: str, *options: str) -> Run:
        """Deploy a version, which has to succeed, also where an earlier test had it rolled back."""
        return self.must("deploy.yml", "-e", f"version={version}", "-e", "force='another test took it back'", *options)

    def on(self, host: str, command: str) -> str:
        """What a shell command prints on a host, as root."""
        argv = ["podman", "exec", f"{LAB}-{host}", "sh", "-c", command]
        done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def hosts(self) -> list[str]:
        """Names of the application hosts."""
        if not self.names:
            listed = self.run("ansible-inventory", "-i", str(self.inventory), "--list")
            self.names = list(json.loads(listed.output)["app"]["hosts"])
        return self.names

    def releases(self, app: str = "storefront") -> dict[str, str]:
        """Version that each host's link points to."""
        found = {host: self.on(host, f"basename $(readlink /srv/{app}/current || echo nothing-00000000)") for host in self.hosts()}
        return {host: release.rpartition("-")[0] for host, release in found.items()}

    def journal(self, app: str) -> dict[str, str]:
        """What each host has written down about an application."""
        return {host: self.on(host, f"cat /var/lib/tossable/{app}/journal.jsonl") for host in self.hosts()}

    def fingerprint(self) -> dict[str, str]:
        """What must stay as it is when a run is refused: the links, the journals, and what is told to the balancers."""
        command = "readlink /srv/*/current; cat /var/lib/tossable/*/journal.jsonl /run/tossable/*/state | sha256sum; ls -A /srv/*/releases"
        return {host: self.on(host, command) for host in self.hosts()}

    def settled(self, version: str) -> None:
        """Every host runs the version whole, every server is up, nothing half-made is left."""
        assert set(self.releases().values()) == {version}
        shown = self.must("playbooks/status.yml").output
        rows = [line for line in shown.splitlines() if re.search(r"- '?app\d", line)]
        assert len(rows) == len(self.hosts()), shown
        for row in rows:
            assert re.search(r"healthy\s+lb1 UP\s+none", row), shown
        for host in self.hosts():
            assert self.on(host, "find /srv/*/releases /var/lib/tossable /etc/tossable -name '.staging*' -o -name '*.part'") == ""


def environment() -> dict[str, str]:
    """The environment of an operator in this checkout."""
    env = {**os.environ, "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    containers = ROOT / "build" / "containers.conf"
    if containers.exists():
        env["CONTAINERS_CONF"] = str(containers)
    return env


def lab(fleet: Fleet, state: str) -> Run:
    """Make or remove the fleet's machines."""
    return fleet.run("ansible-playbook", "playbooks/lab.yml", "-e", f"lab_state={state}", "-e", f"lab_name={LAB}", "-e", f"lab_network={NETWORK}")


def under_load(name: str, rate: float = 100.0, url: str = f"{BALANCER}/") -> Load:
    """A steady load on the fleet's front door."""
    return Load(url, rate=rate, requests=LOGS / f"{name}-requests.jsonl", summary=LOGS / f"{name}-load.json")


@pytest.fixture(scope="session")
def virgin() -> Iterator[Fleet]:
    """The machines as they come, nothing provisioned. KEEP_FLEET=1 leaves them running, and takes them over the next time."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for old in LOGS.glob("*.log"):
        old.unlink()
    fleet = Fleet()
    keep = bool(os.environ.get("KEEP_FLEET"))
    if not keep:
        lab(fleet, "absent")
    made = lab(fleet, "present")
    assert made.code == 0, made.output
    yield fleet
    if not keep:
        lab(fleet, "absent")


@pytest.fixture(scope="session")
def provisioned(virgin: Fleet) -> Fleet:
    """The fleet after site.yml, with the versions in the store and nothing released (where it was just made)."""
    virgin.must("playbooks/site.yml")
    for version, fault in VERSIONS.items():
        virgin.must("playbooks/build.yml", "-e", f"version={version}", "-e", f"storefront_fault={fault}")
    return virgin


@pytest.fixture
def fleet(provisioned: Fleet) -> Fleet:
    """The fleet on release 1.0.0."""
    if set(provisioned.releases().values()) != {"1.0.0"}:
        provisioned.deploy("1.0.0")
    return provisioned
