"""The live state of flags: what is decided, and the shell that reads and replaces it, run here in a folder of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_live, flag_set
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_live import Decision, Live, Order

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
ORDER = Order("ada@laptop", None, "to see", "2026-11-25T18:00:00Z")
DECLARED = """\
flags:
  checkout: {purpose: Buy, owner: shop, kind: release, expires: 2099-01-01, state: {percent: 10}}
  search: {purpose: Find, owner: shop, kind: release, expires: 2099-01-01, state: off, may_change: [lin, "@shop"]}
  banner: {purpose: Tell, owner: shop, kind: ops, expires: null, state: on}
"""


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, flag_set.Flag]:
    return declared(tmp_path, DECLARED)


def declared(folder: Path, text: str) -> dict[str, flag_set.Flag]:
    (folder / "declared").mkdir(exist_ok=True)
    (folder / "declared" / "shop.yml").write_text(text)
    return flag_set.load(folder / "declared")


def decide(flags: Any, before: Decision | None = None, order: Order = ORDER, above: int = 0, **changes: Any) -> Decision:
    live, line = (before.live, before.line) if before else (Live("lab"), b"")
    return flag_live.decide(flags, live, line, changes, order, {"shop": ["eve"]}, date(2026, 11, 25), above)


def test_the_first_time_what_is_declared_is_generation_1_and_then_nothing_changes(flags: Any) -> None:
    first = decide(flags)
    assert (first.changed, first.live.generation, dict(first.live.overrides)) == (True, 1, {})
    assert first.live.digest == hashlib.sha256(first.line).hexdigest()
    again = decide(flags, first)
    assert (again.changed, again.live, again.line) == (False, first.live, first.line)
    assert again.summary == "no flag has changed, generation 1"


def test_a_switch_says_what_was_and_keeps_who_when_why(flags: Any) -> None:
    order = ORDER._replace(until="2026-11-26T18:00:00Z", on_behalf_of="bob", account="deploy@desk")
    off = decide(flags, decide(flags), order, checkout={"state": "off"})
    assert off.summary == "checkout: off (was 10 %), generation 2"
    assert off.live.overrides == {
        "checkout": {
            "state": {"to": "off"},
            "by": "ada@laptop",
            "at": "2026-11-25T18:00:00Z",
            "reason": "to see",
            "until": "2026-11-26T18:00:00Z",
            "on_behalf_of": "bob",
            "account": "deploy@desk",
        }
    }
    mark = {"at": "2026-11-25T18:00:00Z", "by": "ada@laptop", "on_behalf_of": "bob", "account": "deploy@desk", "reason": "to see"}
    assert off.live.changed == {"checkout": mark}
    again = decide(flags, off, order._replace(at="2026-11-25T19:00:00Z"), checkout={"state": "off"})
    assert (again.changed, again.live, again.summary) == (False, off.live, "checkout: off already, generation 2")
    longer = decide(flags, off, checkout={"state": "off"})
    assert longer.live.overrides["checkout"]["until"] is None
    back = decide(flags, off, checkout={"state": "reset"})
    assert (back.summary, dict(back.live.overrides)) == ("checkout: 10 % (was off), generation 3", {})


def test_several_flags_are_one_generation(flags: Any) -> None:
    panic = decide(flags, decide(flags), checkout={"state": "off"}, banner={"state": "off"})
    assert panic.summary == "banner: off (was on); checkout: off (was 10 %), generation 2"


def test_a_declaration_that_changes_takes_back_no_switch(flags: Any, tmp_path: Path) -> None:
    off = decide(flags, decide(flags), checkout={"state": "off"})
    moved = declared(tmp_path, DECLARED.replace("state: on}", "state: off}").replace("percent: 10", "percent: 50"))
    after = decide(moved, off)
    assert (after.live.generation, after.live.overrides) == (3, off.live.overrides)
    assert after.summary == "banner: off (was declared otherwise), generation 3"
    assert after.live.changed["banner"]["reason"] == "its declaration changed"
    assert after.live.changed["checkout"]["reason"] == "to see"


def test_what_is_live_is_brought_as_it_is_where_nobody_has_agreed_to_what_is_declared_by_now(flags: Any, tmp_path: Path) -> None:
    off = decide(flags, decide(flags), checkout={"state": "off"})
    moved = declared(tmp_path, DECLARED.replace("state: on}", "state: off}"))

    def left(line: bytes, above: int = 0, **changes: Any) -> Decision:
        return flag_live.decide(moved, off.live, line, changes, ORDER, {}, date(2026, 11, 25), above, follow=False)

    assert left(off.line) == Decision(off.live, off.line, [], False, "no flag has changed, generation 2")
    assert left(off.line, checkout={"state": "on"}).live.generation == 3
    for damaged in (left(b"{broken\n"), left(off.line, above=57)):
        assert damaged.changed, "there is nothing that could be brought"


def test_a_switch_that_is_declared_by_now_is_kept_and_what_is_declared_is_told(flags: Any, tmp_path: Path) -> None:
    off = decide(flags, decide(flags), checkout={"state": "off"})
    assert off.live.declared == {"checkout": {"percent": 10}}
    followed = declared(tmp_path, DECLARED.replace("{percent: 10}", "off"))
    after = decide(followed, off)
    assert (after.changed, after.line, after.rows) == (True, off.line, []), "hosts get nothing new"
    assert after.live == off.live._replace(declared={"checkout": {"to": "off"}})
    assert swap(tmp_path / "live", Live("lab"), off)
    assert swap(tmp_path / "live", off.live, after)
    assert read(tmp_path / "live") == (after.live, off.line)
    assert not decide(followed, after).changed
    assert decide(followed, after, checkout={"state": "reset"}).live.declared == {}


def test_a_state_of_before_that_told_nothing_of_declarations_is_read(flags: Any, tmp_path: Path) -> None:
    off = decide(flags, decide(flags), checkout={"state": "off"})
    swap(tmp_path, Live("lab"), off)
    kept = json.loads((tmp_path / "state.json").read_text())
    del kept["declared"]
    (tmp_path / "state.json").write_text(json.dumps(kept, sort_keys=True, separators=(",", ":")) + "\n")
    found, _line = read(tmp_path)
    assert found == off.live._replace(declared={})
    after = decide(flags, off._replace(live=found))
    assert swap(tmp_path, found, after)
    assert read(tmp_path)[0] == off.live


def test_a_switch_of_a_flag_that_is_gone_has_no_effect_and_can_be_reset(flags: Any, tmp_path: Path) -> None:
    off = decide(flags, decide(flags), checkout={"state": "off"})
    fewer = declared(tmp_path, "\n".join(line for line in DECLARED.splitlines() if "checkout" not in line))
    without = decide(fewer, off)
    assert "checkout" in without.live.overrides
    assert "checkout" not in json.loads(without.line)["flags"]
    with pytest.raises(flag_set.FlagError, match="there is no flag 'checkout'"):
        decide(fewer, without, checkout={"state": "on"})
    assert decide(fewer, without, checkout={"state": "reset"}).live.overrides == {}


THEME = """\
  theme: {purpose: Look, owner: shop, kind: ops, variants: {light: 1, dark: 2, high: 3}, on: dark, off: light, state: dark, may_change: [lin]}
  poster: {purpose: Tell, owner: shop, kind: ops, state: on, requires: [theme]}
