"""What the status page says is what the ledger says: runs, figures worked out by hand, and pages that are written only when they change."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import lease, lease_file
from checkout import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_made import HOSTILE, ledger, live_flags, switched
from ledger_made import ended as made_ended
from ledger_made import started as made_started
from status_page import command, dora, drawing, flags, gate, locks, telling, words
from status_page.ledger import FIRST, Known, Run, mapping_of, read
from status_page.locks import Lock

DAY, HOUR = 86400.0, 3600.0
NOON = 1_790_000_000.0


def lines(*records: dict[str, Any]) -> bytes:
    """Records as they stand in the ledger."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def run(name: str, begin: float, outcome: str = "deployed", seconds: float = 600.0, **more: Any) -> Run:
    """A deployment that ended."""
    about = {"kind": "deploy", "environment": "lab", "application": "shop", "by": "ada", "to": f"{name}-00000000"}
    return Run(name, **{**about, "started": begin, "ended": begin + seconds if outcome else None, "outcome": outcome, **more})


def test_the_generated_ledger_is_one() -> None:
    schema = json.loads((ROOT / "docs" / "ledger.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for line in ledger(32, NOON).splitlines():
        validator.validate(json.loads(line))


def test_a_run_is_put_together_from_both_its_records() -> None:
    (found,) = read(Known(), lines(made_started(7, NOON), made_ended(7, NOON))).runs
    assert (found.run, found.by, found.to, found.outcome) == ("run-00007", "linus@home", "1.7.0-00000007", "deployed")
    assert found.ended == NOON + 30
    assert dict(found.live) == dict.fromkeys(("app1", "app2", "app3", "app4"), "1.7.0-00000007")
    assert found.commits == ((f"{7:040x}", NOON - 3600),)


def test_a_record_that_waited_is_put_where_its_time_is() -> None:
    late = read(Known(), lines(made_started(2, NOON + 100), made_ended(2, NOON + 100), made_ended(1, NOON)))
    assert [found.run for found in late.runs] == ["run-00001", "run-00002"]
    assert late.runs[0].at == NOON


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_torn_tail_loses_only_what_it_tore(cut: int, count: int) -> None:
    whole = lines(*(made(number, NOON + number) for number in range(count) for made in (made_started, made_ended)))
    kept = whole[: min(cut, len(whole))]
    known = read(Known(), kept)
    assert known.damaged == 0
    assert sum(len(found.lines) for found in known.runs) == kept.count(b"\n")
    # What is torn may be written to its end later.
    assert read(known, whole[known.end :]) == read(Known(), whole)


RUN_PAGE = command.templates("x").get_template("run.html")
FLAGS_PAGE = command.templates("x").get_template("flags.html")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(max_examples=50)
@given(st.binary(max_size=200), ANYTHING)
def test_whatever_stands_in_the_ledger_the_rest_is_read_and_drawn(noise: bytes, value: Any) -> None:
    odd = {**made_started(1, NOON), **dict.fromkeys(("waves", "commits", "from", "on_behalf_of", "reason", "lock_broken"), value)}
    end = {**made_ended(1, NOON), **dict.fromkeys(("waves", "hosts", "flags", "phases", "seconds", "outcome"), value)}
    data = noise.replace(b"\n", b"") + b"\n" + lines(odd, end, made_started(2, NOON + 9), made_ended(2, NOON + 9))
    known = read(Known(), data)
    assert [found.run for found in known.runs][-1] == "run-00002"
    state = telling.states(known.runs, NOON + 60)
    for found in known.runs:
        RUN_PAGE.render(root="", **drawing.of_run(found, state[found.run], {}, command.records_of(found, data)))


def test_a_run_without_an_end_is_under_way_until_another_begins_or_it_was_silent_too_long() -> None:
    alone, other = run("a", NOON, ""), run("b", NOON + 60, "")
    elsewhere = run("c", NOON + 60, "", environment="staging")
    assert telling.states([alone], NOON + 60) == {"a": "running"}
    assert telling.states([alone], NOON + telling.PATIENCE) == {"a": "interrupted"}
    assert telling.states([alone, other], NOON + 61) == {"a": "interrupted", "b": "running"}
    assert telling.states([alone, elsewhere], NOON + 61) == {"a": "running", "c": "running"}


@pytest.mark.parametrize(
    ("lock", "state"),
    [
        (Lock("a", NOON + 9000), "running"),
        (Lock("a", NOON + 8000), "interrupted"),
        (Lock("b", NOON + 9000), "interrupted"),
        (Lock("", FIRST), "interrupted"),
    ],
)
def test_where_its_lock_is_known_a_run_without_an_end_is_under_way_for_as_long_as_it_has_it(lock: Lock, state: str) -> None:
    alone = run("a", NOON, "")
    assert telling.states([alone], NOON + 8000, locks={("lab", "shop"): lock}) == {"a": state}
    assert telling.states([alone], NOON + 60, locks={("lab", "other"): lock}) == {"a": "running"}
    assert telling.states([run("a", NOON)], NOON + 8000, locks={("lab", "shop"): lock}) == {"a": "deployed"}


def test_a_lock_is_read_as_the_lock_writes_it_and_a_file_that_holds_none_is_not_known(tmp_path: Path) -> None:
    owner = dict.fromkeys(lease.Owner._fields, "") | {"run": "run-1", "pid": 1, "started": 1}
    lease_file.perform("shop", {"environment": "lab", "operation": "acquire", "owner": owner, "seconds": 900}, str(tmp_path))
    (tmp_path / "lab" / "damaged.json").write_text('{"lease": ')
    (tmp_path / "lab" / "listed.json").write_text("[]")
    (held,) = locks.load(tmp_path).items()
    assert (held[0], held[1].run, held[1].until - time.time() == pytest.approx(900, abs=5)) == (("lab", "shop"), "run-1", True)
    known = locks.load(tmp_path)
    assert not locks.lost(known, [["lab", "shop", "run-1"], ["lab", "other", "run-2"], "damaged"], time.time())
    assert locks.lost(known, [["lab", "shop", "run-1"]], time.time() + 900)
    lease_file.perform("shop", {"environment": "lab", "operation": "free", "run": "run-1", "token": 1}, str(tmp_path))
    assert locks.load(tmp_path) == {("lab", "shop"): Lock("", FIRST)}
    assert locks.load(None) == {}


@given(ANYTHING)
def test_whatever_stands_in_a_lock_it_is_read(value: Any) -> None:
    assert isinstance(locks.lock(mapping_of(value)), Lock)
    assert isinstance(locks.lock({"owner": value, "until": value}), Lock)
    assert not locks.lost({}, value, NOON)


def test_the_four_figures_of_a_week_worked_out_by_hand() -> None:
    runs = [
        # Day 1: two commits, 2 h and 4 h before the end. Well.
        run("a", 1 * DAY, commits=(("c1", 1 * DAY + 600 - 2 * HOUR), ("c2", 1 * DAY + 600 - 4 * HOUR))),
        # Day 2: the gate took it back after 10 minutes. Failed, restored after 10 minutes; its commit is not live.
        run("b", 2 * DAY, "rolled_back", commits=(("c3", 2 * DAY),)),
        # Day 3: c3 once more, 24 h 10 min after it was committed. Well, and taken back an hour after it began.
        run("c", 3 * DAY, commits=(("c3", 2 * DAY),), to="c-1"),
        run("d", 3 * DAY + 50 * 60, "rolled_back", kind="rollback", before=("c-1",), to="a-1"),
        # Day 4: failed, and the next one, which ended 30 minutes after this began, made it good.
        run("e", 4 * DAY, "failed"),
        run("f", 4 * DAY + 20 * 60),
        # Day 5: cut off. In no figure.
        run("g", 5 * DAY, ""),
    ]
    runs = [one._replace(started=FIRST + (one.started or 0), ended=None if one.ended is None else FIRST + one.ended) for one in runs]
    runs = [one._replace(commits=tuple((name, FIRST + at) for name, at in one.commits)) for one in runs]
    found = dora.figures(dora.history(runs), FIRST, FIRST + 7 * DAY)
    assert found.frequency == 3 / 7  # a, c, f
    assert found.lead_time == 4 * HOUR  # the median of 2 h, 4 h, 24 h 10 min
    assert (found.failed, found.ended, found.failure_rate) == (3, 5, 3 / 5)  # b, c, e of a, b, c, e, f
    assert found.time_to_restore == 30 * 60  # the median of 10, 60 and 30 minutes
    assert found.open == 0


def test_a_failure_that_nobody_has_put_right_is_open_and_no_figures_come_of_nothing() -> None:
    past = dora.history([run("a", NOON, "failed")])
    found = dora.figures(past, NOON - DAY, NOON + DAY)
    assert (found.open, found.time_to_restore, found.failure_rate) == (1, None, 1.0)
    nothing = dora.figures(dora.history([]), NOON - DAY, NOON)
    assert (nothing.frequency, nothing.lead_time, nothing.failure_rate, nothing.time_to_restore) == (0.0, None, None, None)


def test_one_application_does_not_put_another_right() -> None:
    past = dora.history([run("a", NOON, "failed"), run("b", NOON + HOUR, application="other")])
    assert dora.figures(past, NOON - DAY, NOON + DAY).open == 1


OUTCOME = st.sampled_from(["deployed", "rolled_back", "failed", ""])
RUNS = st.lists(st.tuples(st.integers(0, 60 * 24 * 30), OUTCOME, st.sampled_from(["deploy", "rollback"]), st.sampled_from("xy")), max_size=30)


@given(RUNS)
def test_figures_stay_within_their_bounds_and_windows_add_up(drawn: list[tuple[int, str, str, str]]) -> None:
    runs = [
        run(str(place), NOON + minute * 60, outcome, 300.0, kind=kind, application=app, before=("0-00000000",))
        for place, (minute, outcome, kind, app) in enumerate(sorted(drawn))
    ]
    past = dora.history(runs)
    begin, middle, end = NOON - 1, NOON + 15 * DAY, NOON + 31 * DAY
    whole, first, second = (dora.figures(past, *window) for window in ((begin, end), (begin, middle), (middle, end)))
    assert whole.ended == first.ended + second.ended == sum(one.kind == "deploy" and bool(one.outcome) for one in runs)
    assert whole.failure_rate is None or 0 <= whole.failure_rate <= 1
    assert whole.time_to_restore is None or whole.time_to_restore >= 0
    assert whole.open + whole.restored == whole.failed
    days = telling.a_day(runs, telling.states(runs, end), end, 40)
    assert sum(day.deployed + day.not_well + day.interrupted for day in days) == sum(one.kind == "deploy" for one in runs)


def test_weeks_begin_on_monday_and_follow_each_other() -> None:
    found = dora.weeks(NOON)
    assert len(found) == 12
    assert found[-1][1] == NOON
    assert all(words.utc(begin + 0.01)[11:19] == "00:00:00" for begin, _end in found)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))


