"""Who may give the robot orders, what it reads in ledger and live flags and says of them; its helper writes whole lines and nothing else."""

from __future__ import annotations

import importlib.util
import json
import string
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_made import live_flags
from status_page import ledger, telling

FILES = Path(__file__).resolve().parents[3] / "roles" / "chat_robot" / "files"
NOW = datetime(2026, 11, 25, 10, 12, tzinfo=UTC)
PEOPLE = {"ada": ["deploy", "rollback"], "lin": ["rollback"]}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


words = load("robot_words")
record = load("robot_record")
flags = load("robot_flags")
alerts = load("robot_alerts")


def lines(run: str, at: str, outcome: str | None = "deployed", **more: Any) -> list[dict[str, Any]]:
    """The records of one run; without an outcome it has no end."""
    base = {"schema": 1, "run": run, "kind": "deploy", "environment": "lab", "application": "storefront", "by": "robot", "on_behalf_of": "ada"}
    base |= {"reason": "faster checkout", "version": "1.1.0", **more}
    ended = [{**base, "event": "ended", "at": at, "outcome": outcome, "seconds": 41.2}] if outcome else []
    return [{**base, "event": "started", "at": at}, *ended]


@pytest.mark.parametrize(
    ("vouched_by", "source", "tags", "account"),
    [
        ("user", "ada!ada@192.0.2.1", {}, "ada"),
        ("user", "ada!~ada@192.0.2.1", {}, None),
        ("user", "ada!~x@192.0.2.1", {"account": "ada"}, None),
        ("account", "nick!ada@192.0.2.1", {"account": "ada"}, "ada"),
        ("account", "ada!ada@192.0.2.1", {}, None),
        ("account", "ada!ada@192.0.2.1", {"account": "*"}, None),
        ("account", "ada!ada@192.0.2.1", {"account": "{{ x }}"}, None),
        ("user", "irc.example", {}, None),
    ],
)
def test_only_what_the_server_vouches_for_is_an_account(vouched_by: str, source: str, tags: dict[str, str], account: str | None) -> None:
    assert words.speaker(vouched_by, source, tags).account == account


@given(st.text(), st.sampled_from(["deploy", "rollback"]))
def test_a_nick_gives_no_right(nick: str, verb: str) -> None:
    assert not words.may(PEOPLE, words.Speaker(nick, None), verb)


def test_each_may_what_the_list_says() -> None:
    ada, lin = words.Speaker("x", "ada"), words.Speaker("ada", "lin")
    assert [words.may(PEOPLE, who, verb) for who in (ada, lin) for verb in ("deploy", "rollback", "status")] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    assert words.refusal(lin, "deploy", True) == (
        "Refused: ada (account lin) may not deploy: the robot's list (chat_robot_people) does not let that account. That is in the ledger."
    )
    assert "could not be written" in words.refusal(words.Speaker("ada", None), "deploy", False)


def test_an_order_is_read_and_nothing_else() -> None:
    wish = words.order(["deploy", "1.2.0", "because", "it", "is", "slow"], "ada", "#ops")
    assert (wish.verb, wish.what, wish.reason, str(wish)) == ("deploy", "1.2.0", "it is slow", "deploy 1.2.0")
    assert words.order(["rollback"], "ada", "#ops").reason == "asked by ada in #ops"
    assert words.order(["rollback", "because", "of", "sales"], "a", "#b").given == ()
    for wrong in ("deploy", "deploy ../../x", "deploy {{x}}", "deploy 1.2.0 now", "deploy because x"):
        assert isinstance(words.order(wrong.split(), "ada", "#ops"), str), wrong


@given(st.text(alphabet=string.printable + "{}%#\u2028"), st.text(alphabet="{}%# abc"))
def test_nothing_that_ansible_would_run_as_a_template_gets_through(text: str, nick: str) -> None:
    wish = words.order(["deploy", "1.2.0", "because", *text.split()], nick, "#ops")
    given_to = words.variables(wish, "storefront", "robot", words.Speaker(nick, "ada"))
    assert not {"{", "}"} & set("".join(given_to.values()))
    assert all(value.isprintable() for value in given_to.values())
    assert given_to["on_behalf_of"] == "ada"


