"""People in a real chat see what a run does, in order, with its id, its end and its reason; a chat that hangs is not noticed by a run."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LAB, NETWORK, ROOT, Fleet, environment, long, podman
from irc_client import Client

OPS = str(ipaddress.ip_network(NETWORK)[11])
#: What of this repository is a checkout that plays, and where it lies on the robot's host.
CHECKOUT = ("ansible.cfg", "deploy.yml", "galaxy.yml", "meta", "playbooks", "plugins", "roles", "collections", "inventories")
THERE = "/srv/fleet"
#: Seconds of the lease of a run that is killed.
LEASE = 45
RUN = re.compile(r"\(run (\d{8}T\d{6}Z-[0-9a-f]{6})\)$")


def announced(announce: list[dict[str, object]], folder: Path) -> tuple[str, str]:
    """The options that have a run announced, with a spool of the test's own."""
    return ("-e", json.dumps({"announce": announce, "release_announce_folder": str(folder)}))


def heard(somebody: Client, pattern: str) -> str:
    """What was told in the channel, without who told it."""
    return somebody.wait(rf"PRIVMSG #ops :.*{pattern}", 60).partition(" PRIVMSG #ops :")[2]


@long
def test_a_deployment_and_one_that_is_rolled_back_are_seen_in_the_channel(fleet: Fleet, tmp_path: Path) -> None:
    fleet.must("playbooks/chat.yml", "-e", "lab_irc=true")
    told = announced([{"to": f"irc://teller@{OPS}:6667/#ops"}], tmp_path)
    with Client(OPS, "watcher") as watcher:
        watcher.join("#ops")
        fleet.deploy("1.1.0", *told, "-e", "reason='faster checkout'")
        lines = [
            heard(watcher, "deploy storefront 1.1.0 in lab started: 1.0.0-.* on 4 hosts in 3 waves, by .*, because: faster checkout"),
            *(heard(watcher, f"wave {number} of 3 done: app") for number in (1, 2, 3)),
            heard(watcher, "deploy storefront 1.1.0 in lab deployed after"),
        ]
        bad = fleet.play("deploy.yml", "-e", "version=6.6.6", "-e", "force='another test took it back'", *told)
        assert bad.code == 2, bad.output
        back = [
            heard(watcher, "deploy storefront 6.6.6 in lab started: 1.1.0-"),
            heard(watcher, "goes back: failed on app1: .*did not become healthy"),
            heard(watcher, "deploy storefront 6.6.6 in lab rolled back after .*: failed on app1: .*did not become healthy"),
        ]
        for state in ("on", "off"):
            fleet.must("playbooks/maintenance.yml", *told, "-e", f"state={state}", "-e", "by=ada", "-e", "reason='the database moves'")
            heard(watcher, rf"maintenance storefront in lab: maintenance {state} at lb1, by ada, because: the database moves \(run \d")
        fleet.must("playbooks/contract.yml", *told, "-e", "by=ada")
        heard(watcher, r"contract storefront 1\.1\.0 in lab started: no migration is pending, by ada")
        heard(watcher, r"contract storefront 1\.1\.0 in lab deployed after")
    journal = fleet.journal("storefront")["app1"]
    for of_one_run in (lines, back):
        (run,) = {match[1] for line in of_one_run if (match := RUN.search(line))}
        assert all(RUN.search(line) for line in of_one_run), of_one_run
        assert run in journal
    assert "not sent" not in bad.output
    assert not (tmp_path / "unsent.jsonl").exists()


