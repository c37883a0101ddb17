"""A host that was away while a flag was switched has the flags of the fleet before anybody sends it a request."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LAB, NETWORK, Fleet, environment, long, podman

FLAGS = "/var/lib/tossable/flags/flags.json"
FLAG = "checkout"
SIGNED = "/srv/artifacts/flags-lab.signed"


def wait_until(what: str, seconds: float, reached: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def plug(host: str, action: str) -> None:
    """Kill a machine, or start it again; a connection that ssh kept open to the machine before would only hang."""
    for kept in Path("~/.ansible/cp").expanduser().glob(f"*-{NETWORK.rpartition('.')[0]}.*"):
        kept.unlink(missing_ok=True)
    subprocess.run(podman(action, f"{LAB}-{host}"), env=environment(), check=True, capture_output=True)


def returned(fleet: Fleet, host: str) -> str:
    """What the host says of its return to the load balancers since it was started, once it is there."""
    unit = "storefront-return.service"
    ended = f"systemctl show -P ExecMainExitTimestampMonotonic {unit} 2>/dev/null || true"
    wait_until(f"{host} is through with {unit}", 120, lambda: fleet.on(host, ended) not in ("", "0"))
    wait_until(f"{host} is up", 90, lambda: all(of[host].startswith("UP") for of in fleet.statuses().values()))
    return fleet.on(host, f"journalctl --sync && journalctl --quiet --output cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {unit})")


def generation(fleet: Fleet, host: str) -> int:
    found: dict[str, Any] = json.loads(fleet.on(host, f"cat {FLAGS}"))
    return int(found["metadata"]["generation"])


@pytest.fixture(autouse=True)
def as_declared(fleet: Fleet) -> Iterator[None]:
    """The machine runs again and the flag is reset, whatever a test has done."""
    yield
    plug("app2", "start")
    start = podman("exec", f"{LAB}-app2", "systemctl", "start", "ssh", "nginx.service")
    wait_until("app2 runs", 60, lambda: fleet.run(*start).code in (0, 5))
    fleet.must("playbooks/flag.yml", "-e", f"flag={FLAG}", "-e", "state=reset", "-e", "reason='the test is over'")


def test_a_host_that_missed_a_switch_has_it_before_it_serves(fleet: Fleet) -> None:
    """Also where whoever switched, as the robot does, has no key that releases are signed with: the ops host signs flags by its own."""
    before = generation(fleet, "app2")
    plug("app2", "kill")
    said = fleet.play("playbooks/flag.yml", "-e", f"flag={FLAG}", "-e", "state=on", "-e", "reason='app2 is away'", "-e", "build_signing_key=")
    assert "app2" in said.message()
    assert "Not signed" not in said.message()
    plug("app2", "start")
    assert "This host has missed a switch" in returned(fleet, "app2")
    assert fleet.on("app2", f"cat {FLAGS}") == fleet.on("ops1", f"cat {FLAGS}")
    assert generation(fleet, "app2") == before + 1
    written, serving = (float(line) for line in fleet.on("app2", f"stat -c %.Y {FLAGS} /run/tossable/storefront/state").splitlines())
    assert written < serving, "it was in the load balancers before it had the flags"


@long
def test_a_store_that_is_gone_or_lies_keeps_no_host_down(fleet: Fleet) -> None:
    kept = fleet.on("app2", f"cat {FLAGS}")
    fleet.on("ops1", f'cp -p {SIGNED} /root/ && sed -i \'1s/"generation":[0-9]*/"generation":99999/\' {SIGNED}')
    try:
        plug("app2", "kill")
        plug("app2", "start")
        assert "altered after it was signed" in returned(fleet, "app2")
        fleet.on("ops1", "systemctl stop nginx")
        plug("app2", "kill")
        plug("app2", "start")
        assert "this host goes on with the feature flags that it has" in returned(fleet, "app2")
    finally:
        fleet.on("ops1", f"mv /root/flags-lab.signed {SIGNED} && systemctl start nginx")
    assert fleet.on("app2", f"cat {FLAGS}") == kept