@given(st.integers(0, 500), st.integers(1, 60))
def test_every_run_is_on_one_page_and_full_pages_stay(count: int, size: int) -> None:
    pages = telling.paged(count, size)
    assert [place for page in pages for place in page] == list(range(count))
    assert telling.paged(count + 1, size)[: count // size] == pages[: count // size]


def test_what_is_live_is_what_was_said_last() -> None:
    known = read(Known(), lines(made_ended(1, NOON), made_ended(2, NOON + 100), made_ended(3, NOON + 200, "rolled_back")))
    assert {(item.host, item.release) for item in telling.live(known.runs)} == {(f"app{number}", "1.2.0-00000002") for number in range(1, 5)}
    assert {item.since for item in telling.live(known.runs)} == {NOON + 130}


def test_the_gates_readings_become_both_sides_and_not_too_many_points() -> None:
    (wave,) = drawing.of_run(Run("x"), "failed", {}, [made_ended(1, NOON, "failed", 300)])["waves"][:1]
    assert 60 <= len(wave.looks) <= gate.MOST_POINTS
    assert sum(look.old.requests for look in wave.looks) == 300 * 150
    assert max(wave.errors["series"][0]["values"]) > 0
    assert set(wave.errors["series"][1]["values"]) == {0.0}


@pytest.mark.parametrize(("seconds", "told"), [(None, "-"), (0.42, "0.4 s"), (12, "12 s"), (200, "3 min 20 s"), (3600, "1 h"), (90061, "1 d 1 h")])
def test_durations_read_well(seconds: float | None, told: str) -> None:
    assert words.duration(seconds) == told


@given(st.text())
def test_a_page_has_a_name_that_leads_nowhere_else(name: str) -> None:
    assert "/" not in words.page_name(name)
    assert not words.page_name(name).startswith(".")
    assert len(words.initials(name)) <= 6


@pytest.fixture
def drawn(tmp_path: Path) -> Any:
    """Draws a ledger into a folder; returns which files were written."""

    def draw(data: bytes, now: float = NOON) -> set[str]:
        (tmp_path / "ledger.jsonl").write_bytes(data)
        site = command.Site(tmp_path / "site", json.loads((tmp_path / "state").read_text()) if (tmp_path / "state").exists() else {})
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.html")}
        inodes = {path: path.stat().st_ino for path in tmp_path.rglob("*.html")}
        known = read(Known(), data)
        command.draw(known, telling.states(known.runs, now), data, site, "Deployments", now)
        (tmp_path / "state").write_text(json.dumps(site.drawn))
        found = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*.html")}
        return {str(path.relative_to(tmp_path / "site")) for path, seen in found.items() if seen != (before.get(path), inodes.get(path))}

    draw.folder = tmp_path / "site"  # type: ignore[attr-defined]  # where tests look for what it drew
    return draw


def test_one_more_run_writes_its_page_and_those_that_list_it(drawn: Any) -> None:
    data = ledger(120, NOON)
    assert len(drawn(data)) == 120 + 3 + 2
    always = {"index.html", "flags.html"}
    assert drawn(data) == always
    more = data + lines(made_started(121, NOON - 60))
    assert drawn(more) == always | {"list/3.html", "runs/run-00121.html"}
    assert drawn(more + lines(made_ended(121, NOON - 60))) == always | {"list/3.html", "runs/run-00121.html"}
    # A page that somebody has removed comes back.
    (drawn.folder / "runs/run-00007.html").unlink()
    assert "runs/run-00007.html" in drawn(more + lines(made_ended(121, NOON - 60)))


def test_the_report_of_a_run_tells_phases_steps_and_which_hosts_changed_or_failed(drawn: Any) -> None:
    def host(outcome: str, **steps: float) -> dict[str, Any]:
        return {"outcome": outcome, "from": None, "to": None, "seconds": sum(steps.values()), "steps": steps}

    hosts = {
        "a": host("deployed", drain=1.0, restart=2.0),
        "b": host("rolled_back", drain=3.0),
        "c": host("failed", drain=5.0),
        "d": host("left_out"),
    }
    end = made_ended(1, NOON - 60, "failed", hosts=hosts, phases={"plan": 2.0, "roll": 25.0}, account="ci@runner7")
    told = drawing.report(end)
    assert told
    assert told.phases == (("plan", 2.0), ("roll", 25.0))
    assert told.steps == [("drain", 3, 3.0, 5.0, "c"), ("restart", 1, 2.0, 2.0, "a")]
    assert (told.all, told.changed, told.failed, told.keeper) == (4, ["a", "b"], ["c"], "ci@runner7")
    drawn(lines(made_started(1, NOON - 60), end))
    page = (drawn.folder / "runs/run-00001.html").read_text(encoding="utf-8")
    for words_ in (
        "plan 2.0 s, roll 25 s",
        "2 of 4 hosts: a, b",
        "1 of 4 hosts: c",
        "that ci@runner7 keeps",
        "grep -l run-00001 build/reports/*.json",
    ):
        assert words_ in page
    drawn(lines(made_started(1, NOON - 60)))
    assert "Report" not in (drawn.folder / "runs/run-00001.html").read_text(encoding="utf-8")


def test_the_page_of_a_run_over_a_thousand_hosts_is_light_and_shows_the_wave_that_failed(drawn: Any) -> None:
    hosts = [f"application-host-{number:04}.dc1.example.net" for number in range(1000)]
    host = {"outcome": "deployed", "from": "1.0.0-00000000", "to": "1.1.0-11111111", "seconds": 2.1, "steps": {f"step-{n}": 1.5 for n in range(12)}}
    side = {"requests": 50000, "errors": 123, "p95_ms": 40.125}
    measured = [{"at": f"2026-09-21T10:{look // 60:02}:{look % 60:02}.000Z", "new": side, "old": side} for look in range(300)]
    gate_ = {"verdict": "pass", "line": "x" * 200, "readings": measured}
    waves = [{"hosts": hosts[at : at + 20], "outcome": "deployed", "seconds": 10.0, "gate": gate_} for at in range(0, 1000, 20)]
    waves[40] |= {"outcome": "failed"}
    commits = [{"commit": f"{n:040x}", "author": "Ada", "at": "2026-09-21T10:00:00.000Z", "subject": "s" * 200} for n in range(400)]
    begun = made_started(1, NOON - 60, hosts=hosts, commits={"from": "0" * 40, "to": "1" * 40, "list": commits})
    drawn(lines(begun, made_ended(1, NOON - 60, "rolled_back", waves=waves, hosts=dict.fromkeys(hosts, host))))
    page = drawn.folder / "runs/run-00001.html"
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"<h3>Wave (\d+)", text) == [*map(str, range(1, 20)), "41"]
    assert "and 30 more waves, in its record" in text
    assets = [path for path in (drawn.folder / "assets").iterdir() if path.suffix in (".js", ".css")]
    assert len(assets) == 4
    assert sum(path.stat().st_size for path in (page, *assets)) < 200_000


