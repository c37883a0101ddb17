# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is waited for, and until when: decided on notes and tables, with a clock of the test's own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host.balancer import (
    ALIVE_SECONDS,
    DRAIN,
    READY,
    WORDS,
    Drain,
    Told,
    announce,
    connections,
    is_loopback,
    live_connections,
    read_told,
    read_word,
    wait_quiet,
    wait_taken,
    waiting_for,
    write_whole,
)
from hypothesis import given
from hypothesis import strategies as st

SINCE = 1000.0


@pytest.fixture
def drain(tmp_path: Path) -> Drain:
    """A configuration below the test's own folder."""
    (tmp_path / "told").mkdir()
    return Drain(8000, 30.0, str(tmp_path / "run" / "state"), str(tmp_path / "told"), 8001)


class Clock:
    """Time that passes only while somebody sleeps; things may be planned to happen meanwhile."""

    def __init__(self, now: float = SINCE) -> None:
        self.now = now
        self.planned: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at, act in [plan for plan in self.planned if plan[0] <= self.now]:
            act()
            self.planned.remove((at, act))


def note(drain: Drain, peer: str, word: str, asked: float) -> None:
    """Write what the agent would have noted."""
    write_whole(os.path.join(drain.told_dir, peer), word + "\n", stamp_ns=int(asked * 1e9))


def test_from_mapping_names_what_is_missing() -> None:
    """The configuration is written by a role; a gap must not become a default."""
    data = {"port": 8000, "timeout_seconds": 30, "state_file": "/s", "told_dir": "/t", "agent_port": 8001}
    assert Drain.from_mapping(data) == Drain(8000, 30.0, "/s", "/t", 8001)
    del data["told_dir"]
    with pytest.raises(KeyError, match="told_dir"):
        Drain.from_mapping(data)


def test_announce_is_atomic_and_knows_its_words(drain: Drain) -> None:
    """A reader meets the old or the new word, and nothing is left beside, also not by a writer that was killed."""
    announce(READY, drain)
    Path(drain.state_file).with_name(".state.next").write_text("dra")
    for word in sorted(WORDS):
        announce(word, drain)
        assert read_word(drain.state_file) == word
    assert os.listdir(os.path.dirname(drain.state_file)) == ["state"]
    assert os.stat(drain.state_file).st_mode & 0o777 == 0o644
    with pytest.raises(ValueError, match="unknown word 'up'"):
        announce("up", drain)


def test_announce_that_fails_leaves_the_old_word(drain: Drain) -> None:
    """A full tmpfs must not take a host out of service by half."""
    announce(READY, drain)
    os.unlink(drain.state_file)
    os.mkdir(drain.state_file)
    with pytest.raises(OSError, match="state"):
        announce(DRAIN, drain)
    assert os.listdir(os.path.dirname(drain.state_file)) == ["state"]


@pytest.mark.parametrize(
    ("word", "asked", "waited"),
    [
        ("ready", SINCE - 0.1, True),  # has not asked since
        ("ready", SINCE + 0.1, True),  # asked since, and was still told the old word
        ("drain", SINCE - 0.1, True),  # knows the word from an earlier time
        ("drain", SINCE, False),
        ("drain", SINCE + 0.1, False),
        ("ready", SINCE + 0.5 - ALIVE_SECONDS - 0.01, False),  # gone
    ],
)
def test_waiting_for(word: str, asked: float, waited: bool) -> None:
    """One balancer, half a second after the announcement."""
    assert waiting_for({"10.0.0.1": Told(word, asked)}, DRAIN, SINCE, SINCE + 0.5) == ({"10.0.0.1"} if waited else set())


@given(
    st.dictionaries(
        st.ip_addresses(v=4).map(str),
        st.builds(Told, st.sampled_from(sorted(WORDS)), st.floats(SINCE - 10, SINCE + 10)),
        max_size=8,
    ),
    st.sampled_from(sorted(WORDS)),
    st.floats(0, 10),
)
def test_nobody_is_let_off_who_asked_lately_and_does_not_know(told: dict[str, Told], word: str, later: float) -> None:
    """The rule in other words, for any notes."""
    now = SINCE + later
    waited = waiting_for(told, word, SINCE, now)
    for peer, (known, asked) in told.items():
        silent = now - asked > ALIVE_SECONDS
        knows = known == word and asked >= SINCE
        assert (peer in waited) == (not silent and not knows)


def test_wait_taken_by_two_balancers(drain: Drain) -> None:
    """It ends when the last one has taken the word, and says how long each took."""
    clock = Clock()
    for peer in ("10.0.0.1", "10.0.0.2"):
        note(drain, peer, READY, SINCE - 0.1)
    clock.planned.append((SINCE + 0.05, lambda: note(drain, "10.0.0.1", DRAIN, SINCE + 0.05)))
    clock.planned.append((SINCE + 0.15, lambda: note(drain, "10.0.0.2", DRAIN, SINCE + 0.15)))
    result = wait_taken(DRAIN, drain, SINCE, 5, clock=clock, sleep=clock.sleep, ask_agent=lambda _drain: DRAIN)
    assert result.complete
    assert result.seconds == {"10.0.0.1": 0.05, "10.0.0.2": 0.15}
    assert clock.now == pytest.approx(SINCE + 0.15, abs=0.02)


