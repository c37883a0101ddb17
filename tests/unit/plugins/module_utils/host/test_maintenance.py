"""The maintenance page on a load balancer: every process is told, the file is kept, and what fails leaves nothing half switched.

HAProxy is played by its answers, as 2.6 and 3.0 gave them; molecule/load_balancer has the real one.
"""

from __future__ import annotations

import base64
import pathlib
import re
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import maintenance
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from hypothesis import given
from hypothesis import strategies as st

ENTRY = maintenance.Entry("2026-11-25T18:00:00Z", "ada@desk", "the database moves", "Back at six.", 300)
PROC = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
611             master          1 [failed: 0]   0d00h00m04s     2.6.12-1+deb12u4
# workers
923             worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
618             worker          1               0d00h00m04s     2.6.12-1+deb12u4
# programs
"""


class Played(maintenance.HAProxy):
    """A master with two workers; ``stubborn`` refuses changes, ``gone`` ends before it is asked, ``old`` knows no map."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(str(folder / "maintenance.map"), str(folder / "no.sock"))
        self.maps: dict[str, dict[str, str]] = {"923": {}, "618": {}}
        self.requests = {"923": 0, "618": 0}
        self.stubborn = self.gone = self.old = self.last_words = ""
        self.changes = 0

    def _ask(self, command: str) -> str:
        if command == "show proc":
            return PROC
        worker, verb, what, *words = command.removeprefix("@!").split()
        if worker == self.gone:
            return f"Can't find the target PID matching the prefix '@!{worker}'" if verb == "set" else self.last_words
        if (verb, what) == ("show", "stat"):
            return (
                "# pxname,svname,qcur,scur,\n"
                f"shop,s0,0,{self.requests[worker]},\nshop,BACKEND,0,{self.requests[worker] + 5},\nblog,s0,0,7,\nblog,BACKEND,0,7,\n"
            )
        held = self.maps[worker]
        if worker == self.old:
            return "Unknown map identifier. Please use #<id> or <file>."
        assert (what, words[0]) == ("map", self.path)
        if verb == "show":
            return "".join(f"0x55e2ff2e0 {key} {value}\n" for key, value in held.items())
        if worker == self.stubborn:
            return "out of memory"
        assert (words[1] in held) == (verb in ("set", "del")), command
        self.changes += 1
        if verb == "del":
            del held[words[1]]
        else:
            held[words[1]] = words[2]
        return ""


@pytest.fixture
def proxy(tmp_path: pathlib.Path) -> Played:
    return Played(tmp_path)


def on(proxy: Played, entry: maintenance.Entry = ENTRY, **more: Any) -> dict[str, Any]:
    return maintenance.perform("shop", {"operation": "on", "entry": entry._asdict(), **more}, proxy)


def off(proxy: Played, **more: Any) -> dict[str, Any]:
    return maintenance.perform("shop", {"operation": "off", **more}, proxy)


def everywhere(proxy: Played) -> list[dict[str, str]]:
    """What the file and each process hold."""
    return [maintenance.kept(proxy.read()), *proxy.maps.values()]


def test_every_process_and_the_file_are_told_and_a_second_time_changes_nothing(proxy: Played) -> None:
    first = on(proxy)
    assert (first["changed"], first["before"], first["entry"]) == (True, None, ENTRY._asdict())
    assert everywhere(proxy) == [{"shop": maintenance.to_value(ENTRY)}] * 3
    later = ENTRY._replace(since="2026-11-25T19:00:00Z", by="bob@desk")
    changes, text = proxy.changes, proxy.read()
    again = on(proxy, later)
    assert (again["changed"], again["entry"]) == (False, ENTRY._asdict())
    assert (proxy.changes, proxy.read()) == (changes, text)
    assert off(proxy)["changed"]
    assert everywhere(proxy) == [{}] * 3
    assert not off(proxy)["changed"]


def test_another_message_keeps_since_when(proxy: Played) -> None:
    on(proxy)
    changed = on(proxy, ENTRY._replace(since="2026-11-25T19:00:00Z", message="Back at seven."))
    assert changed["changed"]
    assert (changed["entry"]["since"], changed["entry"]["message"]) == (ENTRY.since, "Back at seven.")


def test_other_applications_stay_as_they_are(proxy: Played) -> None:
    maintenance.perform("blog", {"operation": "on", "entry": ENTRY._asdict()}, proxy)
    on(proxy)
    off(proxy)
    assert everywhere(proxy) == [{"blog": maintenance.to_value(ENTRY)}] * 3


@pytest.mark.parametrize("where", ["file", "923", "618"])
def test_what_was_lost_in_one_place_is_mended(proxy: Played, where: str) -> None:
    on(proxy)
    if where == "file":
        pathlib.Path(proxy.path).unlink()
    else:
        proxy.maps[where].clear()
    assert on(proxy)["changed"]
    assert everywhere(proxy) == [{"shop": maintenance.to_value(ENTRY)}] * 3


