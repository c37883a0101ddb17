# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way of an announcement out of a run: a small file, and a process of its own that sends it and that nobody waits for.

This file is also that process, so it imports nothing of the collection. In the folder, which only its account can read:

    queue/<target>/<number>-<random>.json   what is to be sent to one target, in this order; `lock` is held by the one who sends
    unsent.jsonl                            what was not sent, and why, a JSON object a line; `told` counts its bytes that somebody has been told
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: How long a service may take for what is sent to it at once, all tries together; then the try is killed.
DEADLINE_SECONDS = 30.0
TRIES = 2
PAUSE_SECONDS = 1.0
#: News that is older is no news: it is written down instead.
STALE_SECONDS = 600.0
#: What has gathered meanwhile is sent at once, as many lines as a chat bears.
AT_ONCE = 8
MOST_UNSENT_BYTES = 1_000_000


def default_folder() -> Path:
    """Where programs of an account keep what they have to remember."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(state, "tossable", "announce")


def put(folder: Path, label: str, to: str, told: Mapping[str, Any]) -> Path:
    """Queue one line for one target: written beside, synced, renamed. Returns the target's queue."""
    queue = folder / "queue" / hashlib.sha256(f"{label}\n{to}".encode()).hexdigest()[:16]
    for one in (folder, queue.parent, queue):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A clock that was set back does not change the order.
    last = max((int(path.name[:20]) for path in waiting(queue)), default=0)
    name = f"{max(time.time_ns(), last + 1):020}-{uuid.uuid4().hex[:8]}.json"
    beside = queue / f".{name}"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"at": time.time(), "label": label, "to": to, **told}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(queue / name)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return queue


def waiting(queue: Path) -> list[Path]:
    """What is in the queue, oldest first."""
    return sorted(queue.glob("[0-9]*.json"))


def send_beside(queue: Path) -> None:
    """Start the process that sends what is in the queue; it outlives this one and shares nothing with it, so that nobody waits for it."""
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(sys.executable, [sys.executable, "-P", __file__, "drain", str(queue)], os.environ, file_actions=nothing, setsid=True)


def readable(addresses: Sequence[str], seconds: float = 30.0) -> list[bool]:
    """Whether apprise can read each address; ImportError where there is no apprise. In a process of its own: it logs what it is given."""
    asked = subprocess.run(
        [sys.executable, "-P", __file__, "check"],
        input=json.dumps(list(addresses)),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if asked.returncode != 0:
        raise ImportError("apprise")
    return [bool(one) for one in json.loads(asked.stdout)]


def drain(
    queue: Path,
    deadline: float = DEADLINE_SECONDS,
    pause: float = PAUSE_SECONDS,
    stale: float = STALE_SECONDS,
) -> None:
    """Send all that is in the queue, in order, and write down what could not be sent; leave where another process does it already."""
    while waiting(queue):
        # Looked for again after the lock was let go: what came in between was left to us by its own process.
        with _locked(queue / "lock", wait=False) as had:
            if not had:
                return
            while paths := waiting(queue)[:AT_ONCE]:
                _deliver(queue.parent.parent, paths, deadline, pause, stale)


def _deliver(folder: Path, paths: Sequence[Path], deadline: float, pause: float, stale: float) -> None:
    told, failed = [], []
    for path in paths:
        try:
            message = json.loads(path.read_text(encoding="utf-8"))
            age = time.time() - message["at"]
        except (ValueError, KeyError, TypeError):
            failed.append(({"label": "a target", "line": path.name}, "its file is damaged"))
            continue
        if age > stale:
            failed.append((message, f"it lay there for more than {stale:.0f} s"))
        else:
            told.append(message)
    if told:
        why = _send(told[0]["to"], [message["line"] for message in told], deadline, pause)
        failed += [(message, why) for message in told if why]
    write_down(folder, [{**{name: one for name, one in message.items() if name != "to"}, "why": why} for message, why in failed])
    for path in paths:
        path.unlink(missing_ok=True)


def _send(to: str, lines: Sequence[str], deadline: float, pause: float) -> str:
    """Try it a few times, all within the deadline; returns why it was not sent, and nothing where it was.

    What the service answered is not told: the libraries put addresses into their messages, and addresses hold secrets.
    """
    until = time.monotonic() + deadline
    for number in range(1, TRIES + 1):
        child = subprocess.Popen(
            [sys.executable, "-P", __file__, "send"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            child.communicate(json.dumps({"to": to, "lines": list(lines)}), timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return f"the service did not answer within {deadline:.0f} s"
        if child.returncode == 0:
            return ""
        if time.monotonic() + pause >= until or number == TRIES:
            break
        time.sleep(pause)
    return f"the service could not be reached or did not take it ({_times(number)} tried)"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def write_down(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Append what was not sent, for whoever looks next."""
    if not records:
        return
    path = folder / "unsent.jsonl"
    with _locked(folder / "unsent.lock"), open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"
            file.write(b"\n" if torn else b"")
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())
        file.flush()
        os.fsync(file.fileno())


def untold(folder: Path) -> list[str]:
    """What could not be sent and nobody has been told yet, a line each; it counts as told then."""
    path, mark = folder / "unsent.jsonl", folder / "told"
    if not path.exists():
        return []
    with _locked(folder / "unsent.lock"):
        size = path.stat().st_size
        begin = _number(mark)
        if begin == size:
            return []
        with path.open("rb") as file:
            file.seek(begin if begin < size else 0)
            raw = file.read()
        if size > MOST_UNSENT_BYTES:
            path.rename(folder / "unsent.jsonl.1")
            size = 0
        beside = folder / ".told"
        beside.write_text(str(size))
        beside.rename(mark)
    return [_told(one) for one in raw.decode(errors="replace").splitlines() if one.strip()]


def _told(raw: str) -> str:
    try:
        record = json.loads(raw)
        return f"not sent to {record['label']}, {record['why']}: {record['line']}"
    except (ValueError, KeyError, TypeError):
        return "not sent: a line of unsent.jsonl is damaged"


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file; says whether it was had, which without ``wait`` it may not be."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _check() -> int:
    import apprise  # only here, in a process of its own: it is slow to import, and it logs addresses

    print(json.dumps([apprise.Apprise.instantiate(to) is not None for to in json.load(sys.stdin)]))
    return 0


def _speak() -> int:
    import apprise

    asked = json.load(sys.stdin)
    service = apprise.Apprise()
    sent = service.add(asked["to"]) and service.notify(body="\n".join(asked["lines"]), body_format=apprise.NotifyFormat.TEXT)
    return 0 if sent else 1


def main(arguments: Sequence[str]) -> int:
    """Be the process that sends, or one of those it starts."""
    if arguments[0] == "drain":
        os.closerange(3, 1024)
        os.chdir("/")
        os.nice(10)  # the run comes first
        drain(Path(arguments[1]))
        return 0
    return {"check": _check, "send": _speak}[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