def test_wait_taken_names_who_is_missing(drain: Drain) -> None:
    """A balancer that goes on asking and never takes the word is reported, not waited for without end."""
    clock = Clock()
    note(drain, "10.0.0.1", READY, SINCE + 1)
    result = wait_taken(DRAIN, drain, SINCE, 1, clock=clock, sleep=clock.sleep, ask_agent=lambda _drain: DRAIN)
    assert not result.complete
    assert result.missing == ("10.0.0.1",)


def test_wait_taken_lets_go_of_a_balancer_that_died(drain: Drain) -> None:
    """After it has been silent for long enough."""
    clock = Clock()
    note(drain, "10.0.0.1", READY, SINCE - 0.1)
    result = wait_taken(DRAIN, drain, SINCE, 5, clock=clock, sleep=clock.sleep, ask_agent=lambda _drain: DRAIN)
    assert result.complete
    assert clock.now == pytest.approx(SINCE - 0.1 + ALIVE_SECONDS, abs=0.02)


def test_wait_taken_does_not_trust_the_notes_of_a_dead_agent(drain: Drain) -> None:
    """No notes at all look the same whether no balancer asks or nobody writes them down."""
    clock = Clock()
    result = wait_taken(DRAIN, drain, SINCE, 1, clock=clock, sleep=clock.sleep, ask_agent=lambda _drain: "")
    assert not result.complete
    assert result.missing == ()
    assert result.agent == ""


def test_read_told_skips_what_is_being_written(drain: Drain) -> None:
    """And an agent that never ran means no balancers, not an error."""
    note(drain, "10.0.0.1", READY, 5.0)
    note(drain, ".10.0.0.2.77", READY, 5.0)
    assert read_told(drain.told_dir) == {"10.0.0.1": Told(READY, 5.0)}
    assert read_told(drain.told_dir + "/none") == {}


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 150A4D0A:1F40 0A0A4D0A:C001 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: 150A4D0A:1F40 0A0A4D0A:C002 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   3: 150A4D0A:1F40 0A0A4D0A:C003 03 00000000:00000000 01:00000000 00000000     0        0 0 1 0
   4: 150A4D0A:1F40 0B0A4D0A:C004 08 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 20 4 30 10 -1
   5: 150A4D0A:1F40 0A0A4D0A:C005 05 00000000:00000000 00:00000000 00000000  1000        0 4 1 0 20 4 30 10 -1
   6: 150A4D0A:C006 0A0A4D0A:1F40 01 00000000:00000000 00:00000000 00000000  1000        0 5 1 0 20 4 30 10 -1
   7: 0100007F:1F40 0100007F:C007 01 00000000:00000000 00:00000000 00000000  1000        0 6 1 0 20 4 30 10 -1
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is one of a little-endian machine")
def test_live_connections_of_the_local_port_only() -> None:
    """Not the listener, not what is over, not connections to the same port elsewhere."""
    assert live_connections(TABLE.splitlines(), 8000) == {"10.77.10.10": 2, "10.77.10.11": 1, "127.0.0.1": 1}
    assert live_connections(TABLE.splitlines(), 8001) == {}


def test_connections_counts_real_ones() -> None:
    """From the kernel's own tables, in both families, and not those of the host to itself unless asked."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.create_connection(("127.0.0.1", server.getsockname()[1])) as four,
        socket.create_connection(("::1", server.getsockname()[1])) as six,
    ):
        port = server.getsockname()[1]
        assert connections(port) == {}
        assert connections(port, loopback=True) == {"127.0.0.1": 1, "::1": 1}
        assert four.fileno() != six.fileno()


def test_connections_without_ipv6(tmp_path: Path) -> None:
    """A kernel booted with ipv6.disable=1 has no tcp6 table."""
    (tmp_path / "tcp").write_text(TABLE, encoding="ascii")
    assert sum(connections(8000, proc=str(tmp_path)).values()) == 3


@pytest.mark.parametrize(("address", "is_one"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("::", False)])
def test_is_loopback(address: str, is_one: bool) -> None:
    """The whole of 127.0.0.0/8."""
    assert is_loopback(address) is is_one


def test_wait_quiet_looks_twice(drain: Drain) -> None:
    """A request may arrive between the looks."""
    clock = Clock()
    looks = iter([{"10.0.0.1": 2}, {}, {"10.0.0.1": 1}, {}, {}])
    result = wait_quiet(drain, 5, clock=clock, sleep=clock.sleep, count=lambda _port, loopback: next(looks))
    assert result.complete
    assert result.seconds == pytest.approx(0.01 + 0.025 + 0.01 + 0.025)


def test_wait_quiet_names_who_is_left(drain: Drain) -> None:
    """When time is up."""
    clock = Clock()
    result = wait_quiet(drain, 0.5, clock=clock, sleep=clock.sleep, count=lambda _port, loopback: {"10.0.0.9": 3})
    assert not result.complete
    assert result.left == {"10.0.0.9": 3}
    assert result.seconds == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("peer", "counted"), [("127.0.0.1", True), ("10.0.0.1", False)])
def test_connections_of_this_host_count_where_its_balancer_is(drain: Drain, peer: str, counted: bool) -> None:
    """One machine may run the load balancer and the application."""
    clock = Clock()
    note(drain, peer, DRAIN, SINCE)
    seen: list[bool] = []

    def count(_port: int, loopback: bool) -> dict[str, int]:
        seen.append(loopback)
        return {}

    assert wait_quiet(drain, 1, clock=clock, sleep=clock.sleep, count=count).complete
    assert set(seen) == {counted}