def test_what_was_typed_is_text_on_every_page(drawn: Any) -> None:
    drawn(ledger(3, NOON))
    for name in ("index.html", "flags.html", "list/1.html", "runs/run-00003.html"):
        page = (drawn.folder / name).read_text(encoding="utf-8")
        assert "&lt;script&gt;document.title" in page
        assert HOSTILE[:20] not in page


def test_a_shortened_ledger_takes_the_pages_of_its_list_along(drawn: Any) -> None:
    drawn(ledger(120, NOON))
    drawn(ledger(10, NOON))
    assert [path.name for path in (drawn.folder / "list").iterdir()] == ["1.html"]


def test_the_footer_tells_the_last_one_that_went_live(drawn: Any) -> None:
    drawn(ledger(20, NOON))  # the 20th was rolled back
    told = json.loads((drawn.folder / "footer.json").read_text(encoding="utf-8"))
    assert (told["version"], told["by"], told["count7d"]) == ("1.19.0", "linus@home", 19)
    assert told["applications"][0]["application"] == "storefront"
    assert (drawn.folder / told["page"]).is_file()


def test_the_program_draws_an_empty_page_and_then_rests_until_something_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [f"--ledger={tmp_path / 'ledger.jsonl'}", f"--folder={tmp_path / 'site'}", f"--state={tmp_path / 'state.json'}"]
    assert command.main(asked) == 0
    assert "Nothing has been deployed" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    (tmp_path / "ledger.jsonl").write_bytes(ledger(2, time.time()))
    assert command.main(asked) == 0
    assert command.main(asked) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "0 runs",
        "2 runs",
        "Neither the ledger nor a flag has changed, so the pages have not either.",
    ]


