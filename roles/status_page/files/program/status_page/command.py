# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the pages: the only part that touches files. A page whose content has not changed is not written again."""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import dora, drawing, flags, locks, telling, words
from .ledger import Known, Run, parse, read

HERE: Final = Path(__file__).resolve().parent
ASSETS: Final = ("style.css", "page.js", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css", "vendor/LICENSE.uPlot")
#: Seconds after which pages are drawn anew although the ledger has not grown: a week has moved on, or a run has been silent for too long.
IDLE: Final = 600.0


class Site:
    """A folder of pages, and which version of each lies in it."""

    def __init__(self, folder: Path, drawn: Mapping[str, str]) -> None:
        self.folder = folder
        self.drawn = dict(drawn)
        self.written = 0
        for name in ("", "runs", "list", "assets"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._there = {f"{name}/{found}" for name in ("runs", "list") for found in os.listdir(folder / name)}

    def has(self, name: str, version: str) -> bool:
        """Whether a page lies there in this version."""
        return self.drawn.get(name) == version and name in self._there

    def put(self, name: str, content: str | bytes, version: str = "") -> None:
        """Write a page in one step: whoever reads it sees the old one or the new one."""
        path, beside = self.folder / name, self.folder / f".{os.path.basename(name)}.new"
        beside.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
        self.written += 1
        if version:
            self.drawn[name] = version

    def keep_lists(self, count: int) -> None:
        """Remove pages of the list that there are no runs for any more, after the ledger was shortened."""
        for path in (self.folder / "list").glob("*.html"):
            if not path.stem.isdigit() or int(path.stem) > max(1, count):
                path.unlink()
                self.drawn.pop(f"list/{path.name}", None)


def templates(title: str) -> Environment:
    """Templates that escape whatever they are given."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        {function.__name__: function for function in (words.utc, words.minute, words.date, words.iso, words.duration, words.percent, words.rate)}
    )
    environment.filters.update({"initials": words.initials, "hue": words.hue, "page_name": words.page_name})
    environment.globals.update({"title": title, "WORDS": telling.WORDS})
    return environment


def version(*parts: object) -> str:
    """A short name for a content."""
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:16]


def program(title: str) -> str:
    """What the looks of all pages depend on: when it changes, every page is written again."""
    files = sorted(path for path in HERE.rglob("*") if path.suffix in (".py", ".html", ".css", ".js"))
    return version(title, *(path.read_bytes() for path in files))


def records_of(run: Run, data: bytes) -> list[dict[str, Any]]:
    """A run's records."""
    return [found for begin, length in run.lines if (found := parse(data[begin : begin + length])) is not None]


def draw(known: Known, state: Mapping[str, str], data: bytes, site: Site, title: str, now: float, live: flags.Flags = flags.NONE) -> None:
    """All pages of a ledger, in which each run stands as `state` says, and of the flags that are live, into `site`."""
    looks, environment = program(title), templates(title)
    later = telling.continued(known.runs)
    rows = [drawing.row(run, state[run.run], later) for run in known.runs]
    draw_runs(known.runs, state, later, data, site, environment, looks)
    draw_lists(rows, site, environment, looks)
    front = drawing.front(known, rows, dora.history(known.runs), state, now)
    told = drawing.flags_told(live, known.notes)
    site.put("index.html", environment.get_template("front.html").render(root="", **front, **told))
    site.put("flags.html", environment.get_template("flags.html").render(root="", now=now, **told))
    site.put("footer.json", json.dumps(drawing.footer(known, now), ensure_ascii=False, indent=1) + "\n")
    site.put("footer.js", (HERE / "assets" / "footer.js").read_bytes())
    for name in ASSETS:
        if not site.has(f"assets/{name}", looks):
            site.put(f"assets/{os.path.basename(name)}", (HERE / "assets" / name).read_bytes())


def draw_runs(
    runs: Iterable[Run], state: Mapping[str, str], later: Mapping[str, str], data: bytes, site: Site, environment: Environment, looks: str
) -> None:
    """A page and a JSON file for each run."""
    template = environment.get_template("run.html")
    for run in runs:
        name = words.page_name(run.run)
        now = version(looks, state[run.run], later.get(run.run), [data[begin : begin + length] for begin, length in run.lines])
        if site.has(f"runs/{name}.html", now):
            continue
        records = records_of(run, data)
        site.put(f"runs/{name}.json", json.dumps(records, ensure_ascii=True, indent=1) + "\n")
        site.put(f"runs/{name}.html", template.render(root="../", **drawing.of_run(run, state[run.run], later, records)), now)


def draw_lists(rows: Sequence[drawing.Row], site: Site, environment: Environment, looks: str) -> None:
    """The list of all runs. Page 1 holds the oldest, so that a full page stays as it is."""
    template = environment.get_template("list.html")
    pages = telling.paged(len(rows), drawing.PAGE_SIZE)
    for number, places in enumerate(pages, 1):
        shown = [rows[place] for place in reversed(places)]
        now = version(looks, shown, number < len(pages))
        if not site.has(f"list/{number}.html", now):
            content = template.render(root="../", rows=shown, number=number, older=number > 1, newer=number < len(pages))
            site.put(f"list/{number}.html", content, now)
    site.keep_lists(len(pages))


def load(path: Path) -> dict[str, Any]:
    """What the last call left behind; nothing where that cannot be read, and then all is drawn."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the pages, unless nothing has happened since they were drawn."""
    parser = argparse.ArgumentParser(prog="status_page", description="Draw the status page from the ledger.")
    parser.add_argument("--ledger", type=Path, required=True, help="the ledger, JSON lines; as good as empty where it is missing")
    parser.add_argument("--folder", type=Path, required=True, help="where the pages go")
    parser.add_argument("--state", type=Path, required=True, help="file that keeps which version of each page lies there")
    parser.add_argument("--flags", type=Path, help="folder of the feature flags that are live; none are shown where it is missing")
    parser.add_argument("--locks", type=Path, help="folder of the deployment locks, where they are kept on this host")
    parser.add_argument("--title", default="Deployments")
    parser.add_argument(
        "--patience", type=float, default=telling.PATIENCE, help="seconds after which a run without an end, whose lock is not known, is over"
    )
    asked = parser.parse_args(arguments)
    # All that is read is kept until the end, so looking for garbage on the way costs a third of the time and finds none.
    gc.disable()
    began, now = time.monotonic(), time.time()
    before = load(asked.state)
    # Looked at before they are read, as the ledger is.
    seen_flags = flags.seen(asked.flags)
    live = flags.read(*flags.load(asked.flags), now) if asked.flags else flags.NONE
    held = locks.load(asked.locks)
    try:
        found = asked.ledger.stat()
        seen = [found.st_ino, found.st_size, found.st_mtime_ns, program(asked.title), asked.patience, seen_flags]
        # Looked at before it is read: what is written in between is drawn twice rather than never.
        rests = 0 <= now - float(before.get("at", 0)) < IDLE and not locks.lost(held, before.get("running"), now)
        if before.get("seen") == seen and rests and (asked.folder / "index.html").exists():
            print("Neither the ledger nor a flag has changed, so the pages have not either.")
            return 0
        data = asked.ledger.read_bytes()
    except FileNotFoundError:
        seen, data = [], b""
    except OSError as error:
        print(f"The ledger {asked.ledger} cannot be read: {error.strerror}. It has to be readable for this account.", file=sys.stderr)
        return 1
    drawn = before.get("drawn")
    site = Site(asked.folder, drawn if isinstance(drawn, dict) else {})
    known = read(Known(), data)
    # A run may begin or end while all this is read: it is under way where its lock was there before the ledger was read, or after.
    earlier, later = (telling.states(known.runs, now, asked.patience, then) for then in (held, locks.load(asked.locks)))
    state = {run: earlier[run] if earlier[run] == telling.RUNNING else said for run, said in later.items()}
    draw(known, state, data, site, asked.title, now, live)
    running = [[*run.place, run.run] for run in known.runs if state[run.run] == telling.RUNNING]
    kept = {name: kind for name, kind in site.drawn.items() if name.startswith(("runs/", "list/"))}
    beside = asked.state.with_suffix(".new")
    beside.write_text(json.dumps({"seen": seen, "at": now, "running": running, "drawn": kept}), encoding="utf-8")
    os.replace(beside, asked.state)
    damaged = f", {known.damaged} lines that are no records" if known.damaged else ""
    print(f"{len(known.runs)} runs{damaged}: {site.written} files written in {time.monotonic() - began:.1f} s.")
    return 0
