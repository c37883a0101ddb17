"""The status page in a real browser: what it says, that its charts are drawn, that it can be read by everybody, and what it weighs."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from checkout import LOGS, ROOT
from ledger_made import HOSTILE, ledger, live_flags, release
from playwright.sync_api import Browser, Page, sync_playwright

COUNT = 120
PROGRAM = ROOT / "roles" / "status_page" / "files" / "program"
POLICY = yaml.safe_load((ROOT / "roles" / "status_page" / "vars" / "main.yml").read_text(encoding="utf-8"))["__status_page_policy"]
SCREENSHOTS = LOGS / "screenshots"
PAGES = {
    "front": "index.html",
    "list": "list/3.html",
    "run": f"runs/run-{COUNT:05}.html",
    "bad": "runs/run-00100.html",
    "cut": f"runs/run-{COUNT - 30:05}.html",
    "flags": "flags.html",
}
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder under the policy that nginx sends."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


def drawn(folder: Path) -> float:
    """Draw the pages of the ledger and the flags in a folder; returns the seconds."""
    asked = [f"--ledger={folder / 'ledger.jsonl'}", f"--flags={folder / 'flags'}", f"--folder={folder / 'site'}", f"--state={folder / 'state.json'}"]
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-I", PROGRAM, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def today() -> str:
    """The day (UTC) as the pages write it."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder of pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Drawing(NamedTuple):
    """A folder of pages, and the day (UTC) on which they were drawn: two, where midnight came meanwhile."""

    folder: Path
    days: set[str]


@pytest.fixture(scope="session")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Drawing:
    """Pages that the program drew."""
    folder = tmp_path_factory.mktemp("status")
    (folder / "ledger.jsonl").write_bytes(ledger(COUNT, time.time(), apart=10800.0))
    (folder / "flags").mkdir()
    for name, content in live_flags(time.time()).items():
        (folder / "flags" / name).write_text(json.dumps(content), encoding="utf-8")
    began = today()
    drawn(folder)
    return Drawing(folder / "site", {began, today()})


@pytest.fixture(scope="session")
def site(drawing: Drawing) -> Iterator[str]:
    """The address of these pages."""
    with served(drawing.folder) as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A page with what its console said and what it weighed."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def weight(self) -> int:
        """Bytes of the page and of all that it asked for; the browser knows them once it is loaded."""
        entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        script = f"{entries}.reduce((sum, one) => sum + one.encodedBodySize, 0)"
        found: int = self.page.evaluate(script)
        return found


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Any]:
    """Opens an address as it is asked to: width, scheme, with or without JavaScript."""
    contexts = []

    def open_(address: str, size: Any = DESK, **more: Any) -> Seen:
        context = chromium.new_context(viewport=size, **more)
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.goto(address, wait_until="load")
        return seen

    yield open_
    for context in contexts:
        context.close()


def painted(page: Page) -> list[bool]:
    """For each chart whether its canvas holds anything but nothing."""
    script = """charts => charts.map(chart => {
        const canvas = chart.querySelector('canvas');
        return !!canvas && canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte !== 0);
    })"""
    found: list[bool] = page.eval_on_selector_all("[data-chart]", script)
    return found


def test_the_front_page_says_what_was_deployed_last_and_how_often(site: str, opened: Any) -> None:
    page = opened(f"{site}/index.html").page
    text = page.inner_text("main")
    assert release(COUNT) in page.inner_text("section:has(#last)")
    assert "ada@desk" in page.inner_text("section:has(#last)")
    assert "1 hour ago" in page.inner_text("section:has(#last)")
    # One each 3 hours, of which every 20th was rolled back and the 30th before the last never ended.
    begins = {number: 3600 + (COUNT - number) * 10800 - 30 for number in range(1, COUNT + 1)}
    week = [number for number, before in begins.items() if before < 7 * 86400 and number % 20 and number != COUNT - 30]
    assert page.inner_text("#count") == str(len(week))
    assert page.locator(".people li").count() == 4
    for host in ("app1", "app2", "app3", "app4"):
        assert re.search(rf"{host}\s+{re.escape(release(COUNT - 1 if COUNT % 20 == 0 else COUNT))}", text), host
    assert page.locator("section:has(#all) tbody tr").count() == 15