def test_a_run_that_loses_its_lock_is_told_as_interrupted_by_the_next_call(tmp_path: Path) -> None:
    options = {name: tmp_path / path for name, path in (("ledger", "ledger.jsonl"), ("folder", "site"), ("state", "state.json"), ("locks", "locks"))}
    asked = [f"--{name}={path}" for name, path in options.items()]
    begun = made_started(1, time.time() - 60)
    (tmp_path / "ledger.jsonl").write_bytes(lines(begun))
    kept = tmp_path / "locks" / begun["environment"] / f"{begun['application']}.json"
    kept.parent.mkdir(parents=True)
    held = {"owner": {"run": begun["run"]}, "until": "2199-01-01T00:00:00Z"}
    kept.write_text(json.dumps({"lease": held}))
    page = tmp_path / "site" / "runs" / f"{begun['run']}.html"
    for lease_, word in ((held, "under way"), (None, "interrupted")):
        kept.write_text(json.dumps({"lease": lease_}))
        assert command.main(asked) == 0
        assert word in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "begins"])
def test_a_run_that_ends_or_begins_while_the_ledger_is_read_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """What is read has its beginning only: the lock is there before the ledger is read, or after."""
    begun = made_started(1, time.time() - 60)
    (tmp_path / "ledger.jsonl").write_bytes(lines(begun))
    place = (begun["environment"], begun["application"])
    seen = [{place: Lock(begun["run"], time.time() + 900)}, {place: Lock("", FIRST)}]
    answers = iter(seen if ends else reversed(seen))
    monkeypatch.setattr(locks, "load", lambda _folder: next(answers))
    assert (
        command.main([f"--{name}={tmp_path / path}" for name, path in (("ledger", "ledger.jsonl"), ("folder", "site"), ("state", "state.json"))]) == 0
    )
    assert "under way" in (tmp_path / "site" / "runs" / f"{begun['run']}.html").read_text(encoding="utf-8")


