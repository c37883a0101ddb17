# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The maintenance page of an application, on a load balancer. Asked as ``maintenance <app> <json>``, one operation a call.

HAProxy answers for a backend with the page as long as the backend's name is a key of its map (the role load_balancer writes the
rule). The map is a file, which every new HAProxy process reads, and a copy in each process that runs, which is changed through the
master's socket: no reload, so no counter begins anew and no agent stays unasked. Processes that a reload has replaced are told too:
they still have clients.

A value is what HAProxy needs and what people want to know, in three fields (base64 where it is text, so that it is one word)::

    storefront 300|<record, JSON>|<message, HTML>
"""

from __future__ import annotations

import base64
import contextlib
import csv
import html
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from . import system
from .errors import HostError

#: Where the role load_balancer tells HAProxy to look.
MAP = "/var/lib/tossable/maintenance.map"
MASTER_SOCKET = "/run/haproxy-master.sock"
#: A master that reads a new configuration answers when it is done.
ANSWER_SECONDS = 10.0
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.1
#: Bytes of a message as HTML, and of a value: HAProxy's buffer (16 KiB) has to hold page and message, and a command with the value.
MOST_MESSAGE, MOST_VALUE = 4000, 12000

_NO_SERVERS = ("FRONTEND", "BACKEND")


class Entry(NamedTuple):
    """An application is in maintenance: ``since`` is UTC, ISO 8601; ``retry_after`` (seconds) is what clients are told."""

    since: str
    by: str
    reason: str
    message: str
    retry_after: int

    def same_wish(self, other: Entry) -> bool:
        """Whether both ask for the same, whoever asked and when."""
        return (self.reason, self.message, self.retry_after) == (other.reason, other.message, other.retry_after)


def as_html(text: str) -> str:
    """The text as HTML in printable ASCII: HAProxy writes anything else as %XX."""
    lines = (html.escape(" ".join(line.split())) for line in text.splitlines())
    return "".join(letter for letter in "<br>".join(lines) if letter.isprintable()).encode("ascii", "xmlcharrefreplace").decode()


def to_value(entry: Entry) -> str:
    """The entry as a value of the map. Raises HostError where it is too long for a page."""
    message = as_html(entry.message)
    record = json.dumps({"since": entry.since, "by": entry.by, "reason": entry.reason, "message": entry.message})
    value = f"{entry.retry_after}|{base64.b64encode(record.encode()).decode()}|{base64.b64encode(message.encode()).decode()}"
    if len(message) > MOST_MESSAGE or len(value) > MOST_VALUE:
        raise HostError(f"The message and the reason are too long for the page: at most {MOST_MESSAGE} letters of HTML. Shorten -e message=.")
    return value


def from_value(value: str) -> Entry:
    """The entry from a value of the map; what cannot be read is said in its place, because the page is shown all the same."""
    retry_after, _separator, rest = value.partition("|")
    try:
        return Entry(**json.loads(base64.b64decode(rest.partition("|")[0], validate=True)), retry_after=int(retry_after))
    except (TypeError, ValueError):
        return Entry("unknown", "unknown", f"{MAP} holds what this program did not write", "", 0)


def listed(answer: str) -> dict[str, str]:
    """Key to value, from HAProxy's answer to `show map`: `0x<address> <key> <value>` lines."""
    return dict(re.findall(r"^0x[0-9a-f]+ (\S+) (\S+)$", answer, re.MULTILINE))


def kept(text: str) -> dict[str, str]:
    """Key to value, from the file."""
    words = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {line[0]: line[1] for line in words if len(line) == 2}


def as_file(values: Mapping[str, str]) -> str:
    """The file with these values."""
    head = "# Which applications are in maintenance; written by playbooks/maintenance.yml, and never by a role.\n"
    return head + "".join(f"{key} {value}\n" for key, value in sorted(values.items()))


def in_flight(answer: str, backend: str) -> dict[str, int]:
    """Server to requests that it works on (``queue``: that wait for a server), from HAProxy's answer to `show stat`.

    Raises KeyError where it has no such backend.
    """
    lines = answer[answer.index("# pxname") + 2 :].splitlines() if "# pxname" in answer else []
    rows = [row for row in csv.DictReader(lines) if row["pxname"] == backend]
    if not any(row["svname"] == "BACKEND" for row in rows):
        raise KeyError(backend)
    waiting = {"queue": sum(int(row["qcur"] or 0) for row in rows if row["svname"] == "BACKEND")}
    busy = {row["svname"]: int(row["scur"] or 0) for row in rows if row["svname"] not in _NO_SERVERS}
    return {name: count for name, count in (busy | waiting).items() if count}


def processes(answer: str) -> list[str]:
    """Process ids of HAProxy's workers, the newest first, from the master's answer to `show proc`."""
    return re.findall(r"^(\d+)\s+worker\s", answer, re.MULTILINE)


