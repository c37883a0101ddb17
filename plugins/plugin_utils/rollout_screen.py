# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live view at the foot of a terminal, with the library `rich`. Lines that are displayed meanwhile go above it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

#: Seconds between two pictures.
PAUSE = 0.25


def _take_first(lock: AbstractContextManager[Any], stream: Any) -> None:
    """Let whatever is written past Ansible's output take its lock first, too."""
    write, flush = stream.write, stream.flush

    def locked_write(text: str) -> int:
        with lock:
            return int(write(text))

    def locked_flush() -> None:
        with lock:
            flush()

    stream.write, stream.flush = locked_write, locked_flush


class Screen:
    """Draws what `picture` returns, from `after` seconds on until it is stopped; whatever happens, it leaves the terminal as it found it.

    `lock` is Ansible's own around its output. It forks workers under it, and holds it while it writes, so that a thread which draws has to take it
    first: any other order is a deadlock some day. The library is read under it as well, for a worker that is forked meanwhile could not go on.
    """

    def __init__(self, picture: Callable[[], list[str]], lock: AbstractContextManager[Any], after: float) -> None:
        self._picture, self._lock, self._after = picture, lock, after
        self._stopped = threading.Event()
        self._live: Any = None
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        from rich.console import Console
        from rich.file_proxy import FileProxy
        from rich.live import Live

        # What goes to a file stays out of the terminal.
        self._live = Live(console=Console(highlight=False), auto_refresh=False, transient=True, redirect_stderr=sys.stderr.isatty())
        self._live.start()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, FileProxy):
                _take_first(self._lock, stream)
        # The cursor stays visible: a run that is killed cannot bring it back.
        self._live.console.show_cursor(True)

    def _show(self) -> None:
        from rich.text import Text

        if self._live is None:
            self._begin()
        self._live.update(Text("\n".join(self._picture()), no_wrap=True, overflow="ellipsis"), refresh=True)

    def _draw(self) -> None:
        pause = self._after
        while not self._stopped.wait(pause):
            pause = PAUSE
            try:
                with self._lock:
                    if not self._stopped.is_set():
                        self._show()
            except Exception:
                # No picture is better than a run that is disturbed; so it is without the library.
                self._stopped.set()

    def stop(self) -> None:
        """Wipe the picture away."""
        self._stopped.set()
        with self._lock:
            if self._live is not None:
                self._live.stop()