@long
def test_a_chat_that_hangs_delays_and_fails_nothing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.deploy("1.2.0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = f"irc://teller:hunter2@127.0.0.1:{silent.getsockname()[1]}/#ops"
        hanging = fleet.deploy("1.1.0", *announced([{"to": to, "name": "the chat"}], tmp_path), "-vvv")
        assert list(tmp_path.glob("queue/*/*.json")), "the run waited for the chat"
    assert "hunter2" not in hanging.output
    refused = fleet.play("deploy.yml", "-e", "version=1.2.0", *announced([{"to": to, "events": ["rolledback"]}], tmp_path))
    assert refused.code == 2
    assert "announce[0].events: 'rolledback' is not known: there are started," in refused.message()
    assert "hunter2" not in refused.output
    fleet.settled("1.1.0")


def packed(folder: Path, *names: str) -> bytes:
    """Files of a folder as tar has them, links as links."""
    return subprocess.run(["tar", "-C", str(folder), "--exclude=__pycache__", "-cf", "-", *names], stdout=subprocess.PIPE, check=True).stdout


def unpack(host: str, where: str, archive: bytes) -> None:
    """Put an archive's files into a folder of a host, everybody's to read."""
    command = f"mkdir -p {where} && tar -C {where} --no-same-owner -xf - && chmod -R a+rX {where}"
    subprocess.run(podman("exec", "--interactive", f"{LAB}-{host}", "sh", "-c", command), env=environment(), input=archive, check=True)


@pytest.fixture
def robot(fleet: Fleet) -> Iterator[None]:
    """A robot as an operator sets it up: a checkout on the ops host, its key let in to every machine, and ada on its list."""
    lab = fleet.inventory.parents[1]
    unpack("ops1", THERE, packed(ROOT, *CHECKOUT))
    unpack("ops1", f"{THERE}/inventories/lab", packed(fleet.inventory.parent, "hosts.yml"))
    unpack("ops1", f"{THERE}/lab", packed(lab, "signing_key.pub", "known_hosts"))
    with_files = {"lab_files": f"{THERE}/lab", "build_signing_key": "", "release_ledger_spool": "~/ledger", "force": "another test took it back"}
    trusted = f"-o UserKnownHostsFile={THERE}/lab/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    settings: dict[str, Any] = {
        "lab_irc": True,
        "chat_robot_server": "127.0.0.1",
        "chat_robot_port": 6667,
        "chat_robot_tls": False,
        "chat_robot_channel": "#ops",
        "chat_robot_password": "battery-staple",
        "chat_robot_vouched_by": "user",
        "chat_robot_people": {"ada": ["deploy", "rollback", "flag"]},
        "chat_robot_app": "storefront",
        "chat_robot_environment": "lab",
        "chat_robot_checkout": THERE,
        "chat_robot_look_seconds": 30,
        "chat_robot_inventory": f"{THERE}/inventories/lab",
        "chat_robot_variables": {**with_files, "ansible_ssh_common_args": trusted},
    }
    fleet.must("playbooks/chat.yml", "-e", json.dumps(settings))
    key = fleet.on("ops1", "cat /var/lib/tossable-robot/.ssh/id_ed25519.pub")
    machines = [*fleet.hosts(), *fleet.group("lb"), *fleet.group("ops")]
    for machine in machines:
        fleet.on(machine, f"echo '{key}' >> /home/ops/.ssh/authorized_keys")
    yield
    for machine in machines:
        fleet.on(machine, "sed -i '/tossable-robot@/d' /home/ops/.ssh/authorized_keys")
    print(fleet.on("ops1", "journalctl -u tossable-robot -n 60 --no-pager; systemctl disable --now tossable-robot 2>&1"))
    fleet.on("ops1", f"rm -rf {THERE}")


def beside_the_robot(somebody: Client) -> None:
    """Join, and wait until the robot is in the channel, too."""
    somebody.wait(" 001 ")
    somebody.send("JOIN #ops")
    somebody.wait(r" 353 .*[ :@]robot( |$)|:robot!\S+ JOIN", 60)


def ordered(ada: Client, order: str, ended: str) -> str:
    """Say what is wanted, confirm it, and wait for how it ended."""
    ada.say("#ops", f"!{order}")
    code = re.findall(r": yes (\S+) - ", ada.wait("PRIVMSG #ops :.*If that is meant"))[0]
    ada.say("#ops", f"!yes {code}")
    ada.wait(r"PRIVMSG #ops :.* begins, by robot@ops1 on behalf of ada")
    return ada.wait(f":robot!\\S+ PRIVMSG #ops :{ended}", 240)


