"""The status page of a fleet that has deployed, opened as people do and held against the fleet's own ledger, which is counted here anew."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

Record = dict[str, Any]
WEEK, MONTH = 7 * 86400.0, 28 * 86400.0
PAINTED = """charts => charts.map(chart => {
    const canvas = chart.querySelector('canvas');
    return !!canvas && canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte !== 0);
})"""


def look(browser: Browser, address: str, screenshot: Path) -> Page:
    """Open a page and keep its picture; its console has to be silent, and nothing in it may keep anybody from reading it."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, wait_until="load")
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=screenshot, full_page=True)
    said_by_page = list(errors)
    grave = [found["id"] for found in Axe().run(page).response["violations"] if found["impact"] in ("serious", "critical")]
    assert (said_by_page, grave) == ([], []), address
    return page


def painted(page: Page) -> list[bool]:
    """For each chart whether its canvas holds anything but nothing."""
    found: list[bool] = page.eval_on_selector_all("[data-chart]", PAINTED)
    return found


def see_front(page: Page, records: list[Record]) -> None:
    """The front page says what the ledger says: what was deployed last and by whom, what is live, how often, and the charts are drawn.

    The newest deployment or rollback has to have ended.
    """
    started = {record["run"]: record for record in records if record["event"] == "started"}
    ended = [record for record in records if record["event"] == "ended"]
    changes = [record for record in ended if record["kind"] in ("deploy", "rollback")]
    last = max(changes, key=lambda one: str(started[one["run"]]["at"]))
    told = page.inner_text("section:has(#last)")
    for word in (last["to"], _who(last), last["outcome"].replace("_", " "), last["environment"], last["reason"] or "no reason given"):
        assert word in told, (word, told)

    well = [record for record in ended if record["kind"] == "deploy" and record["outcome"] == "deployed"]
    week = [record for record in well if time.time() - _at(record) < WEEK]
    assert page.inner_text("#count") == str(len(week))
    people = Counter(map(_who, week))
    listed = page.locator(".people li").all_inner_texts()
    assert len(listed) == len(people)
    for name, times in people.items():
        assert any(re.search(rf"\s{re.escape(name)}\s+{times}$", line) for line in listed), (name, times, listed)

    live: dict[tuple[str, str], str | None] = {}
    for record in sorted(ended, key=_at):
        for host, about in record["hosts"].items():
            if about["outcome"] != "left_out":
                live[record["application"], host] = about["to"]
    cells = [row.split("\t")[:2] for row in page.locator("section:has(#live) tbody tr").all_inner_texts()]
    for (_application, host), release in live.items():
        assert release is None or [host, release] in cells, (host, release, cells)

    assert painted(page) == [True] * 5
    _see_days(page, changes, started)
    _see_figures(page, [record for record in ended if record["kind"] == "deploy" and time.time() - _at(record) < MONTH])


def _see_days(page: Page, changes: list[Record], started: dict[str, Record]) -> None:
    """The table below the chart of the days has as many deployments, well and not well, as the ledger has of its days."""
    page.click("section:has(#days) summary")
    rows = [row.split("\t") for row in page.locator("section:has(#days) details tbody tr").all_inner_texts()]
    shown = {row[0]: (int(row[1]), int(row[2])) for row in rows}
    for day in {started[one["run"]]["at"][:10] for one in changes} & set(shown):
        of_day = [one["outcome"] for one in changes if one["kind"] == "deploy" and started[one["run"]]["at"][:10] == day]
        assert shown[day] == (of_day.count("deployed"), len(of_day) - of_day.count("deployed")), day


def _see_figures(page: Page, deploys: list[Record]) -> None:
    """How often, and how much of it did not stay: of the last four weeks, in which all of a throwaway fleet's deployments are."""
    well = sum(record["outcome"] == "deployed" for record in deploys)
    a_day = well / 28
    assert page.inner_text("#frequency") == f"{a_day:.2f} a day" if a_day < 1 else f"{a_day:.1f} a day"
    section = page.inner_text("section:has(#dora)")
    assert f"{len(deploys)} deployments ended" in section, section
    assert f"of {len(deploys)}." in section, section


def see_runs(page: Page, records: list[Record], runs: list[str]) -> None:
    """Each of these runs is in the list of the front page, with who began it, what it went to, and why."""
    rows = page.locator("section:has(#all) tbody tr")
    hrefs: list[str] = page.locator("section:has(#all) tbody a").evaluate_all("links => links.map(link => link.href)")
    texts = dict(zip(hrefs, rows.all_inner_texts(), strict=True))
    for run in runs:
        (begun,) = [record for record in records if (record["run"], record["event"]) == (run, "started")]
        (row,) = [text for href, text in texts.items() if href.endswith(f"/{run}.html")]
        for word in (begun["to"], _who(begun), begun["reason"], begun["application"]):
            assert word in row, (word, row)


def _who(record: Record) -> str:
    return str(record["on_behalf_of"] or record["by"])


def _at(record: Record) -> float:
    return datetime.fromisoformat(record["at"]).timestamp()
