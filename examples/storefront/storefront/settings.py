"""What the environment and the release say."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import ROOT


@dataclass(frozen=True)
class Settings:
    """`status`: where the status page is, "" for nowhere; `environment`: the one of the fleet that the page tells of at its foot, "" for any;
    `stop_seconds`: how long requests in flight may take once the process was asked to stop; `flags`: the file with feature flags, None for none.
    """

    port: int
    release: str
    host: str
    shared: Path
    fault: str
    stop_seconds: int
    worker_seconds: float
    status: str = ""
    environment: str = ""
    flags: Path | None = None


def load(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> Settings:
    """Read the settings; a fault that was built into the release counts where the environment names none. Raises ValueError in words."""
    if (resolver := environment.get("FLAGD_RESOLVER") or "file") != "file":
        raise ValueError(f"FLAGD_RESOLVER is {resolver!r}: flags are read from a file here and asked of nobody. Set it to file, or leave it out")
    return Settings(
        port=int(environment.get("PORT", "8000")),
        release=_line(root / "VERSION") or "development",
        host=socket.gethostname(),
        shared=Path(environment.get("STOREFRONT_SHARED", str(root / "shared"))),
        fault=environment.get("STOREFRONT_FAULT") or _line(root / "FAULT"),
        stop_seconds=int(environment.get("STOREFRONT_STOP_SECONDS", "15")),
        worker_seconds=float(environment.get("STOREFRONT_WORKER_SECONDS", "5")),
        status=environment.get("STOREFRONT_STATUS", "").rstrip("/"),
        environment=environment.get("STOREFRONT_ENVIRONMENT", ""),
        flags=Path(environment["FLAGD_OFFLINE_FLAG_SOURCE_PATH"]) if environment.get("FLAGD_OFFLINE_FLAG_SOURCE_PATH") else None,
    )


def _line(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
