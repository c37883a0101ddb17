"""Puts the application on the path, and gives its dependencies to the tests that run it whole."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def vendor() -> Path:
    """The locked dependencies, installed once for each state of the lock file."""
    lock = ROOT / "requirements.txt"
    folder = ROOT.parents[1] / "build" / "cache" / f"storefront-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        beside = folder.with_suffix(".new")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([*pip, "--target", str(beside), "-r", str(lock)], check=True)
        beside.rename(folder)
    return folder