def test_flags_are_told_with_who_switched_them_and_what_is_over() -> None:
    live = live_flags(NOON)
    found = {flag.name: flag for flag in flags.read(live["state.json"], live["flags.json"], NOON).all}
    assert sorted(found) == ["checkout", "discount", "gone", "search"]
    checkout = found["checkout"]
    assert (checkout.state, checkout.live, checkout.behalf, checkout.past, checkout.expired) == ("10 %", True, "ada@desk", True, False)
    assert (found["discount"].state, found["discount"].live, found["discount"].expired, found["discount"].why) == ("on", False, True, HOSTILE)
    assert (found["gone"].state, found["gone"].known) == ("off", False)
    assert (found["search"].state, found["search"].remarkable) == ("by rules", False)


def test_a_switch_to_what_is_declared_by_now_is_nothing_to_look_at() -> None:
    live = live_flags(NOON)
    state = {**live["state.json"], "declared": {"checkout": {"percent": 10}}}
    checkout, _discount, gone, _search = flags.read(state, live["flags.json"], NOON - 3600).all
    assert (checkout.live, checkout.remarkable, checkout.behalf, checkout.state) == (False, False, "ada@desk", "10 %")
    assert gone.live


def test_a_flag_is_not_expired_on_its_last_day() -> None:
    day = telling.midnight(NOON)
    about = {"defaultVariant": "off", "metadata": {"expires": words.date(NOON)}}
    assert not flags.flag("x", about, {}, {}, day + DAY - 1).expired
    assert flags.flag("x", about, {}, {}, day + DAY).expired


