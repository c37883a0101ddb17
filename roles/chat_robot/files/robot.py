# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The robot: a connection to the chat, a thread for each question, and one playbook at a time. What is said and allowed stands in robot_words.py."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import irc.bot
import irc.client
import irc.connection
import robot_alerts as alerts
import robot_flags as flags
import robot_words as words

ORDERS = {"deploy": "deploy.yml", "rollback": "playbooks/rollback.yml", "flag": "playbooks/flag.yml", "panic": "playbooks/panic.yml"}
OF_FLAGS = ("flag", "panic")
REFUSALS_AN_HOUR = 60
#: Lines that are answered at the same time; who floods the channel is not heard beyond that.
AT_A_TIME = 8
SOCKET_SECONDS = 5.0
LINES_AN_ANSWER = 6
#: Seconds between two looks at what is to be told without being asked, as far as it lies on this host.
LOOK_SECONDS = 30
#: What looks at the fleet, how long it may take, and after how many seconds it looks again where it found something new.
LOOK = "playbooks/alerts.yml"
LOOK_LIMIT = 240
AGAIN_SECONDS = 10


def ask_root(path: str, question: dict[str, Any]) -> dict[str, Any]:
    """What the small program that runs as root answers."""
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(SOCKET_SECONDS)
            one.connect(path)
            one.sendall(json.dumps(question).encode() + b"\n")
            found: dict[str, Any] = json.loads(one.makefile().readline())
            return found
    except (OSError, ValueError) as error:
        return {"trouble": str(error)}


def run_playbook(settings: dict[str, Any], playbook: str, given: dict[str, str], limit: int = 0, reports: bool = True) -> str:
    """Run a playbook, for ``limit`` seconds at most where that is not 0; returns an empty text where it ended well, else what failed in one line."""
    import ansible_runner  # slow to import, and not needed before somebody gives an order

    extra = {**given, **settings["variables"]}
    if settings["ssh_key"]:
        extra["ansible_ssh_private_key_file"] = settings["ssh_key"]
    failures: list[str] = []

    def note(event: dict[str, Any]) -> bool:
        if event.get("event") in ("runner_on_failed", "runner_on_unreachable") and not event["event_data"].get("ignore_errors"):
            failures.append(str(event["event_data"].get("res", {}).get("msg", "")))
        return False

    with tempfile.TemporaryDirectory(prefix="tossable-robot-") as folder:
        done = ansible_runner.run(
            private_data_dir=folder,
            project_dir=settings["checkout"],
            playbook=playbook,
            inventory=settings["inventory"],
            extravars=extra,
            envvars={"ANSIBLE_CONFIG": str(Path(settings["checkout"], "ansible.cfg")), **({} if reports else {"TOSSABLE_REPORT_KEEP": "0"})},
            event_handler=note,
            quiet=True,
            timeout=limit,
        )
    if done.rc == 0:
        return ""
    ended = f"the playbook took more than {limit} s" if done.status == "timeout" else f"the playbook ended with {done.rc}"
    return next((line for text in reversed(failures) for line in text.strip().splitlines()), ended)


