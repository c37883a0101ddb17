"""What operators are shown of flags, from what actions return."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_set, flag_view
from ansible_collections.tossable.fleet.plugins.plugin_utils.flag_live import Live

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
DECLARED = """\
flags:
  checkout: {purpose: Buy, owner: shop, kind: release, expires: 2026-11-24, state: off, groups: [orders]}
  search: {purpose: Find, owner: shop, kind: release, expires: 2026-11-25, state: on}
  banner: {purpose: Tell, owner: news, kind: ops, state: on, groups: [orders]}
"""


def override(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"state": state, "by": "ada", "at": "2026-11-25T15:00:00Z", "reason": "to\nsee", "until": None, "on_behalf_of": None, **more}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "shop.yml").write_text(DECLARED)
    overrides = {
        "checkout": override({"percent": 10}, until="2026-11-25T17:00:00Z", on_behalf_of="eve", account="deploy@desk"),
        "banner": override({"to": "on"}, until="2026-11-26T00:00:00Z", account="ada"),
        "gone": override({"to": "on"}),
    }
    mark = {"by": "lin", "reason": "", "at": "2026-11-25T17:30:00Z"}
    live = Live("lab", 8, overrides, {"checkout": {**mark, "at": "2026-11-25T15:00:00Z"}, "search": mark, "banner": mark}, "d" * 64)
    return {"generation": 8, "digest": "d" * 64, "flags": flag_view.rows(flag_set.load(tmp_path), live, NOW)}


def test_the_table_says_what_differs_since_when_by_whom_and_what_is_over(found: dict[str, Any]) -> None:
    over = "its end has passed (2026-11-25T17:00:00Z): state=reset, or another -e ends=..."
    expired = "EXPIRED 2026-11-24: remove the flag from the code, or give it another date"
    lines = [" ".join(line.split()) for line in flag_view.table(found, {"app1": {"digest": "d" * 64}})]
    assert lines == [
        "flag state declared since by why age expires remarks",
        "banner on - 2026-11-25T15:00:00Z ada to see 3 h - until 2026-11-26T00:00:00Z",
        f"checkout 10 % off 2026-11-25T15:00:00Z ada for eve (account deploy@desk) to see 3 h 2026-11-24 {expired}; {over}",
        "gone no effect not declared 2026-11-25T15:00:00Z ada to see 3 h - its declaration is gone: state=reset takes the switch away",
        "search on - 2026-11-25T17:30:00Z lin - 30 min 2026-11-25",
        "",
        "all 1 hosts hold generation 8",
    ]


def test_the_table_names_a_switch_that_does_not_fit_its_declaration_any_more(tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text(DECLARED)
    live = Live("lab", 8, {"banner": override({"to": "blue"}), "search": override({"to": "off"})}, {}, "d" * 64)
    found: dict[str, Any] = {"generation": 8, "digest": "d" * 64, "flags": flag_view.rows(flag_set.load(tmp_path), live, NOW)}
    assert [row["unfit"] for row in found["flags"]] == ["there is no variant 'blue' (there are: on, off)", "", ""]
    (line,) = [" ".join(line.split()) for line in flag_view.table(found, {}) if line.startswith("banner")]
    assert line == (
        "banner blue on 2026-11-25T15:00:00Z ada to see 3 h - its switch does not fit its declaration any more (there is no variant 'blue' (there "
        "are: on, off)), so it stays as it was published: state=reset takes the switch away"
    )
    assert [row["flag"] for row in flag_view.panic(found, 60, "orders")] == ["banner"], "a panic switches it off"


HOSTS: dict[str, dict[str, Any]] = {
    "app1": {"generation": 8, "digest": "d" * 64, "trouble": ""},
    "app2": {"generation": 7, "digest": "c" * 64, "trouble": ""},
    "app3": {"generation": 0, "digest": "", "trouble": "it cannot be reached: no route"},
    "app4": {"failed": True, "msg": "Timed out after\n15 second(s)."},
}


def test_hosts_that_differ_are_named_with_what_they_hold(found: dict[str, Any]) -> None:
    said = [
        "- app2: it holds generation 7, and 8 is live",
        "- app3: it cannot be reached: no route",
        "- app4: no answer: Timed out after 15 second(s)., and 8 is live",
    ]
    table = flag_view.table(found, HOSTS)
    assert table[-3:] == said
    assert table[-4].startswith("3 of 4 hosts do not hold generation 8")
    missed = flag_view.missed(found, HOSTS).splitlines()
    assert missed[1:4] == said
    assert "playbooks/flag.yml without a flag brings them" in missed[4]
    assert flag_view.missed(found, {"app1": HOSTS["app1"]}) == ""
    assert flag_view.missed(found, HOSTS, check=True) == ""


def test_it_is_told_where_a_host_that_boots_would_not_get_what_is_live(found: dict[str, Any]) -> None:
    def told(**of: Any) -> list[str]:
        return flag_view.table(found, {"app1": HOSTS["app1"]}, signed=[{"item": "ops1", "anew": False, "signed": True, "summary": "", **of}])

    assert told()[-1] == "all 1 hosts hold generation 8"
    assert told(anew=True)[-1] == "- ops1: what is signed for hosts that boot is not generation 8; playbooks/flag.yml without a flag signs it"
    assert told(signed=False, summary="Not signed (no key): run site.yml.")[-1] == "- ops1: Not signed (no key): run site.yml."


def test_where_nothing_could_be_signed_nobody_is_told_that_a_boot_mends_it(found: dict[str, Any]) -> None:
    said = flag_view.missed(found, HOSTS, unsigned=["Not signed for hosts that come back later (it has no key)."])
    assert "gets them before it serves" not in said
    assert "Not signed for hosts that come back later (it has no key). Then bring them with playbooks/flag.yml without a flag" in said


def test_hosts_that_are_ahead_mean_that_the_live_state_was_lost(found: dict[str, Any]) -> None:
    ahead = {"app1": {"generation": 57, "digest": "e" * 64, "trouble": "it holds generation 57, which is later"}}
    assert "run the same command again with -e above=57" in flag_view.missed(found, ahead, newest=9)


def test_hosts_that_hold_a_switch_made_on_top_of_this_one_have_this_one(found: dict[str, Any]) -> None:
    overtaken = {"app1": {"generation": 9, "digest": "e" * 64, "trouble": "it holds generation 9, which is later"}}
    assert flag_view.missed(found, overtaken, newest=9) == ""
    assert "app1: it holds generation 9" in flag_view.missed(found, overtaken)


def test_nothing_published_is_said_as_that(found: dict[str, Any]) -> None:
    assert flag_view.table({**found, "generation": 0, "digest": ""}, HOSTS)[-1].startswith("nothing was published yet")
    assert flag_view.table({**found, "flags": []}, {"app1": HOSTS["app1"]})[0] == "no flag is declared"


def test_panic_is_about_releases_that_changed_lately_or_a_group(found: dict[str, Any]) -> None:
    def names(*given: Any) -> list[str]:
        return [row["flag"] for row in flag_view.panic(found, *given)]

    assert names(60, "") == ["search"]
    for words in ("240", 240.0, "240m", "4h", " 1 d "):
        assert names(words, "") == ["checkout", "search"]
    assert names("29m", "") == names(29, "") == []
    assert names(1, "orders") == ["banner", "checkout"]
    (line,) = flag_view.panic_lines(flag_view.panic(found, 60, ""), 60, "")
    assert line == "search: on -> off (release, owner shop; changed 30 min ago by lin, no reason given)"
    assert "no flag of kind release that is on has changed within 5 minutes" in flag_view.panic_lines([], 5, "")[0]
    assert "no flag of the group 'x' is on" in flag_view.panic_lines([], 5, "x")[0]


@pytest.mark.parametrize("words", ["", "an hour", "1y", "0", "-5", "nan", "inf", "0m"])
def test_a_span_that_a_panic_cannot_mean_is_refused_with_what_to_write(found: dict[str, Any], words: str) -> None:
    for group in ("", "orders"):
        with pytest.raises(ValueError, match=f"minutes='{words}' is no span of time. Write 60, 90m, 1h or 2d"):
            flag_view.panic(found, words, group)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ({}, {}),
        ({"": {"state": None, "percent": None}}, {}),
        ({"a": {"state": None, "percent": 0}}, {"a": {"percent": 0}}),
        ({"a": {"state": False}, "b": {"state": "off"}}, {"a": {"state": False}, "b": {"state": "off"}}),
    ],
)
def test_what_was_typed_becomes_changes(typed: dict[str, Any], meant: dict[str, Any]) -> None:
    assert flag_view.changes(typed) == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"": {"percent": 10}}, "which flag is to be percent=10"),
        ({"a": {"percent": None}}, "there was none"),
        ({"a": {"percent": 1, "state": "on"}}, "there was percent=1, state=on"),
    ],
)
def test_what_was_typed_by_half_is_refused(typed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        flag_view.changes(typed)


def test_spans_are_told_in_one_word() -> None:
    assert [flag_view.span(one) for one in (None, -3, 59, 60, 3599, 3600, 90000)] == ["", "0 s", "59 s", "1 min", "59 min", "1 h", "1 d"]


def evaluated(*flags: str, began: float = 1795600000.0, counts: bool = True) -> dict[str, Any]:
    """What state=counted returns of a host whose application has evaluated these flags."""
    found = {"began": began, "requests": {}, "evaluations": dict.fromkeys(flags, 1.0), "counts_requests": True, "counts_evaluations": counts}
    return {"trouble": "", "counted": {"http://a": found}}


def remarks(found: dict[str, Any], counts: dict[str, Any]) -> dict[str, str]:
    return {line.split()[0]: line for line in flag_view.table(found, {}, counts) if line}


def test_a_flag_that_no_application_has_evaluated_since_its_start_is_marked(found: dict[str, Any]) -> None:
    said = remarks(found, {"app1": evaluated("search"), "app2": evaluated("search", "checkout", began=1795600100.0)})
    marked = {flag for flag, line in said.items() if "NEVER EVALUATED since 2026-11-25T09:46:40Z on 2 of 2 hosts" in line}
    assert marked == {"banner"}, said
    assert "NEVER" not in said["gone"]


def test_hosts_that_cannot_be_heard_are_named_and_not_counted_as_never(found: dict[str, Any]) -> None:
    refused, timed_out = {"trouble": "http://a: refused", "counted": {}}, {"failed": True, "msg": "Timed out"}
    lines = flag_view.table(found, {}, {"app1": refused, "app2": timed_out, "app3": evaluated(counts=False)})
    assert "NEVER" not in "".join(lines)
    assert lines[-4:] == [
        "who evaluates a flag is not known of 3 of 3 hosts:",
        "- app1: http://a: refused",
        "- app2: no answer: Timed out",
        "- app3: it shows no counter of evaluations",
    ]
    assert "on 1 of 2 hosts" in remarks(found, {"app1": refused, "app2": evaluated("search")})["checkout"]


def test_a_rollout_that_is_under_way_is_shown(found: dict[str, Any]) -> None:
    found["flags"][1]["rollout"] = {"run": "r1", "step": 2, "of": 4}
    assert "in a rollout, step 2 of 4" in remarks(found, {})["checkout"]
