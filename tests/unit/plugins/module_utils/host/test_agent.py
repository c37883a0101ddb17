# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent on real sockets: who is answered, who is noted, and that nobody can stop it from answering others."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import agent as agent_module
from ansible_collections.tossable.fleet.plugins.module_utils.host.agent import CONNECTIONS, PEERS, Agent, main
from ansible_collections.tossable.fleet.plugins.module_utils.host.balancer import (
    SELF_ADDRESS,
    Drain,
    announce,
    ask,
    read_told,
    wait_taken,
)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine that runs the tests, no answer counts as late unless a test says so."""
    monkeypatch.setattr(agent_module, "LATE_MILLISECONDS", 60_000)


@pytest.fixture
def drain(tmp_path: Path) -> Drain:
    """A configuration whose port is filled in by the `agent` fixture."""
    told = tmp_path / "told"
    told.mkdir()
    return Drain(8000, 30.0, str(tmp_path / "run" / "state"), str(told), 0)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket of both families, as systemd makes it."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256) as sock:
        yield sock


@pytest.fixture
def agent(drain: Drain, listener: socket.socket) -> Iterator[Agent]:
    """An agent that does nothing until a test gives it a turn."""
    made = Agent(drain, listener)
    yield made
    made.close()


class Peer:
    """A load balancer that connects from an address of its own."""

    def __init__(self, listener: socket.socket, address: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 2, source_address=(address, 0))

    def read(self) -> bytes:
        """The whole answer that has arrived."""
        return self.socket.recv(64)

    def close(self) -> None:
        """Close in the ordinary way."""
        self.socket.close()

    def reset(self) -> None:
        """Close as HAProxy does, without lingering."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def turns(agent: Agent, count: int = 3) -> None:
    """Let the agent do what is due now."""
    for _ in range(count):
        agent.turn(0.02)


def taken(drain: Drain) -> dict[str, str]:
    """Which balancer is noted with which word."""
    return {peer: note.word for peer, note in read_told(drain.told_dir).items()}


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (None, b"maint\n"),
        ("ready\n", b"ready\n"),
        ("drain", b"drain\n"),
        ("up\n", b"maint\n"),
        ("", b"maint\n"),
        ("\xff", b"maint\n"),
    ],
)
def test_answers_the_word_and_maint_for_anything_else(
    agent: Agent, drain: Drain, listener: socket.socket, content: str | None, answer: bytes
) -> None:
    """An unknown state must take the host out of service, never into it."""
    if content is not None:
        Path(drain.state_file).parent.mkdir()
        Path(drain.state_file).write_text(content, encoding="latin-1")
    peer = Peer(listener)
    turns(agent)
    assert peer.read() == answer
    peer.close()


