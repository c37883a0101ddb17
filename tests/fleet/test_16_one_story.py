"""A deployment, one that is rolled back and one that was killed: terminal, ledger, page, channel and report name the same run, outcome and reason."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LOGS, NETWORK, ROOT, Fleet, environment, long
from irc_client import Client
from page_of_a_fleet import look, see_front, see_runs
from playwright.sync_api import Browser, sync_playwright

OPS = str(ipaddress.ip_network(NETWORK)[11])
PAGE = f"http://{OPS}:8088"
#: Seconds of the lease of a run that is killed.
LEASE = 45


class Story:
    """What everybody was told of one run."""

    def __init__(self, terminal: str, report: dict[str, Any], records: list[dict[str, Any]]) -> None:
        self.terminal = terminal
        self.report = report
        self.started = records[0]
        self.ended = records[1] if len(records) > 1 else None
        self.run: str = self.started["run"]


class Newsroom:
    """Runs playbooks as an operator sees them, and listens to all who tell of them."""

    def __init__(self, fleet: Fleet, folder: Path, channel: Client, browser: Browser) -> None:
        self.fleet, self.folder, self.channel, self.browser = fleet, folder, channel, browser

    def begin(self, playbook: str, *options: str) -> subprocess.Popen[str]:
        """Start a playbook with what an operator without a terminal sees, its report in a folder of this test."""
        told = {"announce": [{"to": f"irc://teller@{OPS}:6667/#ops"}], "release_announce_folder": str(self.folder / "spool")}
        env = environment() | {"ANSIBLE_STDOUT_CALLBACK": "tossable.fleet.rollout", "TOSSABLE_REPORT_FOLDER": str(self.folder / "reports")}
        command = ["ansible-playbook", "-i", str(self.fleet.inventory), playbook, "-e", json.dumps(told), *options]
        return subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def finish(self, process: subprocess.Popen[str], before: int, seen: str = "") -> Story:
        """Wait for its end, and gather what it has told."""
        rest, _none = process.communicate()
        (newest,) = (path for path in (self.folder / "reports").glob("*.json") if path.stat().st_mtime_ns > 0)
        report = json.loads(newest.read_text())
        newest.rename(newest.with_suffix(".read"))
        return Story(seen + rest, report, self.fleet.ledger()[before:])

    def follow(self, playbook: str, *options: str) -> Story:
        """Run a playbook to its end."""
        before = len(self.fleet.ledger())
        return self.finish(self.begin(playbook, *options), before)

    def heard(self, pattern: str) -> str:
        """A line of the channel."""
        return self.channel.wait(rf"PRIVMSG #ops :.*{pattern}", 60).partition(" PRIVMSG #ops :")[2]

    def shown(self, run: str, word: str) -> None:
        """Wait until the run's own page says so by itself: nothing is written into the ledger meanwhile, the timer draws."""
        until = time.monotonic() + LEASE + 90
        while word not in (told := self.fleet.on("ops1", f"curl -s {PAGE}/runs/{run}.html")):
            assert "under way" in told, told
            assert time.monotonic() < until, f"{run} is not shown as {word}:\n{told}"
            time.sleep(1)

    def page(self, run: str) -> str:
        """What the run's own page says, drawn anew, in a real browser; it has to be readable for everybody."""
        self.fleet.on("ops1", "systemctl start tossable-status-page.service")
        page = look(self.browser, f"{PAGE}/runs/{run}.html", LOGS / "screenshots" / f"run-{run}.png")
        text = page.inner_text("main")
        page.close()
        return text

    def front_page(self, *runs: str) -> None:
        """The front page holds what the ledger holds, and these runs."""
        records = self.fleet.ledger()
        self.fleet.on("ops1", "systemctl start tossable-status-page.service")
        page = look(self.browser, f"{PAGE}/", LOGS / "screenshots" / "front.png")
        see_front(page, records)
        see_runs(page, records, list(runs))
        page.close()


@pytest.fixture
def newsroom(fleet: Fleet, tmp_path: Path) -> Iterator[Newsroom]:
    """The lab's chat, somebody in its channel, and a browser."""
    fleet.must("playbooks/chat.yml", "-e", "lab_irc=true")
    with Client(OPS, "watcher") as watcher, sync_playwright() as player:
        watcher.join("#ops")
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield Newsroom(fleet, tmp_path, watcher, browser)
        browser.close()