def test_an_order_is_confirmed_by_its_account_once_and_in_time() -> None:
    wish = words.Order("deploy", "1.2.0", "x")
    waiting = words.Confirmations()
    assert "yes abcd" in waiting.ask("ada", wish, "abcd", 0)
    assert waiting.confirm("lin", "abcd", 1) is None
    assert waiting.confirm(None, "abcd", 1) is None
    assert waiting.confirm("ada", "abcd", 59) == wish
    assert waiting.confirm("ada", "abcd", 59) is None
    waiting.ask("ada", wish, "abcd", 0)
    assert waiting.confirm("ada", "abcd", 60) is None
    waiting.ask("ada", wish, "abcd", 0)
    assert [waiting.confirm("ada", code, 1) for code in ("ab", "abcd")] == [None, None]


def test_no_more_than_so_many_an_hour() -> None:
    bound = words.Bound(2)
    assert [bound.passes(now) for now in (0, 1, 2, 3600, 3601)] == [True, True, False, True, True]


def test_a_ledger_that_is_missing_or_damaged_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    assert words.read_ledger(tmp_path / "none") == []
    path = tmp_path / "ledger.jsonl"
    whole = lines("run-1", "2026-11-25T10:00:00.000Z")
    path.write_text("\n".join([json.dumps(whole[0]), "[1]", '{"run": 1}', json.dumps(whole[1]), '{"to']))
    assert words.read_ledger(path) == whole


def test_what_became_of_each_run() -> None:
    records = [
        *lines("run-1", "2026-11-18T09:00:00.000Z", version="1.0.0", by="lin", on_behalf_of=None),
        *lines("run-2", "2026-11-25T09:00:00.000Z", None),
        *lines("run-x", "2026-11-25T09:30:00.000Z", None, application="other"),
        *lines("run-3", "2026-11-25T10:00:00.000Z", "rolled_back", version="6.6.6", cause="failed on app1: sick"),
        {"event": "noted", "kind": "refused", "run": "", "application": "storefront"},
        *lines("run-4", "2026-11-25T10:11:30.000Z", None, version="1.2.0"),
    ]
    found = words.runs(records, "storefront", "lab", {}, NOW)
    assert [(run["run"], run["outcome"]) for run in found] == [
        ("run-1", "deployed"),
        ("run-2", "interrupted"),
        ("run-3", "rolled_back"),
        ("run-4", "running"),
    ]
    assert words.status(found, NOW)[1] == "0 in the last 7 days", "one was rolled back, one interrupted, one is under way"
    assert words.status(found, NOW)[0] == "deploy storefront 1.2.0 in lab under way, by robot on behalf of ada (30 s ago, run run-4)"
    assert words.deploys(found, [], NOW)[0] == "0 in the last 7 days"
    assert words.deploys(found, ["30d"], NOW)[0] == "1 in the last 30 days: lin 1"
    assert [line.rpartition(" ")[2] for line in words.deploys(found, ["7d"], NOW)[1:]] == ["run-2)", "run-3)", "run-4)"]
    assert "deploys 7d" in words.deploys(found, ["x"], NOW)[0]
    assert words.who_deployed(found, ["1.0.0"], NOW) == ["deploy storefront 1.0.0 in lab deployed after 41 s, by lin (7 days ago, run run-1)"]
    assert words.who_deployed(found, ["9"], NOW) == ["Nobody: version 9 is not in the ledger."]
    assert words.why(found, ["run-3"], NOW) == [
        "deploy storefront 6.6.6 in lab rolled back after 41 s, by robot on behalf of ada: failed on app1: sick (12 minutes ago, run run-3)",
        "reason given: faster checkout",
    ]
    assert words.why(found, ["run-9"], NOW) == ["Run run-9 is not in the ledger."]
    assert words.status([], NOW) == ["No deployment is in the ledger yet."]