def test_an_unreadable_state_is_maint(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """Also where the state is not even a file."""
    os.makedirs(drain.state_file)
    peer = Peer(listener)
    turns(agent)
    assert peer.read() == b"maint\n"
    peer.close()


@pytest.mark.parametrize("way", ["close", "reset"])
def test_notes_a_peer_once_it_has_closed(agent: Agent, drain: Drain, listener: socket.socket, way: str) -> None:
    """While it is open the balancer may not have acted on the word yet."""
    announce("ready", drain)
    peer = Peer(listener, "127.0.0.7")
    turns(agent)
    assert peer.read() == b"ready\n"
    assert taken(drain) == {}
    getattr(peer, way)()
    turns(agent)
    assert taken(drain) == {"127.0.0.7": "ready"}
    assert len(agent) == 0


def test_a_word_that_changes_between_answer_and_close_is_noted_as_it_was_answered(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """The note says what the balancer knows, not what the host wishes."""
    before = announce("ready", drain)
    peer = Peer(listener)
    turns(agent)
    since = announce("drain", drain)
    peer.close()
    turns(agent)
    note = read_told(drain.told_dir)["127.0.0.1"]
    assert note.word == "ready"
    assert before <= note.asked < since

    peer = Peer(listener)
    turns(agent)
    assert peer.read() == b"drain\n"
    peer.close()
    turns(agent)
    note = read_told(drain.told_dir)["127.0.0.1"]
    assert note.word == "drain"
    assert note.asked >= since


def test_asking_again_renews_the_time_without_writing_the_file_anew(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """Five asks a second are five touches, not five files."""
    announce("ready", drain)
    inodes, times = [], []
    for _ in range(2):
        peer = Peer(listener)
        turns(agent)
        peer.close()
        turns(agent)
        status = os.stat(os.path.join(drain.told_dir, "127.0.0.1"))
        inodes.append(status.st_ino)
        times.append(status.st_mtime_ns)
    assert inodes[0] == inodes[1]
    assert times[0] < times[1] <= time.monotonic_ns()


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_peer_that_closes_before_the_answer_is_not_noted(agent: Agent, drain: Drain, listener: socket.socket, way: str) -> None:
    """It has been told nothing."""
    getattr(Peer(listener), way)()
    turns(agent)
    assert taken(drain) == {}
    assert len(agent) == 0


def test_a_peer_that_waited_too_long_for_its_answer_is_not_noted(
    agent: Agent, drain: Drain, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have given up in the very moment of the answer, and closing after a time-out looks the same."""
    monkeypatch.setattr(agent_module, "LATE_MILLISECONDS", 100)
    peer = Peer(listener)
    time.sleep(0.15)
    turns(agent)
    assert peer.read() == b"maint\n"
    peer.close()
    turns(agent)
    assert taken(drain) == {}


def test_the_host_itself_is_answered_but_not_noted(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """Else a transaction that asks its own agent would wait for itself."""
    peer = Peer(listener, SELF_ADDRESS)
    turns(agent)
    peer.close()
    turns(agent)
    assert taken(drain) == {}


def test_a_stuck_peer_stops_nobody(agent: Agent, drain: Drain, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs one slot: another peer is served while it sits there."""
    monkeypatch.setattr(agent_module, "DEADLINE_SECONDS", 60.0)
    stuck, peer = Peer(listener, "127.0.0.2"), Peer(listener, "127.0.0.3")
    turns(agent)
    peer.close()
    turns(agent)
    assert taken(drain) == {"127.0.0.3": "maint"}
    assert len(agent) == 1
    stuck.close()


def test_a_stuck_peer_is_dropped_at_its_deadline(agent: Agent, drain: Drain, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was answered, and took nothing."""
    monkeypatch.setattr(agent_module, "DEADLINE_SECONDS", 0.05)
    stuck = Peer(listener, "127.0.0.2")
    turns(agent)
    began = time.monotonic()
    while len(agent):
        agent.turn(0.02)
        assert time.monotonic() - began < 30
    assert stuck.read() == b"maint\n"
    assert stuck.read() == b""
    stuck.close()
    assert taken(drain) == {}


def test_a_peer_that_talks_is_heard_out_or_cut_off(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """HAProxy may send a line of its own (agent-send); one that never stops must not keep the agent busy."""
    polite = Peer(listener, "127.0.0.2")
    polite.socket.sendall(b"backend/server\n")
    turns(agent)
    polite.close()
    turns(agent)
    assert taken(drain) == {"127.0.0.2": "maint"}

    chatty = Peer(listener, "127.0.0.3")
    turns(agent)
    for _ in range(50):
        with contextlib.suppress(OSError):
            chatty.socket.sendall(b"x" * 256)
        agent.turn(0.02)
        if not len(agent):
            break
    assert len(agent) == 0
    chatty.close()
    assert "127.0.0.3" not in taken(drain)


def test_more_stuck_peers_than_slots_leave_room_for_a_new_one(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """The oldest goes first, so a balancer is answered at once however many hang."""
    stuck = [Peer(listener, "127.0.0.2") for _ in range(CONNECTIONS + 40)]
    turns(agent, 4)
    assert len(agent) == CONNECTIONS
    peer = Peer(listener, "127.0.0.3")
    turns(agent)
    assert peer.read() == b"maint\n"
    peer.close()
    turns(agent)
    assert taken(drain) == {"127.0.0.3": "maint"}
    for other in stuck:
        other.close()
    turns(agent)
    assert len(agent) == 0


def test_many_peers_are_all_noted_and_the_longest_silent_is_forgotten(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """The folder stays bounded, whoever asks."""
    for number in range(1, PEERS + 6):
        peer = Peer(listener, f"127.0.1.{number}")
        turns(agent, 1)
        peer.close()
        turns(agent, 1)
    notes = taken(drain)
    assert len(notes) == PEERS
    assert "127.0.1.1" not in notes
    assert f"127.0.1.{PEERS + 5}" in notes


def test_no_descriptor_is_lost(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """After a thousand peers of all manners as many are open as before."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1000):
        peer = Peer(listener)
        if number % 3:
            turns(agent, 1)
        (peer.reset if number % 2 else peer.close)()
        turns(agent, 1)
    turns(agent)
    assert len(agent) == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_or_missing_folder_does_not_stop_the_answers(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """The word matters more than the note; the note comes back by itself."""
    announce("ready", drain)
    os.rmdir(drain.told_dir)
    for _ in range(3):
        peer = Peer(listener)
        turns(agent)
        assert peer.read() == b"ready\n"
        peer.close()
        turns(agent)
    os.mkdir(drain.told_dir)
    peer = Peer(listener)
    turns(agent)
    peer.close()
    turns(agent)
    assert taken(drain) == {"127.0.0.1": "ready"}


def test_a_note_that_was_removed_is_written_anew(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """Two asks later at most."""
    for _ in range(3):
        peer = Peer(listener)
        turns(agent)
        peer.close()
        turns(agent)
        if _ == 0:
            os.unlink(os.path.join(drain.told_dir, "127.0.0.1"))
    assert taken(drain) == {"127.0.0.1": "maint"}


def test_running_out_of_descriptors_is_survived(agent: Agent, drain: Drain, listener: socket.socket) -> None:
    """The peer waits in the backlog and is answered when there is room again."""
    peer = Peer(listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        agent.turn(0)
        assert len(agent) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    turns(agent)
    assert peer.read() == b"maint\n"
    peer.close()


def test_the_host_asks_its_own_agent(drain: Drain, listener: socket.socket) -> None:
    """And hears nothing where there is none."""
    port = listener.getsockname()[1]
    child = os.fork()
    if child == 0:
        try:
            agent_module.serve(drain, listener)
        finally:
            os._exit(1)
    try:
        here = drain._replace(agent_port=port)
        since = announce("ready", drain)
        assert ask(here) == "ready"
        result = wait_taken("ready", here, since, 2)
        assert result.complete
        assert result.seconds == {}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    listener.close()
    assert ask(here) == ""


def test_it_ends_when_another_version_has_been_installed(drain: Drain, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systemd then starts that one on the same socket; who asks meanwhile waits there."""
    monkeypatch.setattr(agent_module, "LOOK_SECONDS", 0.0)
    Peer(listener).close()
    agent_module.serve(drain, listener, lambda: True)
    Peer(listener).close()


def test_without_a_socket_from_systemd_it_says_what_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody ran it by hand."""
    assert main("storefront") == 2
    assert "start storefront-agent.socket" in capsys.readouterr().err
