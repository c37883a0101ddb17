"""The page that `make demo` leaves behind, in a real browser (make demo-page): its two deployments, and what the ledger says of all."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from checkout import LOGS, ROOT, environment
from page_of_a_fleet import look, see_front, see_runs
from phases import inventory
from playwright.sync_api import sync_playwright

INVENTORY = "inventories/lab"


def ledger() -> list[dict[str, Any]]:
    """The records of the lab's ledger, as they lie on the ops host."""
    asked = ["ansible", "ops", "-i", INVENTORY, "-m", "ansible.builtin.raw", "-a", "cat /var/lib/tossable/ledger/ledger.jsonl"]
    done = subprocess.run(asked, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.skipif(not os.environ.get("AFTER_DEMO"), reason="it looks at what a demonstration has just left: make demo-page")
def test_the_page_after_a_demonstration() -> None:
    records = ledger()
    figures = json.loads((ROOT / "build" / "demo.json").read_text(encoding="utf-8"))
    known = inventory(INVENTORY)
    address = f"http://{known['_meta']['hostvars'][known['ops']['hosts'][0]]['ansible_host']}:8088/"
    ended = [record for record in records if record["event"] == "ended" and record["kind"] == "deploy"]
    # One that has nothing to switch is on record as well: the last two are the demonstration's.
    assert [(record["version"], record["outcome"]) for record in ended[-2:]] == [(one["version"], "deployed") for one in figures["deployments"]]
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = look(browser, address, LOGS / "screenshots" / "demo-front.png")
        see_front(page, records)
        see_runs(page, records, [record["run"] for record in ended[-2:]])
        for record in ended[-2:]:
            told = look(browser, f"{address}runs/{record['run']}.html", LOGS / "screenshots" / f"demo-{record['version']}.png").inner_text("main")
            for word in (record["run"], "deployed", record["by"], record["reason"] or "none given", *record["hosts"]):
                assert word in told, (word, told)
        browser.close()
