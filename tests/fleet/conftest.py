"""A fleet of its own for the tests: made once, provisioned, with a few versions built; every test starts on release 1.0.0."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from load import Load, Summary

pytest.register_assert_rewrite("scene_in_flight", "scene_unreachable", "scene_disk_and_clock", "scene_history", "scene_gate", "scene_capacity")

ROOT = Path(__file__).resolve().parents[2]
#: FLEET_LAB and FLEET_NETWORK name another lab, for a second run beside this one.
LAB = os.environ.get("FLEET_LAB", "fleet")
NETWORK = os.environ.get("FLEET_NETWORK", "10.77.20.0/24")
BALANCER = f"http://{ipaddress.ip_network(NETWORK)[10]}"
LOGS = ROOT / "build" / "logs" / "fleet"
#: What is built before the first test. The faults are the storefront's own (examples/storefront/storefront/faults.py).
VERSIONS = {"1.0.0": "", "1.1.0": "", "1.2.0": "", "1.3.0": "", "5.0.0": "error-rate:0.05", "6.6.6": "never-ready"}

#: TORTURE=all runs every case; otherwise a few, chosen by SEED.
TORTURE = os.environ.get("TORTURE") == "all"
READY = os.environ.get("KEEP_FLEET") == "ready"
#: What every change pays for is one of each kind; LONG=1 (make fleet) runs the rest as well.
long = pytest.mark.skipif(not os.environ.get("LONG") and not TORTURE, reason="another one of its kind runs for every change; this one: make fleet")
SEED = int(os.environ.get("SEED", "1"))
#: Where each case leaves its figures (tools/reliability.py makes a table of them), and the cases that ran.
RECORD = ROOT / "build" / "torture.jsonl"
RAN: list[str] = []
FIGURES: dict[str, Any] = {}
T = TypeVar("T")


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
        self.count = itertools.count(1)
        self.groups: dict[str, list[str]] = {}

    def run(self, *argv: str) -> Run:
        """Run a command of the repository; its output is kept in build/logs/fleet."""
        done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        output = done.stdout + done.stderr
        name = re.sub(r"[^a-z0-9.]+", "-", " ".join(argv).lower())[-100:]
        (LOGS / f"{next(self.count):03}-{name}.log").write_text(output)
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
        argv = podman("exec", f"{LAB}-{host}", "sh", "-c", command)
        done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def everywhere(self, command: str) -> dict[str, str]:
        """What a shell command prints on each application host; all are asked at once, because nearly all of it is waiting."""
        hosts = self.hosts()
        with ThreadPoolExecutor(len(hosts)) as pool:
            return dict(zip(hosts, pool.map(lambda host: self.on(host, command), hosts), strict=True))

    def hosts(self) -> list[str]:
        """Names of the application hosts."""
        return self.group("app")

    def group(self, name: str) -> list[str]:
        """Names of the hosts of a group."""
        if not self.groups:
            listed = json.loads(self.run("ansible-inventory", "-i", str(self.inventory), "--list").output)
            self.groups = {group: found["hosts"] for group, found in listed.items() if "hosts" in found}
        return self.groups[name]

    def built(self, version: str, fault: str) -> None:
        """Have a version in the store that is bad on purpose; one that is there already is not built again."""
        (store, *_rest) = self.group("ops")
        if self.on(store, f"ls -d /srv/artifacts/storefront/{version} 2>/dev/null || true") == "":
            self.must("playbooks/build.yml", "-e", f"version={version}", "-e", f"storefront_fault={fault}")

    def releases(self, app: str = "storefront") -> dict[str, str]:
        """Version that each host's link points to."""
        found = self.everywhere(f"basename $(readlink /srv/{app}/current || echo nothing-00000000)")
        return {host: release.rpartition("-")[0] for host, release in found.items()}

    def journal(self, app: str) -> dict[str, str]:
        """What each host has written down about an application."""
        return self.everywhere(f"cat /var/lib/tossable/{app}/journal.jsonl")

    def fingerprint(self) -> dict[str, str]:
        """What must stay as it is when a run is refused: the links (also to the program), the journals, and what is told to the balancers."""
        links = "readlink /srv/*/current /usr/local/lib/tossable/current"
        command = f"{links}; cat /var/lib/tossable/*/journal.jsonl /run/tossable/*/state | sha256sum; ls -A /srv/*/releases"
        return self.everywhere(command)

    def info(self, host: str, app: str = "storefront") -> dict[str, Any]:
        """What the transaction program says of its host, every file compared with the manifest."""
        shown = self.on(host, f"python3 -I /usr/local/lib/tossable/current info {app} '{{\"verify\": true}}'")
        found: dict[str, Any] = json.loads(shown.splitlines()[-1])
        return found

    def statuses(self, backend: str = "storefront") -> dict[str, dict[str, str]]:
        """What each load balancer says of each application host: balancer -> host -> status."""
        asked = {lb: self.on(lb, ASK_BALANCER) for lb in self.group("lb")}
        rows = {lb: [line.split(",") for line in text.splitlines() if line.startswith(f"{backend},")] for lb, text in asked.items()}
        return {lb: {row[1]: row[17] for row in found if row[1] != "BACKEND"} for lb, found in rows.items()}

    def tried_again(self) -> int:
        """How often the load balancers sent a request a second time, to the same server or to another, by their own counters."""
        rows = [line.split(",") for lb in self.group("lb") for line in self.on(lb, ASK_BALANCER).splitlines() if "," in line and line[0] != "#"]
        assert rows, "no load balancer has counted anything"
        return sum(int(count or 0) for row in rows for count in row[15:17])

    def reboot(self, host: str) -> None:
        """Start a machine anew: what ran on it has ended, and what runs on it then has begun since."""
        started = podman("inspect", "--format", "{{.State.StartedAt}}", f"{LAB}-{host}")
        before, again, after = self.run(*started), self.run(*podman("restart", "--time", "10", f"{LAB}-{host}")), self.run(*started)
        assert (before.code, again.code, after.code) == (0, 0, 0), (before.output, again.output, after.output)
        assert before.output != after.output, f"{host} has been running since {after.output}"

    def served(self, seconds: float = 60) -> None:
        """Wait until each load balancer sends requests to every host again, after a test has mended what it broke."""
        deadline = time.monotonic() + seconds
        while any(status != dict.fromkeys(self.hosts(), "UP") for status in self.statuses().values()):
            assert time.monotonic() < deadline, f"not up again after {seconds} s: {self.statuses()}"
            time.sleep(0.2)

    def lock(self) -> dict[str, Any] | None:
        """The lease of the deployment lock, None while it is free."""
        (keeper, *_rest) = self.group("ops")
        shown = self.on(keeper, """python3 -I /usr/local/lib/tossable/current lock storefront '{"environment": "lab", "operation": "show"}'""")
        lease: dict[str, Any] | None = json.loads(shown.splitlines()[-1])["lease"]
        return lease

    def ledger(self) -> list[dict[str, Any]]:
        """The records of the ledger, in the order in which they were written."""
        (keeper, *_rest) = self.group("ops")
        lines = self.on(keeper, "cat /var/lib/tossable/ledger/ledger.jsonl 2>/dev/null || true").splitlines()
        return [json.loads(line) for line in lines]

    def settled(self, version: str) -> None:
        """What holds after every case, whatever was done to the fleet.

        Every host runs the version whole: the digest of each file is the manifest's, journal, link and processes agree, nothing is
        unfinished. Every server is up in every load balancer. Nobody has the lock. Nothing half-made lies about.
        """
        hosts = self.hosts()
        with ThreadPoolExecutor() as pool:
            infos = dict(zip(hosts, pool.map(self.info, hosts), strict=True))
            machines = [*hosts, *self.group("lb"), *self.group("ops")]
            left = dict(zip(machines, pool.map(lambda machine: self.on(machine, FIND_LEFT), machines), strict=True))
        seen = json.dumps(infos, indent=1)
        assert len(hosts) == 4, hosts
        assert {(info["live"] or "").rpartition("-")[0] for info in infos.values()} == {version}, seen
        assert len({info["release"] for info in infos.values()}) == 1, seen
        assert all(whole(info) for info in infos.values()), seen
        statuses = self.statuses()
        assert statuses
        for status in statuses.values():
            assert status == dict.fromkeys(hosts, "UP"), statuses
        assert self.lock() is None
        assert set(left.values()) == {""}, left


