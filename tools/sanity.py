#!/usr/bin/env python3
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` on an installed copy of the collection, as a user of it has it.

In the checkout itself the collection is a folder of links, in which ansible-test sees no files and passes. So the
collection is built, installed below build/sanity/stage and tested there, inside a git repository of its own (ansible-test asks git for
the list of files). Reports, one JUnit XML file a test, are left in build/sanity/junit.

    tools/sanity.py                 all tests
    tools/sanity.py pylint pep8     these two

Exit code: that of ansible-test, 2 when the collection could not be built.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

from checkout import BUILD, ROOT, environment

WORK = BUILD / "sanity"
STAGE = WORK / "stage"
COLLECTION = STAGE / "ansible_collections" / "tossable" / "fleet"
JUNIT = WORK / "junit"
# ansible-test keeps its virtual environments and downloads below the home folder: a home of its own leaves the user's alone.
HOME = WORK / "home"

# Tests that are left out, with the reason. Everything else is run, and needs nothing but a Python package index.
LEFT_OUT: dict[str, str] = {}

# ansible-test fetches a script that installs pip from its maker's server, which not every machine reaches. Python brings pip along.
GET_PIP = """\
import os, subprocess, sys
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--upgrade", *arguments]).returncode)
"""


def require(*words: str, cwd: Path = ROOT) -> str:
    """Run a step of the preparation; return its output, or stop where it fails."""
    done = subprocess.run(words, cwd=cwd, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(f"tools/sanity.py: {' '.join(words)} failed:\n{done.stdout}", file=sys.stderr)
        sys.exit(2)
    return done.stdout


def stage() -> None:
    """Build the collection and install it, fresh, where ansible-test accepts it."""
    shutil.rmtree(STAGE, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    for archive in WORK.glob("*.tar.gz"):
        archive.unlink()
    require("ansible-galaxy", "collection", "build", "--output-path", str(WORK), ".")
    (archive,) = WORK.glob("*.tar.gz")
    require("ansible-galaxy", "collection", "install", str(archive), "--force", "--no-deps", "--offline", "-p", str(STAGE))
    # Our own tests stay out of the collection, but this is ansible-test's setting.
    require("cp", "--parents", "tests/config.yml", str(COLLECTION))
    require("git", "init", "--quiet", cwd=COLLECTION)
    require("git", "add", "--all", "--force", cwd=COLLECTION)


def prepare_home() -> None:
    """Put pip's bootstrap, and the machine's own pip settings, where ansible-test finds them: it passes no environment on."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in pip_versions():
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP, encoding="utf-8")
    settings = HOME / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(pip_settings(require("python3", "-m", "pip", "config", "list")), encoding="utf-8")


def pip_versions() -> set[str]:
    """The versions of pip that this ansible-test bootstraps."""
    package = require("python3", "-c", "import ansible_test; print(*ansible_test.__path__)").strip()
    source = Path(package) / "_internal" / "python_requirements.py"
    return set(re.findall(r"pip='([0-9.]+)'", source.read_text(encoding="utf-8")))


def pip_settings(listing: str) -> str:
    """Turn `pip config list` (lines such as global.cert='/a' and :env:.cert='/b') into a pip.conf, in which the environment counts most."""
    sections: dict[str, dict[str, str]] = {"global": {}}
    from_environment: dict[str, str] = {}
    for line in listing.splitlines():
        found = re.fullmatch(r"(:env:|[a-z]+)\.([a-z-]+)=('.*'|\".*\")", line)
        if found:
            value = str(ast.literal_eval(found[3])).strip().replace("\n", "\n    ")
            section = from_environment if found[1] == ":env:" else sections.setdefault(found[1], {})
            section[found[2]] = value
    sections["global"].update(from_environment)
    return "".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items()) for name, section in sections.items())


def main(tests: list[str]) -> int:
    """Stage, run, keep the reports; return ansible-test's exit code."""
    stage()
    prepare_home()
    chosen = [f"--test={name}" for name in tests] or [f"--skip-test={name}" for name in LEFT_OUT]
    env = environment() | {"HOME": str(HOME)}
    del env["ANSIBLE_CONFIG"]
    python = require("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    words = ["ansible-test", "sanity", f"--python={python}", "--junit", "--color=no", "--truncate=0", *chosen]
    code = subprocess.run(words, cwd=COLLECTION, env=env, stdin=subprocess.DEVNULL, check=False).returncode
    shutil.rmtree(JUNIT, ignore_errors=True)
    reports = COLLECTION / "tests" / "output" / "junit"
    if reports.exists():
        shutil.copytree(reports, JUNIT)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