class HAProxy:
    """The processes of HAProxy on this host, and the map."""

    def __init__(self, path: str = MAP, master: str = MASTER_SOCKET) -> None:
        self.path = path
        self._master = master

    def workers(self) -> list[str]:
        """Process ids, the one that takes new connections first; a HostError where HAProxy does not run."""
        found = processes(self._ask("show proc"))
        if not found:
            raise HostError("HAProxy runs without a worker process. Look at: systemctl status haproxy")
        return found

    def ask(self, worker: str, command: str) -> str:
        """A worker's answer; empty where it has ended meanwhile: `Can't find the target PID ...`, `Can't connect to the target CLI!`."""
        answer = self._ask(f"@!{worker} {command}")
        return "" if answer.startswith("Can't ") else answer

    def live(self, worker: str) -> dict[str, str] | None:
        """What a worker's copy of the map holds; None where it has none, because its configuration is older than the page."""
        answer = self.ask(worker, f"show map {self.path}")
        return None if "Unknown map" in answer else listed(answer)

    def tell(self, worker: str, app: str, value: str | None) -> None:
        """Change a worker's copy, if it has one; a HostError with its words where it does not do so."""
        there = self.live(worker)
        if there is None or there.get(app) == value:
            return
        if value is None:
            said = self.ask(worker, f"del map {self.path} {app}")
        else:
            said = self.ask(worker, f"{'set' if app in there else 'add'} map {self.path} {app} {value}")
        if said.strip():
            raise HostError(f"HAProxy (process {worker}) did not change its map: {said.strip()}")

    def read(self) -> str:
        """The file; empty where there is none."""
        try:
            with open(self.path, encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, text: str) -> None:
        """Replace the file in one step."""
        system.write_file(self.path, text.encode(), 0o644)

    def _ask(self, command: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.connect(self._master)
                connection.sendall(command.encode() + b"\n")
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while received := connection.recv(65536):
                    answer += received
        except OSError as error:
            raise HostError(f"HAProxy does not answer on {self._master} ({error}). Look at: systemctl status haproxy") from None
        return answer.decode(errors="replace").strip("\n")


def perform(
    app: str, given: Mapping[str, Any], proxy: HAProxy | None = None, sleep: Callable[[float], object] = time.sleep, lock: str | None = None
) -> dict[str, Any]:
    """Do one operation (``operation``: show, on, off or drain) and return the entry with what became of it.

    Returns ``entry`` (None where the application is served), ``before``, ``changed``; ``drain`` also ``in_flight``, the requests that
    servers still work on after ``deadline_seconds``, and ``seconds``. ``check`` only tells what would be. A HostError means that nothing is
    other than before.
    """
    proxy = proxy or HAProxy()
    operation = given["operation"]
    if operation == "drain":
        return _drain(app, float(given["deadline_seconds"]), proxy, sleep)
    if operation not in ("show", "on", "off"):
        raise HostError(f"Maintenance knows no operation {operation!r}, only show, on, off and drain.")
    with _alone(lock or f"{proxy.path}.lock") if operation != "show" else contextlib.nullcontext():
        workers = proxy.workers()
        _in_flight(app, [workers[0]], proxy)
        copies = [proxy.live(worker) for worker in workers]
        if copies[0] is None:
            raise HostError(
                f"HAProxy was not told of {proxy.path}: its configuration is older than the maintenance page. Run site.yml for this host."
            )
        values = kept(proxy.read())
        value = copies[0].get(app)
        before = from_value(value) if value else None
        if operation == "on":
            wish = Entry(**given["entry"])
            value = value if before and before.same_wish(wish) else to_value(wish._replace(since=before.since) if before else wish)
        elif operation == "off":
            value = None
        changed = operation != "show" and any(one is not None and one.get(app) != value for one in (values, *copies))
        if changed and not given.get("check"):
            _set(app, value, values, proxy)
    return {"changed": changed, "before": before and before._asdict(), "entry": from_value(value)._asdict() if value else None}


def _set(app: str, value: str | None, values: Mapping[str, str], proxy: HAProxy) -> None:
    """Write the file, then tell every worker; where one refuses, all is put back.

    The file first: a process that begins from now on has read it, and those that began before are in the list that is asked for after.
    """
    old = values.get(app)
    proxy.write(as_file(_with(values, app, value)))
    try:
        for worker in proxy.workers():
            proxy.tell(worker, app, value)
    except HostError:
        proxy.write(as_file(values))
        with contextlib.suppress(HostError):
            for worker in proxy.workers():
                proxy.tell(worker, app, old)
        raise


def _with(values: Mapping[str, str], app: str, value: str | None) -> dict[str, str]:
    return {key: other for key, other in values.items() if key != app} | ({} if value is None else {app: value})


def _drain(app: str, deadline_seconds: float, proxy: HAProxy, sleep: Callable[[float], object]) -> dict[str, Any]:
    """Wait until no server works on a request for the application, in any process; the page itself comes from no server."""
    began = time.monotonic()
    while (left := _in_flight(app, proxy.workers(), proxy)) and time.monotonic() - began < deadline_seconds:
        sleep(POLL_SECONDS)
    return {"changed": False, "in_flight": left, "seconds": round(time.monotonic() - began, 1)}


def _in_flight(app: str, workers: Iterable[str], proxy: HAProxy) -> dict[str, int]:
    total: dict[str, int] = {}
    for number, worker in enumerate(workers):
        answer = proxy.ask(worker, "show stat")
        try:
            found = in_flight(answer, app)
        except KeyError:
            if number > 0:
                continue  # it was about to end, or has never known this backend
            if "# pxname" in answer:
                raise HostError(f"HAProxy has no backend {app}. Add it to load_balancer_backends and run site.yml.") from None
            found = {"a process that did not answer": 1}
        for server, count in found.items():
            total[server] = total.get(server, 0) + count
    return total


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with system.host_lock(path, WAIT_SECONDS):
        yield