KINDS = ["deploy", "rollback", "reconcile", "contract"]
MADE = st.tuples(st.sampled_from(KINDS), st.sampled_from(["deployed", "rolled_back", "failed", None]), st.integers(0, 10 * 24))


def test_what_went_live_is_counted_not_what_took_it_back() -> None:
    kinds = [("deploy", "deployed"), ("deploy", "rolled_back"), ("rollback", "rolled_back"), ("contract", "deployed"), ("reconcile", "deployed")]
    records = [one for at, (kind, outcome) in enumerate(kinds) for one in lines(f"run-{at}", f"2026-11-25T10:0{at}:00.000Z", outcome, kind=kind)]
    found = words.runs(records, "storefront", "lab", {}, NOW)
    assert words.status(found, NOW)[1] == "1 in the last 7 days"
    assert words.deploys(found, ["7d"], NOW)[0] == "1 in the last 7 days: ada 1"


@given(st.lists(MADE, max_size=6))
def test_robot_page_and_footer_count_the_same(made: list[tuple[str, str | None, int]]) -> None:
    moments = [(NOW - timedelta(hours=hours)).isoformat() for _kind, _outcome, hours in made]
    records = [
        one
        for at, (kind, outcome, _hours) in enumerate(made)
        for one in lines(f"run-{at}", moments[at], outcome, kind=kind, on_behalf_of=f"p{at % 2}")
    ]
    known = ledger.read(ledger.Known(), "".join(f"{json.dumps(record)}\n" for record in records).encode())
    found = words.runs(records, "storefront", "lab", {}, NOW)
    week = telling.lately(known.runs, NOW.timestamp())
    people = ", ".join(f"{person.account} {person.times}" for person in telling.people(week))
    assert words.status([*found, {"run": "x", "outcome": "running"}], NOW)[1] == f"{len(week)} in the last 7 days"
    assert words.deploys(found, ["7d"], NOW)[0] == f"{len(week)} in the last 7 days" + (f": {people}" if people else "")


@pytest.mark.parametrize(
    ("lock", "outcome"),
    [
        ({}, "running"),
        ({"trouble": "PermissionError"}, "running"),
        ({"lease": {"owner": {"run": "run-2"}, "until": "2026-11-25T10:13:00Z"}}, "running"),
        ({"lease": {"owner": {"run": "run-2"}, "until": "2026-11-25T10:12:00Z"}}, "interrupted"),
        ({"lease": {"owner": {"run": "run-3"}, "until": "2026-11-25T10:13:00Z"}}, "interrupted"),
        ({"lease": {"owner": None}}, "interrupted"),
        ({"lease": None}, "interrupted"),
    ],
)
def test_a_run_without_an_end_and_without_its_lock_was_interrupted(lock: dict[str, Any], outcome: str) -> None:
    records = [*lines("run-1", "2026-11-25T09:00:00.000Z", None), *lines("run-2", "2026-11-25T10:00:00.000Z", None)]
    assert [run["outcome"] for run in words.runs(records, "storefront", "lab", lock, NOW)] == ["interrupted", outcome]


def test_a_record_that_was_appended_late_is_told_at_its_time() -> None:
    records = [*lines("run-2", "2026-11-25T10:00:00.000Z", None, version="1.5"), *lines("run-1", "2026-11-24T09:00:00.000Z", version="1.4")]
    lock = {"lease": {"owner": {"run": "run-2"}, "until": "2026-11-25T10:13:00Z"}}
    for written in (records, records[::-1]):
        found = words.runs(written, "storefront", "lab", lock, NOW)
        assert [(run["run"], run["outcome"]) for run in found] == [("run-1", "deployed"), ("run-2", "running")]
        assert "deploy storefront 1.5 in lab under way" in words.status(found, NOW)[0]


def test_runs_of_another_environment_are_none_of_the_robots() -> None:
    records = [*lines("run-1", "2026-11-25T10:00:00.000Z", None), *lines("run-2", "2026-11-25T10:01:00.000Z", environment="staging")]
    assert [(run["run"], run["outcome"]) for run in words.runs(records, "storefront", "lab", {}, NOW)] == [("run-1", "running")]