@long
def test_who_may_deploys_goes_back_and_switches_a_flag_from_the_channel_and_a_stranger_does_not(fleet: Fleet, robot: None) -> None:
    before = len(fleet.ledger())
    with Client(OPS, "ada") as stranger, Client(OPS, "someone", "ada", "correct-horse") as ada:
        beside_the_robot(stranger)
        beside_the_robot(ada)
        stranger.say("#ops", "!deploy 1.1.0")
        stranger.wait(r"Refused: ada \(for whom the server does not vouch\) may not deploy: .* That is in the ledger\.")
        ada.say("#ops", "!panic")
        ada.wait(r"Refused: someone \(account ada\) may not panic: .* That is in the ledger\.")
        assert set(fleet.releases().values()) == {"1.0.0"}
        told = [
            ordered(ada, "deploy 1.1.0 because faster checkout", "deploy storefront 1.1.0 in lab deployed after"),
            ordered(ada, "rollback because too slow", "rollback storefront 1.0.0 in lab rolled back after"),
            ordered(ada, "flag checkout on because it is quick", "flag checkout on ended well: checkout: on"),
        ]
    fleet.settled("1.0.0")
    fleet.must("playbooks/flag.yml", "-e", "flag=checkout", "-e", "state=reset")
    records = fleet.ledger()[before:]
    assert [(record["event"], record["kind"], record["by"], record["on_behalf_of"], record["reason"]) for record in records[:-1]] == [
        ("noted", "refused", "robot@ops1", "ada (not vouched for)", "deploy 1.1.0: not on the robot's list"),
        ("noted", "refused", "robot@ops1", "ada", "panic: not on the robot's list"),
        ("started", "deploy", "robot@ops1", "ada", "faster checkout"),
        ("ended", "deploy", "robot@ops1", "ada", "faster checkout"),
        ("started", "rollback", "robot@ops1", "ada", "too slow"),
        ("ended", "rollback", "robot@ops1", "ada", "too slow"),
        ("noted", "flag", "robot@ops1", "ada", "it is quick"),
    ]
    deployed, gone_back = records[3], records[5]
    assert (deployed["outcome"], deployed["version"], gone_back["outcome"], gone_back["version"]) == ("deployed", "1.1.0", "rolled_back", "1.0.0")
    assert all(run["run"] in line and "on behalf of ada" in line for run, line in zip((deployed, gone_back), told, strict=False))
    assert deployed["run"] in fleet.journal("storefront")["app1"]


@long
def test_the_channel_is_told_unasked_what_is_wrong_with_the_fleet_and_when_it_is_over(fleet: Fleet, robot: None) -> None:
    first, second, *_others = fleet.hosts()
    fleet.must("playbooks/flag.yml")
    damaged = rf"{first}: its file is damaged and names no generation: site\.yml or any switch repairs it"
    with Client(OPS, "watcher") as watcher:
        beside_the_robot(watcher)
        fleet.on(first, "cd /var/lib/tossable/flags && head -c 200 flags.json >broken && mv broken flags.json")
        watcher.wait(rf":robot!\S+ PRIVMSG #ops :alert: {damaged}", 150)
        watcher.say("#ops", "!alerts")
        watcher.wait(rf":robot!\S+ PRIVMSG #ops :{damaged}")
        assert re.search(damaged, fleet.must("playbooks/alerts.yml").message())
        fleet.must("playbooks/flag.yml")
        watcher.wait(rf":robot!\S+ PRIVMSG #ops :over: flags of {first}", 150)
        assert fleet.run(*podman("pause", f"{LAB}-{second}")).code == 0
        try:
            watcher.wait(rf":robot!\S+ PRIVMSG #ops :alert: {second}: out of reach: ", 240)
        finally:
            assert fleet.run(*podman("unpause", f"{LAB}-{second}")).code == 0
        watcher.wait(rf":robot!\S+ PRIVMSG #ops :over: {second}$", 150)
    assert "Nothing is wrong." in fleet.must("playbooks/alerts.yml").message()
    fleet.settled("1.0.0")


@long
def test_the_channel_is_told_unasked_that_a_run_was_killed_once_its_lock_has_run_out(fleet: Fleet, robot: None) -> None:
    options = ("-e", "version=1.1.0", "-e", "force='for this test'", "-e", "by=ada", "-e", "reason='faster checkout'")
    before = len(fleet.ledger())
    with Client(OPS, "watcher") as watcher:
        beside_the_robot(watcher)
        process = fleet.begin("deploy.yml", *options, "-e", f"rollout_lock_seconds={LEASE}")
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if line.startswith("PLAY [Roll"):
                    break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (killed,) = {record["run"] for record in fleet.ledger()[before:]}
        told = watcher.wait(r":robot!\S+ PRIVMSG #ops :alert: deploy storefront 1\.1\.0 in lab interrupted, by ada", LEASE + 120)
        assert f"run {killed}" in told
        watcher.say("#ops", f"!why {killed}")
        watcher.wait(r":robot!\S+ PRIVMSG #ops :reason given: faster checkout")
    fleet.must("deploy.yml", *options)
    fleet.settled("1.1.0")
