"""A host that boots runs what the fleet runs before it serves; what is forged, or fails on this host, does not lead it astray.

A boot is what systemd does then: the host has told no load balancer anything yet, and the unit that returns it starts.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

KEY = Path(__file__).resolve().parents[3] / "build" / "labs" / "molecule" / "signing_key"
PROGRAM = "/usr/bin/python3 -I /usr/local/lib/tossable/current"
STATE = "/run/tossable/hello/state"


def config(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output("cat /etc/tossable/hello.json"))["desired"]
    return found


def digest(host: Host, version: str) -> str:
    manifest = json.loads(host.check_output(f"cat /srv/store/hello/{version}/hello-{version}.manifest.json"))
    return str(manifest["archive"]["sha256"])


def call(host: Host, verb: str, **given: Any) -> None:
    arguments = json.dumps({"run": "test", "by": "test", **given})
    answer = json.loads(host.check_output(f"{PROGRAM} {verb} hello {shlex.quote(arguments)}").splitlines()[-1])
    assert not answer.get("failed"), answer


def desire(host: Host, version: str, key: Path = KEY, **other: Any) -> None:
    """Publish that the fleet runs this version."""
    right = digest(host, version)
    state = {"schema": 1, "app": "hello", "environment": config(host)["environment"], "kind": "deploy", "version": version, "digest": right}
    where = {"release": f"{version}-{right[:8]}", "url": f"http://127.0.0.1:8899/hello/{version}", "run": "another", "token": 1, "at": "now"}
    line = json.dumps({**state, **where, **other}).encode() + b"\n"
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "desired@tossable", "-f", str(key)]
    text = (line + subprocess.run(argv, input=line, capture_output=True, check=True).stdout).decode()
    host.check_output(f"printf %s {shlex.quote(text)} > /srv/store/hello/{config(host)['url'].rpartition('/')[2]}")


def boot(host: Host) -> str:
    """Return the host as at its boot; what the unit says in the system journal from now on."""
    began = host.check_output("date +%s.%N")
    host.check_output(f"rm -f {STATE}")
    host.run("systemctl restart hello-return.service")
    return str(host.check_output(f"journalctl --sync && journalctl --no-pager --unit=hello-return.service --since=@{began}"))


def served(host: Host) -> str:
    return str(host.check_output("curl -s http://127.0.0.1:8000/"))


@pytest.fixture(autouse=True)
def on_one(host: Host) -> Iterator[None]:
    """Every test begins on release 1.0, with nothing published."""
    forget = "systemctl stop hello-return.service; systemctl reset-failed hello-return.service; rm -f /srv/store/hello/desired-*"
    host.run(forget)
    right = digest(host, "1.0")
    call(host, "stage", version="1.0", digest=right, url="http://127.0.0.1:8899/hello/1.0")
    call(host, "transact", kind="activate", release=f"1.0-{right[:8]}", reason="")
    assert served(host) == "1.0"
    yield
    host.run(forget)


def test_it_serves_only_once_it_runs_what_the_fleet_runs(host: Host) -> None:
    desire(host, "2.0")
    said = boot(host)
    assert served(host) == "2.0"
    assert host.check_output(f"cat {STATE}") == "ready"
    assert "stays out of the load balancers until it runs that" in said


def test_where_nothing_is_published_it_serves_what_it_ran(host: Host) -> None:
    boot(host)
    assert served(host) == "1.0"
    assert host.check_output(f"cat {STATE}") == "ready"


def test_what_another_key_signed_is_not_obeyed(host: Host, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    desire(host, "2.0", key=tmp_path / "other")
    said = boot(host)
    assert served(host) == "1.0"
    assert host.check_output(f"cat {STATE}") == "ready"
    assert "is NOT obeyed" in said


def test_a_release_that_is_not_healthy_here_keeps_it_out(host: Host) -> None:
    """The release before runs again, but does not serve."""
    desire(host, "9.0")
    said = boot(host)
    assert served(host) == "1.0"
    assert host.run(f"cat {STATE}").stdout.strip() == "maint"
    assert "the host stays out of the load balancers" in said
