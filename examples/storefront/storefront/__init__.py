"""A small shop, as an example of an application that is released many times a day.

Its dependencies lie beside it in `vendor/`, put there when the artifact is built, so a host needs nothing but Python.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The release's own folder, links resolved: a process stays in its release when `current` moves on."""

sys.path.insert(0, str(ROOT / "vendor"))