def whole(info: dict[str, Any]) -> bool:
    """Whether a host serves a whole release: the digest of each file is the manifest's, nothing is unfinished, and the balancers are told so."""
    found = (info["drift"], info["unfinished"], info["healthy"], info["balancer_word"])
    return info["live"] is not None and found == ([], None, True, "ready")


#: What a load balancer says of its servers, and the search for what a run that was cut short may leave behind.
ASK_BALANCER = "echo show stat | socat -t2 - UNIX-CONNECT:/run/haproxy/admin.sock"
LEFT_NAMES = (
    *(".staging*", "*.part", ".part.*", "*.tmp", ".tmp*"),
    # Beside the word for the load balancers, the switched flags, and what hosts read when they boot; and what was not uploaded whole.
    *(".state.next", ".flags.json.next", ".signed-*", ".desired-*.signed", ".flags-*.signed", ".incoming-*"),
)
FIND_LEFT = (
    "find /srv /etc /var/lib/tossable /usr/local/lib/tossable /run/tossable \\( "
    + " -o ".join(f"-name '{name}'" for name in LEFT_NAMES)
    + " \\) -not -path '*/shared/*' 2>/dev/null || true"
)
# Runs on a load balancer until its standard input is closed: the time and how many servers are up, five times a second.
COUNT_UP = f"""
while :; do
    {ASK_BALANCER} 2>/dev/null | awk -F, -v now="$(date +%s.%N)" \\
        '$1 == "storefront" && $2 != "BACKEND" {{rows++; up += ($18 ~ /^UP/)}} END {{print now, (rows ? up + 0 : "-"); fflush()}}'
    read -r -t 0.2 _ || [ $? -gt 128 ] || break
done
"""