def test_charts_are_drawn_and_the_table_has_the_same_numbers(site: str, drawing: Drawing, opened: Any) -> None:
    seen = opened(f"{site}/index.html")
    assert painted(seen.page) == [True] * 5
    seen.page.click("section:has(#days) summary")
    rows = seen.page.locator("section:has(#days) details tbody tr")
    assert rows.count() == 30
    assert rows.first.locator("th").inner_text() in drawing.days
    chart = seen.page.evaluate("JSON.parse(document.querySelector('section:has(#days) [data-chart]').dataset.chart)")
    numbers = [[int(cell) for cell in row.split("\t")[1:]] for row in rows.all_inner_texts()]
    told = [of_day[:3] for of_day in numbers]
    assert sum(of_day[3] for of_day in numbers) == 2, "switches of a flag"
    assert chart["marks"] == [day for day, of_day in zip(chart["x"], reversed(numbers), strict=True) if of_day[3]]
    assert told[::-1] == [list(day) for day in zip(*(one["values"] for one in chart["series"]), strict=True)]
    assert sum(map(sum, told)) == COUNT


def test_flags_that_somebody_should_look_at_are_on_the_front_page_and_all_on_their_own(site: str, opened: Any) -> None:
    page = opened(f"{site}/index.html").page
    assert page.locator("section:has(#flags) tbody th").all_inner_texts() == ["checkout\nrelease", "discount\nrelease", "gone\n"]
    text = page.inner_text("section:has(#flags)")
    for word in ("10 %", "not as declared", "over", "expired", "not declared any more", "ada@desk", "discount: on, now off", HOSTILE):
        assert word in text, word
    page.click("section:has(#flags) a")
    assert page.inner_text("h1") == "Feature flags in production"
    assert page.locator("main table tbody tr").count() == 4
    assert "by rules" in page.inner_text("main")


def test_a_run_has_its_gate_hosts_commits_and_record(site: str, opened: Any) -> None:
    seen = opened(f"{site}/{PAGES['bad']}")
    text = seen.page.inner_text("main")
    assert painted(seen.page) == [True, True]
    for word in ("rolled back", "3 of 50 requests failed", "new and old compared", "app4", "drain 0.2 s", "Do thing 100", "change number 100"):
        assert word in text, word
    with seen.page.expect_navigation():
        seen.page.click("text=its record as JSON")
    assert '"event": "ended"' in seen.page.content()
    assert "interrupted" in opened(f"{site}/{PAGES['cut']}").page.inner_text("main")


def test_a_hostile_reason_is_text(site: str, opened: Any) -> None:
    for name in ("front", "list", "run", "flags"):
        page = opened(f"{site}/{PAGES[name]}").page
        assert HOSTILE in page.inner_text("main")
        assert page.title() != "owned"


def test_the_list_leads_from_page_to_page(site: str, opened: Any) -> None:
    page = opened(f"{site}/index.html").page
    page.click(f"text=All {COUNT}")
    names: list[str] = page.locator("tbody a").evaluate_all("links => links.map(link => link.href)")
    while page.locator("text=Older").count():
        page.locator("text=Older").first.click()
        names += page.locator("tbody a").evaluate_all("links => links.map(link => link.href)")
    assert [int(name[-10:-5]) for name in names] == list(range(COUNT, 0, -1))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("scheme", "label"), [("light", "phone"), ("dark", "desk")])