"""
LIN = ORDER._replace(by="lin")


def misfit(folder: Path) -> tuple[Any, Decision]:
    """Flags of which one has lost the variant that somebody has switched it to, and what was live before that."""
    before = declared(folder, DECLARED + THEME)
    switched = decide(before, decide(before), LIN, theme={"state": "high"})
    return declared(folder, DECLARED + THEME.replace(", high: 3", "")), switched


def test_a_switch_that_does_not_fit_any_more_keeps_nobody_from_another_flag_and_stays_as_it_was_published(tmp_path: Path) -> None:
    flags, before = misfit(tmp_path)
    off = decide(flags, before, checkout={"state": "off"})
    assert off.summary.startswith("checkout: off (was 10 %), generation 3; theme stays as it was published, because its switch to high does not fit ")
    assert off.summary.endswith(
        "/shop.yml:5 any more (there is no variant 'high' (there are: light, dark)): playbooks/flag.yml -e flag=theme -e state=reset"
    )
    assert [row["flag"] for row in off.rows if row["changed"]] == ["checkout"]
    was, now = (json.loads(one.line)["flags"] for one in (before, off))
    assert (now["theme"], now["theme"]["defaultVariant"], now["theme"]["variants"]["high"]) == (was["theme"], "high", 3)
    assert now["poster"] == was["poster"]
    assert now["poster"]["defaultVariant"] == "off"
    assert off.live.overrides["theme"] == before.live.overrides["theme"]
    again = decide(flags, off)
    assert (again.changed, again.line) == (False, off.line), "it is published once"
    assert "theme stays as it was published" in again.summary
    merely = decide(flags, before)
    assert (merely.changed, merely.line) == (False, before.line)
    assert merely.summary.startswith("no flag has changed, generation 2; theme stays")


@pytest.mark.parametrize(("words", "variant"), [({"state": "reset"}, "dark"), ({"state": "off"}, "light"), ({"state": "on"}, "dark")])
def test_a_switch_that_does_not_fit_any_more_is_taken_away_by_its_own_flag(tmp_path: Path, words: dict[str, Any], variant: str) -> None:
    flags, before = misfit(tmp_path)
    after = decide(flags, before, LIN, theme=words)
    assert after.summary.partition(" (was high), generation 3")[0] == f"theme: {variant}"
    assert "stays" not in after.summary
    assert json.loads(after.line)["flags"]["theme"]["defaultVariant"] == variant
    assert "high" not in json.loads(after.line)["flags"]["theme"]["variants"]
    with pytest.raises(flag_set.FlagError, match="there is no variant 'high'"):
        decide(flags, before, LIN, theme={"state": "high"})


def test_a_switch_that_does_not_fit_is_off_where_nothing_was_published_of_its_flag(tmp_path: Path) -> None:
    flags, before = misfit(tmp_path)
    without = decide(declared(tmp_path, DECLARED), before)
    for found in (without, before._replace(line=b"{broken\n")):
        after = decide(flags, found)
        assert json.loads(after.line)["flags"]["theme"]["defaultVariant"] == "light"
        assert "theme is off, because its switch to high does not fit " in after.summary
    assert next(row for row in decide(flags, without).rows if row["flag"] == "theme")["after"] == "light"


def test_what_a_flag_requires_counts_also_where_its_switch_does_not_fit_any_more(tmp_path: Path) -> None:
    needs = THEME.replace("state: dark,", "state: dark, requires: [banner],")
    before = declared(tmp_path, DECLARED + needs)
    switched = decide(before, decide(before), LIN, theme={"state": "high"})
    flags = declared(tmp_path, DECLARED + needs.replace(", high: 3", ""))
    off = decide(flags, switched, banner={"state": "off"})
    assert json.loads(off.line)["flags"]["theme"]["defaultVariant"] == "light"
    on = decide(flags, off, banner={"state": "on"})
    assert json.loads(on.line)["flags"]["theme"]["defaultVariant"] == "high"


def test_a_switch_that_fits_nothing_any_more_is_off(tmp_path: Path) -> None:
    flags, before = misfit(tmp_path)
    live = before.live._replace(overrides={"theme": {"state": {"rule": "plan =="}, "by": "lin"}})
    after = decide(flags, before._replace(live=live), checkout={"state": "off"})
    assert json.loads(after.line)["flags"]["theme"]["defaultVariant"] == "light"
    assert "theme is off, because its switch to plan == does not fit " in after.summary


def test_a_switch_whose_rule_does_not_fit_any_more_stays_with_its_rule(tmp_path: Path) -> None:
    before = declared(tmp_path, DECLARED + THEME)
    rule = {"rules": [{"when": "plan == 'gold'", "give": "high"}]}
    first = decide(before)
    live = first.live._replace(overrides={"theme": {"state": rule, "by": "lin"}})
    line = flag_set.render(before, {"theme": rule}, "lab", 1)
    switched = first._replace(live=live._replace(digest=hashlib.sha256(line).hexdigest()), line=line)
    flags = declared(tmp_path, DECLARED + THEME.replace(", high: 3", ""))
    after = json.loads(decide(flags, switched, banner={"state": "off"}).line)["flags"]
    assert after["theme"] == json.loads(line)["flags"]["theme"]
    assert after["poster"] == json.loads(line)["flags"]["poster"]


def test_all_that_is_wrong_is_said_at_once(flags: Any) -> None:
    with pytest.raises(flag_set.FlagError) as error:
        decide(flags, None, ORDER, serch={"state": "on"}, search={"state": "on"}, checkout={"state": "blue"})
    said = str(error.value)
    assert "there is no flag 'serch' in the folder flags beside the inventory (did you mean search?)" in said
    assert "'ada' may not change search (may_change: lin, @shop)" in said
    assert "blue" in said


@pytest.mark.parametrize("who", [ORDER._replace(by="lin"), ORDER._replace(by="eve@ci"), ORDER._replace(by="robot", on_behalf_of="eve")])
def test_who_may_change_a_flag_is_who_wants_it(flags: Any, who: Order) -> None:
    assert decide(flags, None, who, search={"state": "on"}).changed
    with pytest.raises(flag_set.FlagError, match="'ada' may not"):
        decide(flags, None, who._replace(on_behalf_of="ada"), search={"state": "on"})


def test_of_several_flags_those_that_may_be_changed_are_and_the_others_are_named_with_who_may(flags: Any) -> None:
    def panic(order: Order, *keys: str) -> Decision:
        before = decide(flags, None, ORDER._replace(by="lin"), search={"state": "on"})
        changes = {key: {"state": "off"} for key in keys}
        return flag_live.decide(flags, before.live, before.line, changes, order, {}, date(2026, 11, 25), what_may=True)

    some = panic(ORDER, "checkout", "search")
    assert some.summary == "checkout: off (was 10 %), generation 2; NOT search: 'ada' may not"
    assert {key: override["state"] for key, override in some.live.overrides.items()} == {"checkout": {"to": "off"}, "search": {"to": "on"}}
    (why,) = some.refused
    assert why.endswith("/shop.yml:3: 'ada' may not change search (may_change: lin, @shop): ask one of them, or change may_change there")
    every = panic(ORDER._replace(by="lin"), "checkout", "search")
    assert (every.summary, every.refused) == ("checkout: off (was 10 %); search: off (was on), generation 2", [])
    with pytest.raises(flag_set.FlagError, match="'ada' may not change search"):
        panic(ORDER, "search")


def test_where_the_state_was_lost_the_generation_goes_above_what_hosts_have_seen(flags: Any) -> None:
    assert decide(flags, None, ORDER, above=57).live.generation == 58
    assert decide(flags, decide(flags), ORDER, above=2).live.generation == 3
    assert not decide(flags, decide(flags), ORDER, above=1).changed


def test_a_line_that_is_damaged_is_written_again_without_a_new_generation(flags: Any) -> None:
    first = decide(flags)
    mended = flag_live.decide(flags, first.live, b"{broken\n", {}, ORDER, {}, date(2026, 11, 25))
    assert (mended.changed, mended.live, mended.line) == (True, first.live, first.line)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", None),
        ("2h", "2026-11-25T20:00:00Z"),
        ("30m", "2026-11-25T18:30:00Z"),
        ("7d", "2026-12-02T18:00:00Z"),
        ("2026-12-01", "2026-12-01T00:00:00Z"),
        ("2026-12-01T10:00+02:00", "2026-12-01T08:00:00Z"),
        ("2026-11-26T18:00:00Z", "2026-11-26T18:00:00Z"),
    ],
)
def test_an_end_is_a_time_or_a_span(typed: str, meant: str | None) -> None:
    assert flag_live.until(typed, NOW) == meant


@pytest.mark.parametrize(
    ("typed", "said"), [("tomorrow", "-e ends='tomorrow' is no time: write 2h"), ("2020-01-01", "over already"), ("999999w", "is no time")]
)
def test_an_end_that_cannot_be_meant_is_refused(typed: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        flag_live.until(typed, NOW)


def sh(text: str, data: bytes = b"") -> str:
    return subprocess.run(["/bin/sh", "-c", text], input=data, stdout=subprocess.PIPE, check=False).stdout.decode()


def read(folder: Path) -> tuple[Live, bytes]:
    return flag_live.parse_read(sh(flag_live.read_command(str(folder))), "lab")


def swap(folder: Path, before: Live, after: Decision) -> bool:
    return flag_live.parse_swap(sh(*flag_live.swap_command(before, after.live, after.line, str(folder))))


def test_it_is_replaced_only_where_it_is_still_what_was_read(flags: Any, tmp_path: Path) -> None:
    folder = tmp_path / "var" / "flags"
    assert read(folder) == (Live("lab"), b"")
    first = decide(flags)
    assert swap(folder, Live("lab"), first)
    assert read(folder) == (first.live, first.line)
    assert [oct((folder / name).stat().st_mode & 0o7777) for name in (".", "state.json", "flags.json")] == ["0o755", "0o644", "0o644"]
    tricky = ORDER._replace(reason='","digest":"' + "0" * 64 + '","generation":99,"')
    second = decide(flags, first, tricky, checkout={"state": "off"})
    assert not swap(folder, Live("lab"), second), "somebody else made the first"
    assert swap(folder, first.live, second)
    assert not swap(folder, first.live, decide(flags, first, checkout={"state": "on"})), "the other one was quicker"
    assert read(folder) == (second.live, second.line)
    assert sorted(os.listdir(folder)) == ["flags.json", "lock", "state.json"]


def test_a_terminal_between_changes_nothing(flags: Any, tmp_path: Path) -> None:
    first = decide(flags)
    swap(tmp_path, Live("lab"), first)
    shown = sh(flag_live.read_command(str(tmp_path))).replace("\n", "\r\n")
    assert flag_live.parse_read(shown, "lab") == (first.live, first.line)


def test_one_that_sends_nothing_keeps_nobody_else_waiting(flags: Any, tmp_path: Path) -> None:
    first = decide(flags)
    text, _data = flag_live.swap_command(Live("lab"), first.live, first.line, str(tmp_path))
    with subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as silent:
        deadline = time.monotonic() + 10
        while (
            "head" not in subprocess.run(["ps", "-o", "comm=", "--ppid", str(silent.pid)], capture_output=True, text=True, check=False).stdout.split()
        ):
            assert time.monotonic() < deadline, "it reads nothing"
        assert swap(tmp_path, Live("lab"), first)
        assert not flag_live.parse_swap(silent.communicate(b"")[0].decode()), "it finds that somebody else was quicker"


def test_of_many_at_once_one_wins(flags: Any, tmp_path: Path) -> None:
    first = decide(flags)
    swap(tmp_path, Live("lab"), first)
    given = [
        flag_live.swap_command(first.live, one.live, one.line, str(tmp_path))
        for one in (decide(flags, first, checkout={"percent": n}) for n in range(1, 7))
    ]
    running = [subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for text, _ in given]
    won = [flag_live.parse_swap(process.communicate(data)[0].decode()) for process, (_, data) in zip(running, given, strict=True)]
    assert sum(won) == 1
    live, line = read(tmp_path)
    assert (live.generation, live.digest) == (2, hashlib.sha256(line).hexdigest())


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize(
    ("step", "is_done"),
    [
        ("sync .state.json.part", False),
        ("mv -fT .state.json.part", False),
        ("mv -fT .flags.json.next flags.json ||", True),
        ("sync . ||", True),
        ("tell swapped", True),
    ],
)
def test_killed_between_its_two_files_it_is_put_right_by_the_next_command(flags: Any, tmp_path: Path, step: str, is_done: bool, reads: bool) -> None:
    first = decide(flags)
    swap(tmp_path, Live("lab"), first)
    second = decide(flags, first, checkout={"state": "off"})
    text, data = flag_live.swap_command(first.live, second.live, second.line, str(tmp_path))
    killed = text.replace(step, f"kill -9 $$; {step}", 1)
    assert killed != text
    with pytest.raises(ValueError, match="nothing was printed"):
        flag_live.parse_swap(sh(killed, data))
    expected = second if is_done else first
    if not reads:
        third = decide(flags, expected, banner={"state": "off"})
        assert swap(tmp_path, expected.live, third)
        expected = third
    assert read(tmp_path) == (expected.live, expected.line)
    assert not list(tmp_path.glob(".flags*"))


def test_what_arrives_short_is_not_taken(flags: Any, tmp_path: Path) -> None:
    first = decide(flags)
    text, data = flag_live.swap_command(Live("lab"), first.live, first.line, str(tmp_path))
    with pytest.raises(ValueError, match="could not be read or written"):
        flag_live.parse_swap(sh(text, data[:-30]))
    assert read(tmp_path) == (Live("lab"), b"")


@pytest.mark.parametrize("state", [b"{", b"[]\n", b'{"schema": 2}\n'])
def test_a_damaged_state_is_refused_in_words(tmp_path: Path, state: bytes) -> None:
    (tmp_path / "state.json").write_bytes(state)
    with pytest.raises(ValueError, match=r"state\.json is damaged .* from the backup"):
        read(tmp_path)


def test_the_state_of_another_environment_is_refused(flags: Any, tmp_path: Path) -> None:
    swap(tmp_path, Live("lab"), decide(flags))
    with pytest.raises(ValueError, match="is of the environment 'lab', and this inventory is of 'production'"):
        flag_live.parse_read(sh(flag_live.read_command(str(tmp_path))), "production")