def test_the_end_of_an_order_is_what_the_ledger_says_of_its_run() -> None:
    wish = words.Order("deploy", "1.1.0", "x")
    made = words.runs(lines("run-1", "2026-11-25T10:00:00.000Z", "rolled_back", cause="failed on app1: sick"), "storefront", "lab", {}, NOW)
    assert words.ended(wish, "sick", made, NOW).startswith(
        "deploy storefront 1.1.0 in lab rolled back after 41 s, by robot on behalf of ada: failed on"
    )
    for lock in ({}, {"lease": None}):
        begun = words.runs(lines("run-1", "2026-11-25T10:00:00.000Z", None), "storefront", "lab", lock, NOW)
        assert words.ended(wish, "killed", begun, NOW) == "deploy 1.1.0 failed: killed"
    assert words.ended(wish, "", [], NOW) == "deploy 1.1.0 ended well"


def test_who_has_the_lock() -> None:
    owner = {"by": "ada", "what": "deploy 1.2.0", "reason": "slow", "run": "run-4"}
    assert words.lock({"lease": None}, NOW) == words.lock({}, NOW) == "The lock is free."
    assert words.lock({"trouble": "x"}, NOW) == "The lock could not be read: x"
    held = {"owner": owner, "since": "then", "until": "2026-11-25T10:13:00Z"}
    assert words.lock({"lease": held}, NOW) == "ada has the lock since then for deploy 1.2.0, because: slow (run run-4)"
    assert "(run run-4); its lease ran out at 2026-11-25T10:11:00Z" in words.lock({"lease": {**held, "until": "2026-11-25T10:11:00Z"}}, NOW)


def test_the_lock_is_read_where_it_is_kept_here(tmp_path: Path) -> None:
    path = tmp_path / "storefront.json"
    assert words.read_lock(path) == {}
    for text, found in (('{"lease": {"run": "x"}, "token": 1}', {"run": "x"}), ('{"lease": null}', None), ("[1]", None), ('{"lease": 3}', None)):
        path.write_text(text)
        assert words.read_lock(path) == {"lease": found}
    path.write_text("{")
    assert words.read_lock(path) == {"trouble": f"{path}: JSONDecodeError"}


@given(st.text(max_size=3000))
def test_an_answer_is_one_line_that_a_chat_takes(text: str) -> None:
    said = words.clean(text)
    assert said.isprintable()
    assert len(said.encode()) <= 380


#: Stands in for the transaction program: notes what it was asked, and answers as it does.
PROGRAM = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[0])
if (folder / "full").exists():
    print(json.dumps({"failed": True, "msg": "No space left"}))
    sys.exit(1)