def test_anybody_can_read_it_in_the_light_and_in_the_dark(site: str, opened: Any, name: str, scheme: str, label: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    seen = opened(f"{site}/{PAGES[name]}", PHONE if label == "phone" else DESK, color_scheme=scheme, bypass_csp=True)
    seen.page.screenshot(path=SCREENSHOTS / f"status-{name}-{scheme}-{label}.png", full_page=True)
    wide = seen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0, f"{wide} pixels too wide for a {label}"
    seen.page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    found = [broken for broken in Axe().run(seen.page).response["violations"] if broken["impact"] in ("serious", "critical")]
    assert not found, [(broken["id"], [node["html"] for node in broken["nodes"]][:3]) for broken in found]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_and_says_nothing_on_the_console(site: str, opened: Any, name: str) -> None:
    seen = opened(f"{site}/{PAGES[name]}")
    assert seen.errors == []
    assert 1000 < seen.weight() < 200_000


@pytest.mark.skipif(not os.environ.get("LONG"), reason="draws 20 000 pages, a minute: LONG=1 tools/test browser")
def test_twenty_thousand_deployments_are_no_heavier_and_one_more_is_drawn_in_seconds(tmp_path: Path, opened: Any) -> None:
    many, now = 20_000, time.time()
    (tmp_path / "ledger.jsonl").write_bytes(ledger(many, now, apart=3600.0))
    all_of_them = drawn(tmp_path)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b"".join(ledger(many + 1, now + 3500, apart=3600.0).splitlines(keepends=True)[-4:-2]))
    one_more = drawn(tmp_path)
    size = (tmp_path / "ledger.jsonl").stat().st_size
    print(f"{many} deployments: drawn in {all_of_them:.1f} s, one more in {one_more:.1f} s, the ledger of {size} bytes")
    assert one_more < min(30, all_of_them / 3)
    with served(tmp_path / "site") as address:
        newest = max((tmp_path / "site" / "list").glob("*.html"), key=lambda path: int(path.stem))
        for name in ("index.html", f"list/{newest.name}", "list/1.html", f"runs/run-{many + 1:05}.html"):
            began = time.monotonic()
            seen = opened(f"{address}/{name}")
            print(f"{name}: {seen.weight()} bytes, loaded in {time.monotonic() - began:.2f} s")
            assert seen.errors == []
            assert 1000 < seen.weight() < 200_000
            if name == "index.html":
                assert release(many + 1) in seen.page.inner_text("section:has(#last)")
                assert all(painted(seen.page))


def test_it_says_the_same_without_javascript(site: str, opened: Any) -> None:
    page = opened(f"{site}/index.html", java_script_enabled=False).page
    assert release(COUNT) in page.inner_text("section:has(#last)")
    assert page.locator("canvas").count() == 0
    page.click("section:has(#days) summary")
    assert page.locator("section:has(#days) details tbody tr").count() == 30


def test_an_application_shows_the_line_at_its_foot(site: str, opened: Any) -> None:
    seen = opened(f"{site}/footer.json", bypass_csp=True)
    seen.page.set_content(f'<footer><script src="{site}/footer.js" data-application="storefront"></script></footer>')
    line = seen.page.locator(".last-deployed")
    line.wait_for()
    assert re.fullmatch(r"last deployed \d+ (minutes?|hours?) ago by \S+, \d+ this week", line.inner_text())


@pytest.mark.parametrize(
    ("attributes", "by"),
    [
        ('data-application="shop" data-environment="production"', "ada"),
        ('data-application="shop" data-environment="staging"', "bo"),
        ('data-application="shop"', "bo"),
        ("", "cy"),
    ],
)
def test_of_two_environments_the_named_one_is_at_the_foot(site: str, opened: Any, attributes: str, by: str) -> None:
    seen = opened(f"{site}/footer.json", bypass_csp=True)
    places = {"production": ("ada", "2026-11-25T10:00:00Z"), "staging": ("bo", "2026-11-25T11:00:00Z")}
    each = [{"application": "shop", "environment": place, "by": who, "at": at, "count7d": 1} for place, (who, at) in places.items()]
    told = {"by": "cy", "at": "2026-11-25T12:00:00Z", "count7d": 3, "applications": each}
    seen.page.route("**/footer.json", lambda route: route.fulfill(json=told))
    seen.page.set_content(f'<footer><script src="{site}/footer.js" {attributes}></script></footer>')
    line = seen.page.locator(".last-deployed")
    line.wait_for()
    assert f" ago by {by}, " in line.inner_text()
