"""The robot answers in the chat, refuses strangers and writes that down, and runs what it may for those it knows."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from irc_client import Client
from outside import within

LEDGER = "/var/lib/tossable/ledger/ledger.jsonl"
RUN = {"schema": 1, "run": "20261125T100000Z-abcdef", "kind": "deploy", "environment": "lab", "application": "storefront", "by": "lin", "reason": "x"}
TIMES = {"started": "2026-11-25T10:00:00.000Z", "ended": "2026-11-25T10:00:41.000Z"}


@pytest.fixture
def channel(host: Any) -> Iterator[Client]:
    """Somebody without an account, in the channel with the robot."""
    with stranger(host) as somebody:
        yield somebody


def stranger(host: Any) -> Client:
    return there(Client(host.backend.hostname, "ada"))


def ada(host: Any) -> Client:
    return there(Client(host.backend.hostname, "someone", "ada", "correct-horse"))


def there(somebody: Client) -> Client:
    """In the channel, and the robot too."""
    somebody.join("#ops")

    def seen() -> bool:
        somebody.seen = len(somebody.lines)
        somebody.send("NAMES #ops")
        return "robot" in somebody.wait(r" 353 ")

    within(60, seen, "the robot is in the channel")
    return somebody


def ledger(host: Any) -> list[dict[str, Any]]:
    found = host.file(LEDGER)
    return [json.loads(line) for line in found.content_string.splitlines()] if found.exists else []


def test_it_answers_without_a_ledger_and_with_one(host: Any, channel: Client) -> None:
    host.run_expect([0], f"rm -f {LEDGER}")
    channel.say("#ops", "!status")
    channel.wait(r":robot!robot@\S+ PRIVMSG #ops :No deployment is in the ledger yet")
    channel.say("#ops", "robot: lock")
    channel.wait(r":robot!robot@\S+ PRIVMSG #ops :The lock is free")
    records = [{**RUN, "event": event, "at": at, "version": "1.1.0", "outcome": "deployed", "seconds": 41} for event, at in TIMES.items()]
    host.run_expect([0], "printf '%s\\n' '" + "' '".join(map(json.dumps, records)) + f"' '{{torn' > {LEDGER}")
    channel.say("robot", "who 1.1.0")
    channel.wait(r"PRIVMSG ada :deploy storefront 1.1.0 in lab deployed after 41 s, by lin \(.*run 20261125T100000Z-abcdef\)")


def test_it_tells_who_has_the_lock_and_that_a_run_without_it_was_interrupted(host: Any, channel: Client) -> None:
    def lock(**asked: Any) -> None:
        given = json.dumps({"environment": "lab", **asked})
        host.run_expect([0], f"python3 -I /usr/local/lib/tossable/current lock storefront '{given}'")

    host.run_expect([0], f"echo '{json.dumps({**RUN, 'event': 'started', 'at': TIMES['started'], 'version': '1.1.0'})}' > {LEDGER}")
    owner = dict.fromkeys(("reason", "account", "controller", "boot", "namespace"), "") | {"pid": 1, "started": 1}
    lock(operation="acquire", owner={**owner, "run": RUN["run"], "by": "lin", "what": "deploy 1.1.0"}, seconds=900)
    try:
        channel.say("robot", "lock")
        channel.wait(r"PRIVMSG ada :lin has the lock since .* for deploy 1\.1\.0 \(run 20261125T100000Z-abcdef\)")
        channel.say("robot", "status")
        channel.wait(r"PRIVMSG ada :deploy storefront 1\.1\.0 in lab under way, by lin")
    finally:
        lock(operation="break", by="ada", reason="it is dead")
    channel.say("robot", "status")
    channel.wait(r"PRIVMSG ada :deploy storefront 1\.1\.0 in lab interrupted, by lin")


def test_a_stranger_with_the_right_nick_is_refused_and_that_is_recorded(host: Any, channel: Client) -> None:
    host.run_expect([0], f"rm -f {LEDGER}")
    channel.say("#ops", "!deploy 1.2.0")
    channel.wait(r"PRIVMSG #ops :Refused: ada \(for whom the server does not vouch\) may not deploy.*That is in the ledger")
    (record,) = ledger(host)
    assert (record["event"], record["kind"], record["on_behalf_of"]) == ("noted", "refused", "ada (not vouched for)")
    assert "deploy 1.2.0" in record["reason"]
    found = host.file(LEDGER)
    assert (found.user, found.mode) == ("root", 0o644)


def test_an_account_that_may_not_is_refused(host: Any) -> None:
    with there(Client(host.backend.hostname, "lin", "lin", "battery-staple")) as lin:
        lin.say("#ops", "!rollback")
        lin.wait(r"Refused: lin \(account lin\) may not rollback")


def asked(someone: Client, order: str) -> str:
    """The code that confirms an order, once the robot has asked whether it is meant."""
    said = re.search(rf"PRIVMSG #ops :If that is meant, say within 60 s: yes (\w+) - {order}", someone.wait(f"If that is meant, .*{order}"))
    assert said
    return said[1]


def test_one_who_may_confirms_and_then_the_playbook_runs(host: Any, channel: Client) -> None:
    host.run_expect([0], "rm -f /var/lib/tossable-robot/given.json")
    with ada(host) as someone:
        someone.say("#ops", "!deploy 1.2.0 because {{ 7 * 7 }} is enough")
        code = asked(someone, r"deploy 1\.2\.0, because: ")
        channel.say("#ops", f"!yes {code}")
        channel.wait("There is nothing of yours to confirm")
        assert not host.file("/var/lib/tossable-robot/given.json").exists
        someone.say("#ops", f"!yes {code}")
        someone.wait(r"PRIVMSG #ops :deploy 1\.2\.0 begins, by robot@\S+ on behalf of ada")
        # What takes long keeps nobody waiting.
        channel.say("robot", "lock")
        channel.wait(r"PRIVMSG ada :The lock is free")
        someone.wait(r"PRIVMSG #ops :deploy 1\.2\.0 ended well", 60)
    given = json.loads(host.file("/var/lib/tossable-robot/given.json").content_string)
    assert (given["version"], given["on_behalf_of"], given["app"]) == ("1.2.0", "ada", "storefront")
    assert given["reason"] == "(( 7 * 7 )) is enough"
    assert re.fullmatch(r"robot@chat-robot-\w+", given["by"])


def test_it_tells_flags_and_switches_one_for_those_who_may(host: Any, channel: Client) -> None:
    folder = "/var/lib/tossable/flags"
    overrides = {"checkout": {"state": {"to": "off"}, "by": "lin", "at": "2026-11-25T10:00:00Z", "reason": "slow"}}
    state = {"schema": 1, "environment": "lab", "generation": 7, "overrides": overrides}
    published = {"flags": {"checkout": {"defaultVariant": "off"}, "search": {"defaultVariant": "on"}}}
    for name, content in (("state", state), ("flags", published)):
        host.run_expect([0], f"mkdir -p {folder} && echo '{json.dumps(content)}' > {folder}/{name}.json")
    channel.say("robot", "flags")
    channel.wait(r"PRIVMSG ada :2 flags in lab, generation 7: 1 not as declared")
    channel.wait(r"PRIVMSG ada :checkout: off, .* by lin, because: slow")
    channel.say("#ops", "!flag checkout on")
    channel.wait(r"Refused: ada \(for whom the server does not vouch\) may not flag")
    with ada(host) as someone:
        someone.say("#ops", "!flag checkout on because it is quick again")
        code = asked(someone, "flag checkout on, because: it is quick again")
        someone.say("#ops", f"!yes {code}")
        someone.wait(r"PRIVMSG #ops :flag checkout on ended well", 60)
        someone.say("#ops", "!panic")
        someone.wait(r"Refused: someone \(account ada\) may not panic")
    given = json.loads(host.file("/var/lib/tossable-robot/switched.json").content_string)
    assert (given["flag"], given["state"], given["on_behalf_of"], given["reason"]) == ("checkout", "on", "ada", "it is quick again")


def test_a_run_that_fails_says_why(host: Any) -> None:
    with ada(host) as someone:
        someone.say("#ops", "!deploy 6.6.6")
        code = asked(someone, r"deploy 6\.6\.6")
        someone.say("#ops", f"!yes {code}")
        someone.wait(r"PRIVMSG #ops :deploy 6\.6\.6 failed: 6\.6\.6 did not become healthy", 60)


def test_it_can_neither_write_to_the_ledger_nor_become_root(host: Any) -> None:
    (process,) = host.process.filter(user="tossable-robot", comm="python")
    status = host.file(f"/proc/{process.pid}/status").content_string
    assert re.search(r"NoNewPrivs:\s*1", status)
    assert re.search(r"CapBnd:\s*0+\n", status)
    assert host.run("setpriv --reuid=tossable-robot --clear-groups sh -c 'echo x >> /var/lib/tossable/ledger/x'").rc != 0
    assert host.file("/etc/tossable-robot/robot.json").mode == 0o640


def test_where_the_server_tells_accounts_it_reads_those(host: Any) -> None:
    """A server of the test's own, which knows just enough to let the robot in and to say who wrote a line."""
    settings = json.loads(host.file("/etc/tossable-robot/robot.json").content_string)
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(20)
        with socket.create_connection((host.backend.hostname, 22)) as towards:
            address = towards.getsockname()[0]
        told = json.dumps({**settings, "server": address, "port": server.getsockname()[1], "password": "", "vouched_by": "account", "socket": "/x"})
        (process,) = host.process.filter(user="tossable-robot", comm="python")
        python = host.run_expect([0], f"tr '\\0' '\\n' < /proc/{process.pid}/cmdline").stdout.splitlines()[0]
        host.run_expect([0], f"echo '{told}' > /run/account.json")
        command = f"{python} -B /usr/local/lib/tossable/chat_robot/robot.py /run/account.json"
        host.run_expect([0], f"systemd-run --quiet --collect --unit=accounts --uid=tossable-robot {command}")
        accepted, _ = server.accept()
        with accepted, accepted.makefile("rw", newline="\r\n") as robot:
            accepted.settimeout(20)

            def until(pattern: str) -> str:
                return next(line for line in robot if re.search(pattern, line))

            def say(*lines: str) -> None:
                robot.write("".join(f"{line}\r\n" for line in lines))
                robot.flush()

            until("^USER ")
            say(":server 001 robot :Welcome")
            until("^CAP REQ :?account-tag")
            say(":server CAP * ACK :account-tag")
            until("^JOIN :?#ops")
            say(":robot!robot@here JOIN #ops", ":ada!ada@there PRIVMSG #ops :!deploy 1.2.0")
            assert "for whom the server does not vouch" in until("PRIVMSG #ops :Refused")
            say("@account=lin :ada!ada@there PRIVMSG #ops :!deploy 1.2.0")
            assert "account lin" in until("PRIVMSG #ops :Refused")
            say("@time=2026;account=ada :someone!~x@there PRIVMSG #ops :!deploy 1.2.0")
            until("PRIVMSG #ops :If that is meant, .*deploy 1.2.0")
        host.run_expect([0], "systemctl stop accounts")
