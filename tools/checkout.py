# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this checkout is, and the environment its commands run in."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"


def environment() -> dict[str, str]:
    """The environment of every command: this checkout's tools and settings first, output without colours, a line a task."""
    env = dict(os.environ)
    env["PATH"] = f"{ROOT}/.venv/bin:{env['PATH']}"
    env["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    env["NO_COLOR"] = env["ANSIBLE_NOCOLOR"] = "1"
    # What reads the output reads one line a task.
    env["ANSIBLE_STDOUT_CALLBACK"] = "ansible.builtin.default"
    containers_conf = BUILD / "containers.conf"
    if containers_conf.exists():
        env["CONTAINERS_CONF"] = str(containers_conf)
    return env


def tail(path: Path, lines: int) -> str:
    """The last lines of a log, as evidence."""
    kept = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-lines:]
    return "\n".join(kept)


#: Scenarios that run only where they are named, and why. Nothing else is left out.
ONLY_BY_NAME = {"bare": "installs every package from the mirror: minutes where that is slow, and red where hosts cannot reach it"}

#: A second look at a role, with other settings or another language: with LONG=1 (make molecule), not for every change.
SECOND_LOOK = ("app_alternative", "app_node", "app_python", "baseline_alternative")

#: Begun first, so that none of them runs on alone at the end.
LONGEST = ("load_balancer", "release", "app")


def scenarios() -> list[str]:
    """Names of all scenarios that test something; `default` only makes and removes hosts."""
    names = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} - {"default"}
    return [*(name for name in LONGEST if name in names), *sorted(names.difference(LONGEST))]


def default_scenarios(long: bool = True) -> list[str]:
    """Those that run where none is named; without the second looks where a change is not to pay for them."""
    left_out = {*ONLY_BY_NAME, *(() if long else SECOND_LOOK)}
    return [name for name in scenarios() if name not in left_out]
