# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hand the servers' state from one HAProxy process to the next; called by haproxy.service at four moments.

    starting  before a start: where no state is kept that can still be true, keep every server with an agent out of service
    started   after a start: forget the state, note which configuration is loaded
    reload    let a new process take over from the one that serves; exit code 1 if none came (the old one then goes on)
    stop      before a stop: keep the state, for a start that follows at once

An agent takes the end of its answer as proof that the balancer has acted on it. So nothing may be answered between the
moment the state is saved and the moment the new process asks for itself: first the agents fall silent, then the state
is saved. HAProxy's own `show servers state` into a file alone would lose whatever was answered in between, and would
also bring back the old ports of servers whose ports the configuration has changed.

A server with an agent of which nothing is known gets no request before its agent has said `ready`: it is handed over as
in maintenance. (The keyword `disabled` in the configuration would do that too, but a server that is down would then
come out of a reload as up.)
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

ADMIN_SOCKET: Final = "/run/haproxy/admin.sock"
MASTER_SOCKET: Final = "/run/haproxy-master.sock"
FOLDER: Final = "/run/haproxy-handover"
STATE: Final = f"{FOLDER}/server-state"
LOADED: Final = f"{FOLDER}/loaded.sha256"

SILENCE_SECONDS: Final = 1.0
"""How long agents stay unasked at most: hosts take a balancer that was silent for two seconds for dead."""
ARRIVAL_SECONDS: Final = 30.0
TRUE_SECONDS: Final = 1.5
"""A state older than this may have changed since: hosts did not wait for this balancer."""
COMMANDS_AT_ONCE: Final = 50

# Bits of srv_agent_state (include/haproxy/check-t.h).
IN_PROGRESS: Final = 0x01
ENABLED: Final = 0x04

# The columns of a state file of version 1, in the order in which HAProxy 2.6 to 3.0 write and read them (management guide,
# "show servers state"), each with its value for a server in maintenance of which nothing else is known.
UNKNOWN: Final = {
    "be_id": "0",
    "be_name": "-",
    "srv_id": "0",
    "srv_name": "-",
    "srv_addr": "-",
    "srv_op_state": "0",  # stopped
    "srv_admin_state": "1",  # put into maintenance by hand or by its agent
    "srv_uweight": "100",
    "srv_iweight": "100",
    "srv_time_since_last_change": "0",
    "srv_check_status": "1",
    "srv_check_result": "0",
    "srv_check_health": "0",
    "srv_check_state": "14",
    "srv_agent_state": "22",
    "bk_f_forced_id": "0",
    "srv_f_forced_id": "0",
    "srv_fqdn": "-",
    "srv_port": "0",
    "srvrecord": "-",
    "srv_use_ssl": "0",
    "srv_check_port": "0",
    "srv_check_addr": "-",
    "srv_agent_addr": "-",
    "srv_agent_port": "0",
}
Server = tuple[str, str]
"""Names of backend and server."""


class Place(NamedTuple):
    """What the configuration says of a server."""

    host: str
    port: str
    has_agent: bool


def configured(config: str) -> dict[Server, Place]:
    """The servers of a configuration, as `server NAME ADDRESS:PORT ...` lines of its backends."""
    servers: dict[Server, Place] = {}
    backend = ""
    for line in config.splitlines():
        words = line.partition("#")[0].split()
        if words and not line[0].isspace():
            backend = words[1] if words[0] == "backend" and len(words) > 1 else ""
        elif backend and len(words) > 2 and words[0] == "server":
            host, _colon, port = words[2].rpartition(":")
            servers[backend, words[1]] = Place(host.strip("[]"), port, "agent-check" in words)
    return servers


def rows(state: str) -> Iterator[dict[str, str]]:
    """Each server of an answer to `show servers state`, by column name. Raises ValueError where it is none."""
    lines = iter(state.splitlines())
    for line in lines:
        if line.startswith("# be_id "):
            names = line.removeprefix("# ").split()
            break
    else:
        raise ValueError(f"no answer to 'show servers state': {state.strip()[:200]!r}")
    for line in lines:
        if line.strip():
            yield dict(zip(names, line.split(), strict=True))


def with_agent_state(state: str, bit: int) -> list[Server]:
    """The servers whose agent has this bit set."""
    return [(row["be_name"], row["srv_name"]) for row in rows(state) if int(row["srv_agent_state"]) & bit]