@long
def test_everybody_is_told_the_same(newsroom: Newsroom) -> None:
    good = newsroom.follow("deploy.yml", "-e", "version=1.1.0", "-e", "force='for this test'", "-e", "by=ada", "-e", "reason='faster checkout'")
    assert good.ended
    assert (good.ended["outcome"], good.report["outcome"], good.report["run"]) == ("deployed", "deployed", good.run)
    assert good.run in good.terminal
    line = newsroom.heard("deploy storefront 1.1.0 in lab deployed after")
    assert good.run in line
    page = newsroom.page(good.run)
    assert all(word in page for word in (good.run, "deployed", "ada", "faster checkout")), page

    bad = newsroom.follow("deploy.yml", "-e", "version=6.6.6", "-e", "force='for this test'", "-e", "by=bo", "-e", "reason='new cart'")
    assert bad.ended
    cause = bad.ended["cause"]
    assert "did not become healthy" in cause
    assert (bad.ended["outcome"], bad.report["outcome"], bad.report["run"], bad.report["cause"]) == ("rolled_back", "rolled_back", bad.run, cause)
    assert bad.run in bad.terminal
    assert cause in " ".join(bad.terminal.split())
    line = newsroom.heard("deploy storefront 6.6.6 in lab rolled back after")
    assert bad.run in line
    # A line of IRC holds so much; what it leaves out it says with dots.
    told = line.partition(": failed on ")[2].rpartition(" (run ")[0]
    assert told == cause or (told.endswith("...") and len(told) > 200 and cause.startswith(told[:-3])), (told, cause)
    page = newsroom.page(bad.run)
    assert all(word in page for word in (bad.run, "rolled back", "bo", "new cart", cause)), page

    back = newsroom.follow("playbooks/rollback.yml", "-e", "by=cy", "-e", "reason='too slow'")
    assert back.ended
    assert (back.ended["outcome"], back.report["outcome"], back.report["run"]) == ("rolled_back", "rolled_back", back.run)
    assert back.run in back.terminal
    assert back.run in newsroom.heard("rollback storefront 1.0.0 in lab rolled back after")
    page = newsroom.page(back.run)
    assert all(word in page for word in (back.run, "rolled back", "cy", "too slow")), page
    newsroom.front_page(good.run, bad.run, back.run)


@long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped by hand"])
def test_a_run_that_was_cut_short_is_told_as_interrupted_by_everybody(newsroom: Newsroom, how: signal.Signals) -> None:
    before = len(newsroom.fleet.ledger())
    options = ("-e", "version=1.1.0", "-e", "force='for this test'", "-e", "by=ada")
    process = newsroom.begin("deploy.yml", *options, "-e", "reason='faster checkout'", "-e", f"rollout_lock_seconds={LEASE}")
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("Roll - "):
            break
    # Not before the first host is about to switch: Python swallows an interrupt that comes while a process forks.
    newsroom.fleet.on("app1", "timeout 60 sh -c 'while grep -qx ready /run/tossable/storefront/state; do sleep 0.05; done'")
    os.killpg(process.pid, how)
    cut = newsroom.finish(process, before, "".join(seen))
    assert cut.ended is None
    assert (cut.report["outcome"], cut.report["run"]) == ("interrupted", cut.run)
    assert cut.run in cut.terminal
    begun = newsroom.heard("deploy storefront 1.1.0 in lab started: ")
    assert cut.run in begun
    assert "because: faster checkout" in begun
    # Nobody has gone on with it, nor will anybody write its end: it is over once its lease is.
    newsroom.shown(cut.run, "interrupted")
    assert "outcome interrupted" in newsroom.fleet.must("playbooks/ledger.yml", "-e", f"run={cut.run}").message()
    assert "No end was recorded" in newsroom.page(cut.run)

    after = newsroom.follow("deploy.yml", *options)
    assert after.ended
    assert (after.started["continues"], after.ended["outcome"]) == (cut.run, "deployed")
    assert f"goes on with run {cut.run}, which was interrupted" in newsroom.heard("which was interrupted")
    page = newsroom.page(cut.run)
    assert all(word in page for word in (cut.run, "interrupted", f"Run {after.run} went on with its work", "faster checkout")), page
    assert "outcome interrupted" in newsroom.fleet.must("playbooks/ledger.yml", "-e", f"run={cut.run}").message()
    newsroom.fleet.settled("1.1.0")