STATES = [({"to": "on"}, "on"), ({"percent": 10}, "10 %"), ({"rule": "plan == 'pro'"}, "rule: plan == 'pro'"), ({"rules": []}, "by rules")]


@pytest.mark.parametrize(("state", "told"), [*STATES, (None, "-"), ([], "-")])
def test_a_state_is_told_as_it_was_typed(state: object, told: str) -> None:
    assert flags.told(state) == told


@settings(max_examples=50)
@given(ANYTHING, ANYTHING)
def test_whatever_stands_in_the_live_state_the_page_is_drawn(state: Any, published: Any) -> None:
    for one, other in (
        (state, published),
        ({"overrides": state, "changed": published}, {"flags": published}),
        ({"overrides": {"x": state}}, {"flags": {"x": published}}),
    ):
        told = drawing.flags_told(flags.read(mapping_of(one), mapping_of(other), NOON), [])
        FLAGS_PAGE.render(root="", now=NOON, **told)


def test_a_switch_is_on_the_pages_within_a_call_and_marked_on_its_day(tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "flags").mkdir()
    asked = [
        f"--ledger={tmp_path / 'ledger.jsonl'}",
        f"--folder={tmp_path / 'site'}",
        f"--state={tmp_path / 'state.json'}",
        f"--flags={tmp_path / 'flags'}",
    ]
    (tmp_path / "ledger.jsonl").write_bytes(lines(switched(1, now, "checkout: off, now on")))
    assert command.main(asked) == 0
    front = tmp_path / "site" / "index.html"
    assert "checkout: off, now on" in front.read_text(encoding="utf-8")
    assert f'"marks": [{int(telling.midnight(now))}]' in front.read_text(encoding="utf-8").replace("&#34;", '"')
    for name, content in live_flags(now).items():
        (tmp_path / "flags" / name).write_text(json.dumps(content), encoding="utf-8")
    assert command.main(asked) == 0
    assert "not as declared" in front.read_text(encoding="utf-8")