def test_check_mode_tells_and_changes_nothing(proxy: Played) -> None:
    told = on(proxy, check=True)
    assert (told["changed"], told["entry"]) == (True, ENTRY._asdict())
    assert everywhere(proxy) == [{}] * 3
    on(proxy)
    assert off(proxy, check=True)["changed"]
    assert "shop" in maintenance.kept(proxy.read())


@pytest.mark.parametrize("stubborn", ["923", "618"])
def test_where_one_process_refuses_all_is_put_back(proxy: Played, stubborn: str) -> None:
    on(proxy)
    before = everywhere(proxy)
    proxy.stubborn = stubborn
    with pytest.raises(HostError, match="did not change its map: out of memory"):
        off(proxy)
    assert everywhere(proxy) == before


@pytest.mark.parametrize("words", ["Can't connect to the target CLI!", "", "# pxname,svname,qcur,scur,\nblog,s0,0", "Can't find the target PID"])
def test_a_process_that_ends_meanwhile_is_no_trouble(proxy: Played, words: str) -> None:
    proxy.gone, proxy.last_words = "618", words
    assert maintenance.perform("shop", {"operation": "drain", "deadline_seconds": 60}, proxy)["in_flight"] == {}


def test_a_process_that_takes_requests_and_does_not_answer_is_not_drained(proxy: Played) -> None:
    proxy.gone = "923"
    assert maintenance.perform("shop", {"operation": "drain", "deadline_seconds": 0}, proxy)["in_flight"] == {"a process that did not answer": 1}


def test_a_process_that_is_gone_is_not_told(proxy: Played) -> None:
    proxy.gone = "618"
    assert on(proxy)["changed"]
    assert "shop" in proxy.maps["923"]


def test_a_configuration_without_the_page_is_named(proxy: Played) -> None:
    proxy.old = "618"
    assert on(proxy)["changed"], "an old process that is about to end does not count"
    proxy.old = "923"
    with pytest.raises(HostError, match=r"Run site\.yml"):
        on(proxy)


def test_an_unknown_backend_and_a_dead_haproxy_are_named(proxy: Played, tmp_path: pathlib.Path) -> None:
    with pytest.raises(HostError, match="no backend nobody"):
        maintenance.perform("nobody", {"operation": "show"}, proxy)
    with pytest.raises(HostError, match="does not answer"):
        maintenance.perform("shop", {"operation": "show"}, maintenance.HAProxy(str(tmp_path / "map"), str(tmp_path / "no.sock")))
    with pytest.raises(HostError, match="steal"):
        maintenance.perform("shop", {"operation": "steal"}, proxy)


def test_draining_waits_for_the_servers_of_every_process_and_not_for_the_page(proxy: Played) -> None:
    proxy.requests = {"923": 1, "618": 2}
    asked: list[float] = []

    def a_request_ends(seconds: float) -> None:
        asked.append(seconds)
        busy = next(worker for worker, count in proxy.requests.items() if count)
        proxy.requests[busy] -= 1

    drained = maintenance.perform("shop", {"operation": "drain", "deadline_seconds": 60}, proxy, a_request_ends)
    assert (drained["in_flight"], len(asked)) == ({}, 3)
    proxy.requests = {"923": 0, "618": 2}
    late = maintenance.perform("shop", {"operation": "drain", "deadline_seconds": 0}, proxy)
    assert late["in_flight"] == {"s0": 2}


def page(entry: maintenance.Entry) -> str:
    """What HAProxy writes in place of the message."""
    return base64.b64decode(maintenance.to_value(entry).split("|")[2]).decode()


@given(st.text(max_size=200), st.text(max_size=100))
def test_any_message_is_one_word_comes_back_whole_and_is_no_markup(message: str, reason: str) -> None:
    entry = ENTRY._replace(message=message.encode(errors="replace").decode(), reason=reason.encode(errors="replace").decode())
    value = maintenance.to_value(entry)
    assert re.fullmatch(r"300\|[\w+/=]+\|[\w+/=]*", value, re.ASCII)
    assert maintenance.from_value(value) == entry
    assert maintenance.kept(maintenance.as_file({"shop": value})) == {"shop": value}
    shown = page(entry)
    assert re.fullmatch(r"[ -~]*", shown), "HAProxy writes anything else as %XX"
    assert not re.search(r"[<>\"']", shown.replace("<br>", ""))


def test_a_message_is_text_and_its_lines_are_kept() -> None:
    assert page(ENTRY._replace(message='<script>\n"50 %" é')) == "&lt;script&gt;<br>&quot;50 %&quot; &#233;"


@pytest.mark.parametrize("changes", [{"message": "x" * 4001}, {"message": "é" * 1000}, {"reason": "x" * 9000}])
def test_what_does_not_fit_is_refused_before_anything_changes(proxy: Played, changes: dict[str, Any]) -> None:
    with pytest.raises(HostError, match="too long"):
        on(proxy, ENTRY._replace(**changes))
    assert everywhere(proxy) == [{}] * 3


@pytest.mark.parametrize("value", ["", "x", "300|!!|", "300|e30=|", "300|bnVsbA==|"])
def test_a_value_from_elsewhere_is_told_as_such(value: str) -> None:
    assert "did not write" in maintenance.from_value(value).reason