#: The longest time for which nobody may have counted: a balancer that is restarted takes a few seconds, and so does a machine that has much to do.
UNSEEN_SECONDS = 10.0


class Capacity:
    """How many servers were up, all the time of a case: moments (Unix time) and counts; a balancer that did not answer is left out."""

    def __init__(self, balancer: str) -> None:
        argv = podman("exec", "--interactive", f"{LAB}-{balancer}", "bash", "-c", COUNT_UP)
        self.began = time.time()
        self.ended: float | None = None
        self.process = subprocess.Popen(argv, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.samples: list[tuple[float, int]] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                moment, _, count = line.strip().partition(" ")
                if count.isdecimal():
                    self.samples.append((float(moment), int(count)))

    def stop(self) -> None:
        """End the counting, which must not have ended by itself; the samples are complete then. A second call does nothing."""
        if self.ended is not None:
            return
        self.ended = time.time()
        code = self.process.poll()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.reader.join()
        assert code is None, f"the counting of servers ended by itself with {code}, after {len(self.samples)} samples"

    def lowest(self) -> int:
        """The fewest servers that were up at any moment of the load: somebody has counted from its beginning to its end."""
        assert self.ended is not None, "somebody still counts"
        moments = [self.began, *(moment for moment, _ in self.samples), self.ended]
        unseen, since = max((after - before, before) for before, after in itertools.pairwise(moments))
        assert self.samples, "no load balancer said how many servers are up"
        assert unseen < UNSEEN_SECONDS, f"nobody counted for {unseen:.1f} s, {since - self.began:.1f} s after the beginning"
        return min(count for _, count in self.samples)

    def whole_again(self) -> float:
        """The moment (Unix time) since which all servers have been up."""
        most = max(count for _, count in self.samples)
        return max((moment for moment, count in self.samples if count < most), default=self.samples[0][0])


class Case:
    """One case of the torture: load on the front door, servers counted, and what came of it in build/torture.jsonl."""

    def __init__(self, kind: str, name: str, running: Load, capacity: Capacity) -> None:
        self.kind = kind
        self.name = name
        self.running = running
        self.capacity = capacity
        self.load_began = time.time()

    @property
    def summary(self) -> Summary:
        """What became of all requests."""
        return self.running.summary

    def answers(self) -> list[dict[str, Any]]:
        """Every request with its time (`at`, seconds from the start of the load), status, error and release."""
        _ = self.summary
        return [json.loads(line) for line in self.running.requests.read_text().splitlines()]

    def passed(self, *, lost: int | None = 0, lowest: int = 2, **figures: Any) -> None:
        """Hold the case to its limits, and keep its figures: at most ``lost`` failed requests (None: as many as may be, they are what is
        measured), never fewer than ``lowest`` servers up. Without any the load would have seen nothing."""
        summary = self.summary
        self.capacity.stop()
        answers = self.answers()
        assert len(answers) == summary["requests"] > 50, summary
        assert all({"at", "seconds", "status", "error", "release"} <= set(answer) for answer in answers)
        assert lost is None or summary["failed"] <= lost, (summary, self.running.failures(5))
        assert self.capacity.lowest() >= lowest, self.capacity.samples
        FIGURES.update(
            {
                "kind": self.kind,
                "case": self.name,
                "requests": summary["requests"],
                "failed": summary["failed"],
                "lowest": self.capacity.lowest(),
                "p95_ms": summary["p95_ms"],
                **figures,
            }
        )


@contextmanager
def tortured(kind: str, name: str, rate: float = 50.0) -> Iterator[Case]:
    """Load and the counting of servers for the time of a case; `passed` is called after it."""
    with under_load("torture", rate) as running:
        capacity = Capacity("lb1")
        try:
            yield Case(kind, name, running, capacity)
        finally:
            capacity.stop()


class Scene(NamedTuple):
    """A case that is a small story: it finds all hosts on 1.0.0, and leaves all of them on ``ends``. A ``short`` one may be in a sample."""

    name: str
    play: Callable[[Fleet], None]
    ends: str = "1.0.0"
    short: bool = False

    def __str__(self) -> str:
        """Its name in the list of tests."""
        return self.name


def sample(cases: Sequence[T], count: int) -> list[T]:
    """All of the cases (TORTURE=all), or as many as a change is to pay for, chosen by SEED."""
    return list(cases) if TORTURE else random.Random(SEED).sample(cases, min(count, len(cases)))


def pytest_configure(config: pytest.Config) -> None:
    """The marks of the cases that are counted, and of what counts them: make torture-release runs these, in whatever file they are."""
    config.addinivalue_line("markers", "torture: one of the cases that TORTURE=all runs without exception")
    config.addinivalue_line("markers", "complete: counts them, after all of them")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note each case that ran, what came of it and its figures; a skipped one did not run."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pytest types it as None
    if report.when == "call" and not report.skipped and item.get_closest_marker("torture"):
        RAN.append(item.nodeid)
        figures = FIGURES if report.passed else {}
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with RECORD.open("a") as file:
            file.write(json.dumps({"test": item.nodeid, "outcome": report.outcome, "at": moment, **figures}) + "\n")
    FIGURES.clear()


def environment() -> dict[str, str]:
    """The environment of an operator in this checkout."""
    env = {**os.environ, "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    # The tests look for tasks by name.
    env["ANSIBLE_STDOUT_CALLBACK"] = "ansible.builtin.default"
    containers = ROOT / "build" / "containers.conf"
    if containers.exists():
        env["CONTAINERS_CONF"] = str(containers)
    return env


def podman(*words: str) -> list[str]:
    """The command line of podman, which runs the machines as root."""
    return [*([] if os.getuid() == 0 else ["sudo", "--non-interactive", "--preserve-env=CONTAINERS_CONF"]), "podman", *words]


def lab(fleet: Fleet, state: str, load_balancers: int = 1) -> Run:
    """Make or remove the fleet's machines."""
    wanted = {"lab_state": state, "lab_name": LAB, "lab_network": NETWORK, "lab_load_balancers": load_balancers}
    fleet.groups.clear()
    return fleet.run("ansible-playbook", "playbooks/lab.yml", "-e", json.dumps(wanted))


def under_load(name: str, rate: float = 100.0, url: str = f"{BALANCER}/") -> Load:
    """A steady load on the fleet's front door."""
    return Load(url, rate=rate, requests=LOGS / f"{name}-requests.jsonl", summary=LOGS / f"{name}-load.json")


@pytest.fixture(scope="session")
def virgin() -> Iterator[Fleet]:
    """The machines as they come, nothing provisioned. KEEP_FLEET=1 leaves them running, and takes them over the next time.

    KEEP_FLEET=ready takes them over as they are, without a look at whether they are provisioned.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    for old in LOGS.glob("*.log"):
        old.unlink()
    fleet = Fleet()
    keep = bool(os.environ.get("KEEP_FLEET"))
    if not keep:
        lab(fleet, "absent")
    if not READY:
        made = lab(fleet, "present")
        assert made.code == 0, made.output
    yield fleet
    if not keep:
        lab(fleet, "absent")


@pytest.fixture(scope="session")
def provisioned(virgin: Fleet) -> Fleet:
    """The fleet after site.yml, with the versions in the store and nothing released (where it was just made)."""
    if READY:
        return virgin
    virgin.must("playbooks/site.yml")

    def build(version: str) -> None:
        virgin.must("playbooks/build.yml", "-e", f"version={version}", "-e", f"storefront_fault={VERSIONS[version]}")

    # The first one bundles what the application depends on; the others find that, and wait for the store half of their time.
    first, *others = VERSIONS
    build(first)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, others))
    return virgin


@pytest.fixture
def fleet(provisioned: Fleet) -> Fleet:
    """The fleet on release 1.0.0; brought there in one wave, because nobody asks it for anything meanwhile."""
    if set(provisioned.releases().values()) != {"1.0.0"}:
        provisioned.deploy("1.0.0", "-e", '{"rollout_waves": ["100%"], "rollout_min_healthy": 0}')
    return provisioned