(folder / "asked").open("a").write(json.dumps(sys.argv[1:]) + "\\n")
print(json.dumps({"changed": True, "written": 1}))
"""


def test_a_refusal_is_written_by_the_program_that_runs_use(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(PROGRAM)
    settings = {"program": str(tmp_path), "environment": "lab", "app": "storefront", "by": "robot"}
    hostile = "x" * 300 + "\n'; rm -rf \u2603 {{ 7 }}"
    assert record.answer(json.dumps({"do": "refused", "who": hostile, "what": "deploy 1"}), settings, NOW) == {"done": True}
    verb, app, given = json.loads((tmp_path / "asked").read_text())
    (found,) = json.loads(given)["records"]
    assert (verb, app, json.loads(given)["operation"]) == ("ledger", "storefront", "append")
    assert (found["event"], found["kind"], found["at"]) == ("noted", "refused", "2026-11-25T10:12:00.000Z")
    assert (found["on_behalf_of"], found["reason"], bool(found["run"])) == (hostile[:200], "deploy 1", True)
    (tmp_path / "full").touch()
    assert record.answer('{"do": "refused"}', settings, NOW) == {"trouble": "the ledger: No space left"}


def test_the_helper_answers_one_question_and_no_other(tmp_path: Path) -> None:
    settings = {"program": str(tmp_path / "no"), "environment": "lab", "app": "storefront", "by": "robot"}
    assert "trouble" in record.answer('{"do": "refused"}', settings, NOW)
    for nonsense in ("", "x", "[]", '{"do": "sh"}', '{"do": "lock"}'):
        assert record.answer(nonsense, settings, NOW) == {"trouble": "that is no question"}


@pytest.mark.parametrize(
    ("line", "shown", "handed_on"),
    [
        ("flag checkout off because it is slow", "flag checkout off", {"flag": "checkout", "state": "off"}),
        ("flag new-search ON", "flag new-search on", {"flag": "new-search", "state": "on"}),
        ("flag checkout reset", "flag checkout reset", {"flag": "checkout", "state": "reset"}),
        ("flag checkout 10%", "flag checkout 10%", {"flag": "checkout", "percent": "10"}),
        ("flag checkout percent=0.5", "flag checkout 0.5%", {"flag": "checkout", "percent": "0.5"}),
        ("panic", "panic", {"confirm": "panic"}),
        ("panic 30 because errors", "panic 30 minutes", {"confirm": "panic", "minutes": "30"}),
        ("panic 2h because errors", "panic 2h", {"confirm": "panic", "minutes": "2h"}),
        ("panic checkout", "panic group checkout", {"confirm": "panic", "group": "checkout"}),
    ],
)
def test_a_switch_is_understood(line: str, shown: str, handed_on: dict[str, str]) -> None:
    wish = flags.order(line.split(), "ada", "#ops")
    assert (str(wish), dict(wish.given)) == (shown, handed_on)
    assert wish.reason == (line.partition("because ")[2] or "asked by ada in #ops")
    told = words.variables(wish, "storefront", "robot", words.Speaker("ada", "ada"))
    assert (told["by"], told["on_behalf_of"]) == ("robot", "ada")


@pytest.mark.parametrize(
    "line",
    [
        "flag",
        "flag checkout",
        "flag {{x}} off",
        "flag checkout maybe",
        "flag checkout 101%",
        "flag checkout 10",
        "flag a on now",
        "panic 0 1",
        "panic ../x",
    ],
)
def test_anything_else_is_answered_with_what_to_say(line: str) -> None:
    assert isinstance(flags.order(line.split(), "ada", "#ops"), str)


@given(st.lists(st.text(alphabet=string.printable + "{}", min_size=1, max_size=9), max_size=4), st.sampled_from(["flag", "panic"]))
def test_nor_does_it_with_a_flag(told: list[str], verb: str) -> None:
    wish = flags.order([verb, *told], "ada", "#ops")
    if not isinstance(wish, str):
        handed_on = words.variables(wish, "storefront", "robot", words.Speaker("ada", "ada"))
        assert not {"{", "}"} & set("".join(handed_on.values()))


def test_each_flag_is_told_and_first_those_that_are_not_as_declared(tmp_path: Path) -> None:
    assert flags.answer(*flags.read(tmp_path), NOW) == ["No feature flags are live."]
    for name, content in live_flags(NOW.timestamp()).items():
        (tmp_path / name).write_text(json.dumps(content))
    head, checkout, gone, rest = flags.answer(*flags.read(tmp_path), NOW)
    assert head == "3 flags in production, generation 7: 2 not as declared"
    assert checkout.startswith("checkout: 10 %, 2 hours ago by robot@ops1 on behalf of ada@desk, because: <script>")
    assert checkout.endswith("which is over")
    assert gone.startswith("gone (not declared any more): off, 2 hours ago")
    assert rest == "as declared: by rules: search; on: discount"


def test_a_switch_to_what_is_declared_by_now_is_as_declared() -> None:
    who = {"by": "ada", "at": "2026-11-25T10:00:00Z"}
    overrides = {"cart": {"state": {"to": "on"}, **who}, "search": {"state": {"to": "on"}, **who}}
    state = {"overrides": overrides, "declared": {"cart": {"to": "on"}, "search": {"percent": 10}}, "environment": "lab", "generation": 3}
    head, listed, rest = flags.answer(state, {"flags": {name: {"defaultVariant": "on"} for name in overrides}}, NOW)
    assert head == "2 flags in lab, generation 3: 1 not as declared"
    assert listed.startswith("search: on, ")
    assert rest == "as declared: on: cart"


def test_many_switches_are_told_in_as_many_lines_as_a_channel_bears() -> None:
    overrides = {f"flag{number}": {"state": {"to": "off"}, "by": "ada", "at": "2026-11-25T10:00:00Z"} for number in range(9)}
    definitions: dict[str, Any] = {name: {"defaultVariant": "on"} for name in [*overrides, "other"]}
    said = flags.answer({"overrides": overrides, "environment": "lab", "generation": 3}, {"flags": definitions}, NOW)
    assert len(said) == 6
    assert said[4] == "6 more: flag3, flag4, flag5, flag6, flag7, flag8"


def test_what_an_order_did_is_what_the_ledger_noted_since() -> None:
    noted = [{"kind": "flag", "by": by, "text": text} for by, text in (("robot", "before"), ("robot", "checkout: on, now off"), ("ada", "other"))]
    assert flags.made(noted, 1, "robot") == "checkout: on, now off"
    wish = words.Order("flag", "checkout off", "x")
    assert words.ended(wish, "", [], NOW, "checkout: on, now off") == "flag checkout off ended well: checkout: on, now off"
    assert words.ended(wish, "no such flag", [], NOW, "") == "flag checkout off failed: no such flag"
    panic = words.Order("panic", "group ordres", "x")
    assert words.ended(panic, "", [], NOW, "checkout: on, now off") == "panic group ordres ended well: checkout: on, now off"
    assert words.ended(panic, "", [], NOW, "").startswith("panic group ordres switched nothing off: no such flag is on")


def seen(*runs: dict[str, Any], until: str = "") -> dict[str, str]:
    override = {"state": {"to": "off"}, "by": "ada", "at": "2026-11-25T09:12:00Z", "reason": "slow", "until": until or None}
    found: dict[str, str] = alerts.found(list(runs), {"overrides": {"checkout": override}}, {"flags": {"checkout": {}}}, NOW)
    return found


def test_an_interrupted_run_and_a_flag_past_its_end_are_alerts_and_nothing_else() -> None:
    records = [
        *lines("run-1", "2026-11-25T09:00:00.000Z", None),
        *lines("run-2", "2026-11-25T10:00:00.000Z", "failed"),
        *lines("run-3", "2026-11-25T10:10:00.000Z", None),
    ]
    under_way = words.runs(records, "storefront", "lab", {"lease": {"owner": {"run": "run-3"}, "until": "2026-11-25T10:13:00Z"}}, NOW)
    assert list(seen(*under_way, until="2026-11-25T10:12:01Z")) == ["run run-1"]
    found = seen(*words.runs(records, "storefront", "lab", {"lease": None}, NOW), until="2026-11-25T10:12:00Z")
    assert list(found) == ["run run-1", "run run-3", "flag checkout 2026-11-25T10:12:00Z"]
    assert found["run run-3"] == "alert: deploy storefront 1.1.0 in lab interrupted, by robot on behalf of ada (2 minutes ago, run run-3)"
    assert found["flag checkout 2026-11-25T10:12:00Z"] == (
        "alert: flag checkout: off, 1 hour ago by ada, because: slow, until 2026-11-25T10:12:00Z, which is over"
    )
    assert alerts.found([], {"overrides": {"x": 3, "y": {"until": "soon"}}}, {}, NOW) == alerts.found([], {"overrides": []}, {"flags": 1}, NOW) == {}


def test_a_run_loses_its_lock_without_a_word_in_the_ledger() -> None:
    records = [*lines("run-1", "2026-11-25T09:00:00.000Z"), *lines("run-2", "2026-11-25T10:00:00.000Z", None)]
    lock = {"lease": {"owner": {"run": "run-2"}, "until": "2026-11-25T10:13:00Z"}}
    open_ones = alerts.unended(words.runs(records, "storefront", "lab", lock, NOW), lock, NOW)
    assert [(run["run"], run["outcome"]) for run in open_ones] == [("run-2", "running")]
    for lock_now, now in ((lock, NOW + timedelta(minutes=1)), ({"lease": None}, NOW)):
        (run,) = alerts.unended(open_ones, lock_now, now)
        assert (run["outcome"], list(seen(run))) == ("interrupted", ["run run-2"])


def test_each_alert_is_told_once_also_by_a_robot_that_was_started_again(tmp_path: Path) -> None:
    path = tmp_path / "told.json"
    assert alerts.untold({"run a": "A"}, alerts.load(path)) == [], "what was before the first robot is no news"
    alerts.keep(path, {"run a": "A"})
    now = {"run a": "A", "run b": "B"}
    assert alerts.untold(now, alerts.load(path)) == ["B"]
    alerts.keep(path, now)
    assert alerts.untold(now, alerts.load(path)) == []
    assert [one.name for one in tmp_path.iterdir()] == ["told.json"]
    for damaged in ("{", "3"):
        path.write_text(damaged)
        assert alerts.load(path) is None


def test_many_alerts_are_as_many_lines_as_a_channel_bears() -> None:
    lines_said = alerts.untold({f"run {number}": str(number) for number in range(9)}, [])
    assert lines_said == ["0", "1", "2", "3", "alert: and 5 more, see status.yml and flags.yml"]


DAMAGED = {"flags of app1": "app1: its file is damaged"}
ALERT = {"fleet: flags of app1": "alert: app1: its file is damaged"}


def test_what_is_wrong_with_the_fleet_counts_when_a_second_look_finds_it_too() -> None:
    looks = alerts.Looks()
    assert looks.answer() == ["I have not looked at the fleet yet."]
    assert not looks.see({})
    assert looks.answer() == ["Nothing is wrong with the fleet."]
    assert looks.see(DAMAGED), "the next look is wanted soon"
    assert looks.alerts([]) == {}
    assert not looks.see(DAMAGED)
    assert (looks.alerts([]), looks.answer()) == (ALERT, list(DAMAGED.values()))
    assert looks.see({"app2": "app2: a switch is half done"}), "what is gone is gone at once, what is new waits"
    assert looks.alerts([]) == {}
    assert not looks.see({})


def test_a_look_that_fails_twice_is_an_alert_and_takes_none_away() -> None:
    looks = alerts.Looks()
    looks.see(DAMAGED)
    looks.see(DAMAGED)
    assert looks.fail("no route to host")
    assert looks.alerts([]) == ALERT
    assert not looks.fail("no route to host")
    assert looks.alerts([]) == {**ALERT, "fleet: the look at the fleet": "alert: the fleet cannot be looked at: no route to host"}
    assert not looks.see(DAMAGED)
    assert looks.alerts([]) == ALERT


def test_an_alert_of_the_fleet_is_told_once_and_when_it_is_over() -> None:
    assert alerts.untold(ALERT, None) == list(ALERT.values()), "what is wrong now is news also to a channel with a new robot"
    assert alerts.untold(ALERT, ["run a"]) == list(ALERT.values())
    assert alerts.untold(ALERT, list(ALERT)) == []
    assert alerts.untold({}, [*ALERT, "run a"]) == ["over: flags of app1"]


def test_a_robot_that_was_started_again_tells_nothing_twice_and_nothing_too_early() -> None:
    looks, told = alerts.Looks(), [*ALERT, "fleet: app2", "run a"]
    assert alerts.untold(looks.alerts(told), told) == []
    assert looks.see(DAMAGED)
    assert alerts.untold(looks.alerts(told), told) == []
    assert not looks.see(DAMAGED)
    assert alerts.untold(looks.alerts(told), told) == ["over: app2"]


def test_the_code_that_confirms_an_order_is_not_cut_off_with_a_long_reason() -> None:
    wish = words.Order("deploy", "1.1.0", "п" * 250)
    assert ": yes abcd - deploy 1.1.0" in words.clean(words.Confirmations().ask("ada", wish, "abcd", 0))
