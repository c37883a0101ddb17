"""What outlives a release: orders, what was sold, and the worker's heartbeat, as files in the shared folder.

The web process only appends lines to `orders.jsonl`. The worker moves that file aside and counts it at its next turn,
when a line that was being written is complete, so the two need no lock.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

ORDERS = "orders.jsonl"
SOLD = "sold.json"
HEARTBEAT = "worker.json"


def add_order(shared: Path, items: dict[str, int]) -> None:
    """Append one order; one write, so orders of several processes do not mix."""
    line = json.dumps({"at": round(time.time(), 3), "items": items}, sort_keys=True) + "\n"
    handle = os.open(shared / ORDERS, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def count_orders(shared: Path) -> dict[str, int]:
    """Add the orders that were moved aside at the last turn to what was sold, move the new ones aside; amounts by product."""
    document = _read(shared / SOLD)
    sold: dict[str, int] = document.get("sold", {})
    for aside in sorted(shared.glob("orders-*.jsonl")):
        # A worker that ended between these two steps must not count the file again.
        if document.get("counted") != aside.name:
            for line in aside.read_text(encoding="utf-8").splitlines():
                for name, amount in json.loads(line)["items"].items():
                    sold[name] = sold.get(name, 0) + amount
            document = {"sold": sold, "counted": aside.name}
            _write(shared / SOLD, document)
        aside.unlink()
    if (shared / ORDERS).exists():
        (shared / ORDERS).rename(shared / f"orders-{time.time_ns()}.jsonl")
    return sold


def best_sellers(shared: Path, count: int = 3) -> list[str]:
    """The products sold most, best first."""
    sold: dict[str, int] = _read(shared / SOLD).get("sold", {})
    return sorted(sold, key=lambda name: (-sold[name], name))[:count]


def beat(shared: Path, release: str) -> None:
    """Say that the worker of this release lives."""
    _write(shared / HEARTBEAT, {"release": release, "pid": os.getpid(), "at": time.time()})


def heartbeat_age(shared: Path) -> float:
    """Seconds since the worker's last sign of life, nan if there was none."""
    at = _read(shared / HEARTBEAT).get("at")
    return float("nan") if at is None else max(0.0, time.time() - at)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, document: dict[str, Any]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(document, sort_keys=True), encoding="utf-8")
    beside.replace(path)