def address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, however it is spelled: HAProxy prints one spelling, and the configuration may have another. None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def carried(known: Iterable[dict[str, str]], config: str, silenced: Collection[Server] = ()) -> str:
    """The state as the next process is to read it: what is known of each server, at the address that the configuration gives.

    A server that is gone is left out; one that is another machine by now counts as unknown.
    """
    known_by_name = {(row["be_name"], row["srv_name"]): row for row in known}
    lines = []
    for server, place in configured(config).items():
        row = known_by_name.get(server)
        wanted = address(place.host)
        if row is None or (wanted is not None and address(row["srv_addr"]) != wanted):
            if not place.has_agent:
                continue
            row = UNKNOWN | {"be_name": server[0], "srv_name": server[1], "srv_addr": place.host}
        changes = {"srv_port": place.port, "srv_check_port": "0", "srv_check_addr": "-", "srv_agent_port": "0", "srv_agent_addr": "-"}
        if server in silenced:
            changes["srv_agent_state"] = str(int(row["srv_agent_state"]) | ENABLED)
        lines.append(" ".join((row | changes)[column] for column in UNKNOWN))
    return "\n".join(["1", "# " + " ".join(UNKNOWN), *lines, ""])


def ask(command: str, path: str = ADMIN_SOCKET) -> str:
    """HAProxy's answer to a line of commands. Raises OSError where there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        connection.connect(path)
        connection.sendall(command.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    return answer.decode()


def pid() -> str:
    """The process that answers on the admin socket. Raises OSError where none does."""
    found = re.search(r"^Pid: (\d+)$", ask("show info"), re.MULTILINE)
    if not found:
        raise OSError("HAProxy answers without its process id")
    return found[1]


def failed_reloads() -> int:
    """How many reloads in a row the master process has seen fail; 0 where it cannot be asked, as while it starts anew."""
    try:
        found = re.search(r"\[failed: (\d+)\]", ask("show proc", MASTER_SOCKET))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def tell_agents(word: str, servers: list[Server]) -> None:
    """`enable` or `disable` the agent checks of these servers. Raises OSError where HAProxy does not answer."""
    for start in range(0, len(servers), COMMANDS_AT_ONCE):
        ask(";".join(f"{word} agent {backend}/{name}" for backend, name in servers[start : start + COMMANDS_AT_ONCE]))


def write(path: str, text: str) -> None:
    """Put the text in place whole. Raises OSError."""
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(beside, path)


def read_config() -> str:
    """The configuration that the unit names."""
    with open(os.environ.get("CONFIG", "/etc/haproxy/haproxy.cfg"), encoding="utf-8") as file:
        return file.read()


def forget() -> None:
    """Leave no state behind that a later start could take for true."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(STATE)


def complete() -> None:
    """The new process has read the state; note which configuration it has loaded, for the role to compare."""
    forget()
    write(LOADED, hashlib.sha256(read_config().encode()).hexdigest() + "\n")


def save() -> list[Server]:
    """Silence the agents, then save the state. Returns the servers whose agents are silent now.

    Raises OSError or ValueError where that fails: then there is no state, and the agents are asked as before.
    """
    silenced: list[Server] = []
    try:
        silenced = with_agent_state(ask("show servers state"), ENABLED)
        tell_agents("disable", silenced)
        wait(lambda: not with_agent_state(ask("show servers state"), IN_PROGRESS), SILENCE_SECONDS / 4)
        write(STATE, carried(rows(ask("show servers state")), read_config(), silenced))
    except (OSError, ValueError):
        forget()
        with contextlib.suppress(OSError):
            tell_agents("enable", silenced)
        raise
    return silenced


def reload() -> int:
    """Save the state, have the master start a new process, and wait for it."""
    master = int(os.environ["MAINPID"])  # set by systemd
    try:
        before = pid()
        silenced = save()
    except (OSError, ValueError) as error:
        print(f"not reloaded, because the state of the servers could not be saved: {error}", file=sys.stderr)
        return 1
    failed_before = failed_reloads()
    os.kill(master, signal.SIGUSR2)

    def has_come() -> bool:
        try:
            return pid() != before
        except OSError:
            return False

    if not wait(has_come, SILENCE_SECONDS):
        with contextlib.suppress(OSError):
            tell_agents("enable", silenced)
        wait(lambda: has_come() or failed_reloads() > failed_before, ARRIVAL_SECONDS)
        if not has_come():
            print(f"no new HAProxy process: the old one (pid {before}) goes on with the configuration it had", file=sys.stderr)
            return 1
    complete()
    return 0


def stop() -> int:
    """Save the state; a process that has crashed has none to give."""
    try:
        save()
    except (OSError, ValueError) as error:
        print(f"the state of the servers is not kept: {error}", file=sys.stderr)
    return 0


def starting() -> int:
    """Begin with nothing known, unless what is kept is fresh enough to be true."""
    try:
        is_true = time.time() - os.stat(STATE).st_mtime <= TRUE_SECONDS
    except FileNotFoundError:
        is_true = False
    if not is_true:
        write(STATE, carried([], read_config()))
    return 0


def started() -> int:
    """The state has been read."""
    complete()
    return 0


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


MOMENTS: Final[dict[str, Callable[[], int]]] = {"starting": starting, "started": started, "reload": reload, "stop": stop}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in MOMENTS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(MOMENTS)}")
    sys.exit(MOMENTS[sys.argv[1]]())
