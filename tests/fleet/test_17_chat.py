"""People in a real chat see what a run does, in order, with its id, its end and its reason; a chat that hangs is not noticed by a run."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from pathlib import Path

from conftest import NETWORK, Fleet, long
from irc_client import Client

OPS = str(ipaddress.ip_network(NETWORK)[11])
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