class Robot(irc.bot.SingleServerIRCBot):  # type: ignore[misc]  # irc has no types
    """Listens in one channel, and to those who write to it directly."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.confirmations = words.Confirmations()
        self.refusals = words.Bound(REFUSALS_AN_HOUR)
        self.busy = threading.Lock()
        self.looked_at: tuple[int, ...] | None = None
        self.unended: list[dict[str, Any]] = []
        self.looks = alerts.Looks()
        self.room = threading.BoundedSemaphore(AT_A_TIME)
        self.vouching = settings["vouched_by"] == "user"
        wrapper = irc.connection.identity
        if settings["tls"]:
            wrapper = functools.partial(ssl.create_default_context().wrap_socket, server_hostname=settings["server"])
        super().__init__(
            [(settings["server"], settings["port"], settings["password"] or None)],
            settings["nick"],
            settings["nick"],
            recon=irc.bot.ExponentialBackoff(min_interval=5, max_interval=60),
            username=settings["user"] or settings["nick"],
            connect_factory=irc.connection.Factory(wrapper=wrapper),
        )
        self.connection.buffer_class.errors = "replace"
        # As much as servers bear: more in a row, and they hang up.
        self.connection.set_rate_limit(2)
        self.connection.set_keepalive(60)

    def on_welcome(self, connection: Any, _event: Any) -> None:
        """Ask for accounts where the server tells them, and join."""
        if self.settings["vouched_by"] == "account":
            connection.cap("REQ", "account-tag")
        connection.join(self.settings["channel"])

    def on_cap(self, _connection: Any, event: Any) -> None:
        """Whether the server tells accounts."""
        if "account-tag" in " ".join(event.arguments):
            self.vouching = event.arguments[0] == "ACK"

    def on_nicknameinuse(self, connection: Any, _event: Any) -> None:
        """Somebody, perhaps the robot of before, has the name still."""
        connection.nick(connection.get_nickname() + "_")

    def on_pubmsg(self, _connection: Any, event: Any) -> None:
        """In the channel only what begins with the robot's sign, or name, is meant for it."""
        text = event.arguments[0]
        for sign in ("!", f"{self.connection.get_nickname()}: ", f"{self.connection.get_nickname()}, "):
            if text.startswith(sign):
                self._hear(event, text[len(sign) :], self.settings["channel"])

    def on_privmsg(self, _connection: Any, event: Any) -> None:
        """What is written to it directly is meant for it, and answered there."""
        self._hear(event, event.arguments[0].removeprefix("!"), event.source.nick)

    def _hear(self, event: Any, text: str, where: str) -> None:
        told = text.split()
        if not told or not self.room.acquire(blocking=False):
            return
        tags = {tag["key"]: tag["value"] for tag in event.tags} if self.vouching else {}
        who = words.speaker(self.settings["vouched_by"], str(event.source), tags)
        # Each in a thread of its own: whoever asks something long keeps nobody else waiting.
        threading.Thread(target=self._answer, args=(who, [told[0].lower(), *told[1:]], where), daemon=told[0].lower() != "yes").start()

    def _answer(self, who: words.Speaker, told: list[str], where: str) -> None:
        verb = told[0]
        try:
            if verb in ORDERS:
                self.say(where, self._wished(who, told, where))
            elif verb == "yes":
                self._confirmed(who, told, where)
            else:
                self.say(where, *self._known(verb, told[1:]))
        finally:
            self.room.release()

    def _records(self) -> list[dict[str, Any]]:
        return words.read_ledger(Path(self.settings["ledger"]))

    def _lock(self) -> dict[str, Any]:
        return words.read_lock(Path(self.settings["lock"]))

    def _runs(self) -> list[dict[str, Any]]:
        # The lock first: a run writes its end before it frees it.
        lock = self._lock()
        return self._runs_by(lock, datetime.now(tz=UTC))

    def _runs_by(self, lock: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
        return words.runs(self._records(), self.settings["app"], self.settings["environment"], lock, now)

    def _known(self, verb: str, rest: Sequence[str]) -> list[str]:
        now, found = datetime.now(tz=UTC), self._runs()
        if verb == "status":
            return words.status(found, now)
        if verb == "lock":
            return [words.lock(self._lock(), now)]
        if verb == "flags":
            return flags.answer(*flags.read(Path(self.settings["flags"])), now)
        if verb == "alerts":
            return self.looks.answer()
        answers = {"deploys": words.deploys, "who": words.who_deployed, "why": words.why}
        return answers[verb](found, rest, now) if verb in answers else words.HELP

    def watch(self) -> None:
        """Tell what nobody asks for, for ever; a look that fails is made again."""
        while True:
            time.sleep(LOOK_SECONDS)
            with contextlib.suppress(OSError, ValueError):
                self.tell_alerts()

    def tell_alerts(self) -> None:
        """Tell the channel what it was not told yet, once the robot is in it."""
        if self.settings["channel"] not in self.channels:
            return
        path, now = Path(self.settings["told"]), datetime.now(tz=UTC)
        told = alerts.load(path)
        seen = alerts.found(self._unended(now), *flags.read(Path(self.settings["flags"])), now) | self.looks.alerts(told or ())
        if told is None or set(told) != set(seen):
            # Remembered first: a line that is lost is better than one that comes every half a minute.
            alerts.keep(path, seen)
            self.say(self.settings["channel"], *alerts.untold(seen, told))

    def look(self) -> None:
        """Look at the fleet again and again."""
        again = True
        while True:
            time.sleep(AGAIN_SECONDS if again else self.settings["look_seconds"])
            again = self._look()

    def _look(self) -> bool:
        """Look once; returns whether the next look is wanted soon."""
        path = Path(self.settings["alerts"])
        try:
            failure = run_playbook(self.settings, LOOK, {"app": self.settings["app"], "alerts_file": str(path)}, LOOK_LIMIT, reports=False)
            return self.looks.fail(failure) if failure else self.looks.see(json.loads(path.read_text(encoding="utf-8")))
        except Exception as error:  # whatever it was, a fleet that nobody looks at is to be told of
            return self.looks.fail(f"{type(error).__name__}: {error}")

    def _unended(self, now: datetime) -> list[dict[str, Any]]:
        """The runs without an end; the ledger, which may be long, is read again only where it has grown."""
        # The lock first, as above: whoever freed it has written before.
        lock = self._lock()
        try:
            found = Path(self.settings["ledger"]).stat()
            stat = (found.st_ino, found.st_size, found.st_mtime_ns)
        except OSError:
            stat = None
        if stat != self.looked_at or stat is None:
            self.looked_at, self.unended = stat, self._runs_by(lock, now)
        self.unended = alerts.unended(self.unended, lock, now)
        return self.unended

    def _wished(self, who: words.Speaker, told: list[str], where: str) -> str:
        if not words.may(self.settings["people"], who, told[0]):
            return words.refusal(who, told[0], self._record_refusal(who, told))
        understood = flags.order if told[0] in OF_FLAGS else words.order
        wish = understood(told, who.nick, where if where.startswith("#") else "a private message")
        return wish if isinstance(wish, str) else self.confirmations.ask(str(who.account), wish, secrets.token_hex(2), time.monotonic())

    def _record_refusal(self, who: words.Speaker, told: list[str]) -> bool:
        if not self.refusals.passes(time.monotonic()):
            return False
        name = who.account or f"{who.nick} (not vouched for)"
        asked = {"do": "refused", "who": words.clean(name), "what": words.clean(f"{' '.join(told)}: not on the robot's list")}
        return bool(ask_root(self.settings["socket"], asked).get("done"))

    def _confirmed(self, who: words.Speaker, told: list[str], where: str) -> None:
        wish = self.confirmations.confirm(who.account, told[1] if len(told) > 1 else "", time.monotonic())
        if wish is None:
            self.say(where, "There is nothing of yours to confirm with that: say again what you want, and confirm it within the minute.")
            return
        if not self.busy.acquire(blocking=False):
            self.say(where, "I am still at work on something else. Ask again when I have said how it ended.")
            return
        channel = self.settings["channel"]
        try:
            self.say(channel, f"{wish} begins, by {self.settings['by']} on behalf of {who.account}")
            noted, before = len(self._records()), {run["run"] for run in self._runs()}
            failure = run_playbook(
                self.settings,
                self.settings["playbooks"].get(wish.verb, ORDERS[wish.verb]),
                words.variables(wish, self.settings["app"], self.settings["by"], who),
            )
            made = [run for run in self._runs() if run["run"] not in before and run.get("by") == self.settings["by"]]
            told_of = flags.made(self._records(), noted, self.settings["by"])
            self.say(channel, words.ended(wish, failure, made, datetime.now(tz=UTC), told_of))
        except Exception as error:  # whatever it was, somebody waits for an answer
            self.say(channel, f"{wish} could not be run: {type(error).__name__}: {error}")
        finally:
            self.busy.release()

    def say(self, where: str, *lines: str) -> None:
        """Write lines, each bounded; while there is no connection they are lost, and the ledger has what counts."""
        for line in lines[:LINES_AN_ANSWER]:
            try:
                self.connection.privmsg(where, words.clean(line))
            except irc.client.ServerNotConnectedError:
                return


def main(path: str) -> None:
    """Run until systemd says so; a playbook that is under way is waited for by the end of the process."""
    robot = Robot(json.loads(Path(path).read_text(encoding="utf-8")))
    threading.Thread(target=robot.watch, daemon=True).start()
    if robot.settings["look_seconds"]:
        threading.Thread(target=robot.look, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    robot.start()


if __name__ == "__main__":
    main(sys.argv[1])
