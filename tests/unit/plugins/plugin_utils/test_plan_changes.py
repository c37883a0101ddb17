"""What lies between two releases, and how long the way takes, told from manifests and reports."""

from __future__ import annotations

from typing import Any

from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import Archive, Entry, Manifest
from ansible_collections.tossable.fleet.plugins.plugin_utils import plan_changes


def manifest(*entries: Entry) -> Manifest:
    return Manifest("shop", "1", None, "", "", Archive("", "aa", 1), entries, 0, {}, ("web",))


def file(path: str, content: str = "", mode: str = "0644") -> Entry:
    return Entry(path, "file", mode, len(content), content)


def move(wave: int = 1, changes: bool = True, start: str | None = "1-aa") -> dict[str, Any]:
    return {"from": start, "to": "2-bb", "changes": changes, "wave": wave}


def took(*seconds: float, staged: bool = True, stage: tuple[float, ...] = ()) -> dict[str, Any]:
    return {"switch_seconds": list(seconds), "stage_seconds": list(stage), "staged": ["1-aa", *(["2-bb"] if staged else [])]}


def test_files_are_added_changed_and_removed_and_folders_are_none() -> None:
    old = manifest(Entry("lib", "directory", "0755"), file("a", "x"), file("b", "x"), file("c", "x"), Entry("l", "link", "0777", target="a"))
    new = manifest(Entry("etc", "directory", "0755"), file("a", "x"), file("b", "y"), file("d"), Entry("l", "link", "0777", target="b"))
    assert plan_changes.files(old, new) == {
        "added": {"count": 1, "first": ["d"]},
        "changed": {"count": 2, "first": ["b", "l"]},
        "removed": {"count": 1, "first": ["c"]},
    }


def test_a_mode_alone_is_a_change() -> None:
    assert plan_changes.files(manifest(file("a")), manifest(file("a", mode="0755")))["changed"]["first"] == ["a"]


def test_of_many_files_the_first_ten_are_named() -> None:
    found = plan_changes.files(manifest(), manifest(*(file(f"{number:02}") for number in range(12))))
    assert found["added"] == {"count": 12, "first": [f"{number:02}" for number in range(10)]}
    assert plan_changes.shown(found["added"]["first"][:2], 12) == "00, 01 and 10 more"
    assert plan_changes.shown(["a"], 1) == "a"


def test_hosts_whose_variables_change_alike_are_told_together() -> None:
    reports = {host: {"configuration": {"wanted": "x", "changes": changes}} for host, changes in {"a": ["+NEW"], "b": [], "c": ["+NEW"]}.items()}
    assert plan_changes.configuration(reports) == [{"hosts": ["a", "c"], "changes": ["+NEW"]}, {"hosts": ["b"], "changes": []}]


def test_hosts_that_report_no_configuration_are_left_out() -> None:
    assert plan_changes.configuration({"a": {}, "b": {"configuration": None}}) == []


def test_each_wave_takes_as_long_as_its_slowest_host_by_the_median() -> None:
    moves = {"a": move(1), "b": move(2), "c": move(2), "d": move(3, changes=False)}
    found = plan_changes.estimate(moves, {"a": took(1, 1, 9), "b": took(2, 2), "c": took(3), "d": took(100)}, "2-bb", 0)
    assert (found["seconds"], found["switching"]) == (4, 4)
    assert (found["fewest"], found["most"], found["without_history"]) == (1, 3, [])


def test_waves_that_change_something_bake() -> None:
    found = plan_changes.estimate({"a": move(1), "b": move(2), "c": move(3, changes=False)}, dict.fromkeys("abc", took(1)), "2-bb", 30)
    assert (found["seconds"], found["baking"]) == (62, 60)


def test_staging_counts_where_a_host_has_to_do_it() -> None:
    reports = {"a": took(1, staged=False, stage=(4, 6)), "b": took(1, stage=(50,))}
    assert plan_changes.estimate({"a": move(), "b": move()}, reports, "2-bb", 0)["seconds"] == 6
    assert plan_changes.estimate({"a": move(), "b": move()}, {**reports, "a": took(1, staged=False)}, "2-bb", 0)["seconds"] == 1


def test_a_host_without_history_counts_as_the_slowest_other() -> None:
    found = plan_changes.estimate({"a": move(1), "b": move(2), "c": move(3)}, {"a": took(1), "b": took(2), "c": {}}, "2-bb", 0)
    assert (found["seconds"], found["without_history"]) == (5, ["c"])


def test_without_any_history_nothing_is_made_up() -> None:
    assert plan_changes.estimate({"a": move()}, {"a": {}}, "2-bb", 0)["seconds"] is None
    assert plan_changes.estimate({"a": move(changes=False)}, {"a": {}}, "2-bb", 0)["seconds"] == 0


def test_only_hosts_that_do_not_have_the_release_fetch_it() -> None:
    assert plan_changes.to_fetch({"a": took(), "b": took(staged=False)}, "2-bb", 7) == {"bytes": 7, "hosts": ["b"]}


def test_a_live_release_is_compared_once_for_all_its_hosts() -> None:
    moves = {"a": move(), "b": move(start="0-zz"), "c": move(), "d": move(start=None), "e": move(start="2-bb", changes=False)}
    assert plan_changes.live_releases(moves) == {"1-aa": ["a", "c"], "0-zz": ["b"]}
    assert plan_changes.first_on(moves) == ["d"]
