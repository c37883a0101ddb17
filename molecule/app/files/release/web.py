"""Answers what its process may do, so that a test sees the sandbox from within. Copyright: Tossable Fleet maintainers. GPL-3.0-or-later."""

from __future__ import annotations

import ctypes
import http.server
import json
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path


def attempt(act: Callable[[], object]) -> str:
    """The name of the error that `act` meets, or `done`."""
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"


def write(path: str) -> Callable[[], object]:
    """An attempt to write a file."""
    return lambda: Path(path, "attempt").write_text("attempt", encoding="ascii")


def system_call(number: int, *arguments: int) -> Callable[[], object]:
    """An attempt at a system call of the x86-64 or generic table, whichever the number is from."""
    library = ctypes.CDLL(None, use_errno=True)

    def call() -> None:
        if library.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "refused")

    return call


def report() -> dict[str, object]:
    """Everything a test asks about."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    mount = {"x86_64": 165}.get(os.uname().machine, 40)
    return {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "status": {name: status[name].strip() for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "Uid")},
        "umask": int(status["Umask"], 8),
        "attempts": {
            "write the release": attempt(write(".")),
            "write /etc": attempt(write("/etc")),
            "write /var/lib": attempt(write("/var/lib")),
            "write /tmp": attempt(write("/tmp")),
            "write shared": attempt(write("../../shared")),
            "read /home": attempt(lambda: os.listdir("/home/ops")),
            "read the journal of releases": attempt(lambda: os.listdir("/var/lib/tossable/probe")),
            "memory to write and execute": attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
            "raw packets": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            "new namespace": attempt(lambda: system_call({"x86_64": 272}.get(os.uname().machine, 97), 0x10000000)()),
            "mount": attempt(lambda: system_call(mount, 0, 0, 0, 0, 0)()),
            "devices": attempt(lambda: open("/dev/kmsg", "rb").close()),
        },
    }


class Handler(http.server.BaseHTTPRequestHandler):
    """200 for every path."""

    def do_GET(self) -> None:
        """Answer with the report, or briefly."""
        body = json.dumps(report()).encode() if self.path == "/report" else b"ready\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
