"""Environment and secrets belong to the release that ran with them: they come and go with it. Two hosts are enough to see it."""

from __future__ import annotations

import json
from typing import Any

from conftest import Fleet, Run, long, under_load

NAMES = ("app1", "app2")
TWO = ("--limit", ",".join(NAMES))
#: What systemd makes anew at every start.
OF_ONE_START = ("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")
SECRETS = ("first-for-nobody", "second-for-nobody")


def configure(fleet: Fleet, token: str, *options: str, must: bool = True, **variables: str) -> Run:
    """Prepare both hosts with these variables and a secret, everything printed that can be."""
    wanted = {"app_environment": {"STOREFRONT_SHARED": "/srv/storefront/shared", **variables}, "app_secrets": {"STOREFRONT_TOKEN": token}}
    run = fleet.must if must else fleet.play
    return run("playbooks/app.yml", *TWO, "-e", json.dumps(wanted), "--diff", "-vvv", *options)


def processes(fleet: Fleet, host: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Process id and whole environment of each process type, as the kernel has them."""
    found = {}
    for kind in ("web", "worker"):
        pid = fleet.on(host, f"systemctl show -P MainPID storefront-{kind}")
        lines = fleet.on(host, f"tr '\\0' '\\n' < /proc/{pid}/environ").splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        found[kind] = (pid, {name: value for name, value in variables.items() if name not in OF_ONE_START})
    return found


def everywhere(fleet: Fleet) -> dict[str, dict[str, tuple[str, dict[str, str]]]]:
    """Of both hosts."""
    return {host: processes(fleet, host) for host in NAMES}


def values(seen: dict[str, dict[str, tuple[str, dict[str, str]]]]) -> list[dict[str, str]]:
    """The environments alone."""
    return [variables for kinds in seen.values() for _pid, variables in kinds.values()]


def told(fleet: Fleet, host: str) -> dict[str, Any]:
    """What the host reports of its configuration."""
    report: dict[str, Any] = json.loads(fleet.on(host, "python3 -I /usr/local/lib/tossable/current info storefront"))
    assert report["drift"] == []
    configuration: dict[str, Any] = report["configuration"]
    return configuration


@long
def test_a_rollback_brings_back_the_environment_and_the_secrets_of_the_release(fleet: Fleet) -> None:
    printed = []
    try:
        with under_load("configuration") as running:
            printed.append(configure(fleet, SECRETS[0], COLOUR="red", SIZE="small"))
            first = everywhere(fleet)
            assert all((seen["COLOUR"], seen["STOREFRONT_TOKEN"]) == ("red", SECRETS[0]) for seen in values(first))

            printed.append(configure(fleet, SECRETS[1], "-e", "app_restart=false", COLOUR="blue", WEIGHT="light"))
            assert everywhere(fleet) == first, "it waits for the next deployment"
            assert told(fleet, "app1")["changes"] == ["~COLOUR", "-SIZE", "~STOREFRONT_TOKEN", "+WEIGHT"]

            printed.append(fleet.deploy("1.1.0", *TWO, "-vvv"))
            second = values(everywhere(fleet))
            assert all((seen["COLOUR"], seen["WEIGHT"], seen["STOREFRONT_TOKEN"]) == ("blue", "light", SECRETS[1]) for seen in second)
            assert not any("SIZE" in seen for seen in second)
            assert told(fleet, "app1")["changes"] == []

            printed.append(fleet.must("playbooks/rollback.yml", *TWO, "-vvv"))
            back = everywhere(fleet)
            assert values(back) == values(first)

            again = configure(fleet, SECRETS[1], COLOUR="blue", WEIGHT="light")
            printed.append(again)
            assert [line for line in again.output.splitlines() if "changed=0 " in line and line.startswith(NAMES)] != []
            assert not [line for line in again.output.splitlines() if "changed=" in line and "changed=0 " not in line]
            assert everywhere(fleet) == back, "nothing was restarted"
            assert told(fleet, "app2")["changes"] == ["~COLOUR", "-SIZE", "~STOREFRONT_TOKEN", "+WEIGHT"]
        assert running.summary["failed"] == 0, running.summary
        fleet.settled("1.0.0")
        for run in printed:
            assert not [secret for secret in SECRETS if secret in run.output]
        assert not [secret for secret in SECRETS for text in fleet.journal("storefront").values() if secret in text]
    finally:
        fleet.must("playbooks/app.yml", *TWO)


@long
def test_a_run_that_was_stopped_before_the_restart_is_made_up_for_by_the_same_run(fleet: Fleet) -> None:
    before = everywhere(fleet)
    live = fleet.on("app1", "readlink -f /srv/storefront/current") + "/.tossable/manifest.json"
    try:
        fleet.on("app1", f"mv {live} {live}.away")
        try:
            refused = configure(fleet, SECRETS[0], must=False, COLOUR="red")
        finally:
            fleet.on("app1", f"mv {live}.away {live}")
        assert refused.code == 2
        assert "is not staged on this host" in refused.message()
        assert everywhere(fleet) == before, "app1 was refused, and so app2 was left alone"
        assert told(fleet, "app2")["changes"] != []

        assert "changed=1 " in configure(fleet, SECRETS[0], "--check", COLOUR="red").output, "it tells what it would restart"
        with under_load("configuration-again") as running:
            configure(fleet, SECRETS[0], COLOUR="red")
        after = everywhere(fleet)
        assert all((seen["COLOUR"], seen["STOREFRONT_TOKEN"]) == ("red", SECRETS[0]) for seen in values(after))
        assert running.summary["failed"] == 0, running.summary

        again = configure(fleet, SECRETS[0], COLOUR="red")
        assert not [line for line in again.output.splitlines() if "changed=" in line and "changed=0 " not in line]
        assert everywhere(fleet) == after, "nothing was restarted"
        assert fleet.on("app1", "ls /etc/storefront/config | grep restart || echo none") == "none"
        fleet.settled("1.0.0")
    finally:
        fleet.must("playbooks/app.yml", *TWO)


@long
def test_a_release_that_never_becomes_healthy_leaves_the_old_one_with_its_environment(fleet: Fleet) -> None:
    before = values(everywhere(fleet))
    try:
        configure(fleet, SECRETS[0], "-e", '{"app_restart": false, "app_health_deadline_seconds": 5}', COLOUR="green")
        with under_load("configuration-never-ready") as running:
            done = fleet.play("deploy.yml", *TWO, "-e", "version=6.6.6", "-e", "force='for this test'", "-vvv")
        assert done.code == 2
        assert "did not become healthy" in done.message()
        assert SECRETS[0] not in done.output
        assert running.summary["failed"] == 0, running.summary
        assert values(everywhere(fleet)) == before
        # What the inventory gives and this test does not would go: that is told, too.
        changes = told(fleet, "app1")["changes"]
        assert [name for name in changes if not name.startswith("-")] == ["+COLOUR", "+STOREFRONT_TOKEN"]
        assert "-STOREFRONT_STATUS" in changes
        fleet.settled("1.0.0")
    finally:
        fleet.must("playbooks/app.yml", *TWO)
    assert told(fleet, "app1")["changes"] == []


@long
def test_a_value_that_the_live_release_does_not_bear_costs_nobody_a_request(fleet: Fleet) -> None:
    before = everywhere(fleet)
    try:
        with under_load("configuration-bad-value") as running:
            tries = [
                configure(fleet, SECRETS[0], "-e", '{"app_health_deadline_seconds": 15}', must=False, STOREFRONT_FAULT="never-ready")
                for _ in range(2)
            ]
        for done in tries:
            assert done.code == 2, "what is in force nowhere did not go well, the second time neither"
            assert "The configuration that it had is back, and it is serving" in done.message()
            assert SECRETS[0] not in done.output
        assert running.summary["failed"] == 0, running.summary
        after = everywhere(fleet)
        assert values(after) == values(before)
        assert after["app2"] == before["app2"], "the first host proves it, the others are left alone"
        fleet.settled("1.0.0")
    finally:
        fleet.must("playbooks/app.yml", *TWO)
