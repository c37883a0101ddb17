"""The worker process: counts orders, so that the page can show what sells best. `python3 -m storefront.worker`."""

from __future__ import annotations

import signal
import threading

from . import settings, store


def work(chosen: settings.Settings, stop: threading.Event) -> None:
    """One turn every few seconds until asked to stop; a turn that has begun is finished."""
    print(f"storefront {chosen.release} worker: every {chosen.worker_seconds:g} s in {chosen.shared}", flush=True)
    while True:
        store.count_orders(chosen.shared)
        store.beat(chosen.shared, chosen.release)
        if stop.wait(chosen.worker_seconds):
            break
    print("storefront worker: stopped", flush=True)


def main() -> None:
    """Run until SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    work(settings.load(), stop)


if __name__ == "__main__":
    main()
