# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the house that a machine can check: what belongs together agrees, and nothing is promised that is not there."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.splitter import parse_kv
from ansible.vars.reserved import get_reserved_names
from checkout import ROOT, environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

LINKS = ROOT / "collections" / "ansible_collections" / "tossable" / "fleet"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
REFUSING_ELSEWHERE = {"release": "its plan is where it refuses"}
SHIPPED = ("changelogs/changelog.yaml", "changelogs/config.yaml", "docs/", "LICENSE", "meta/", "playbooks/", "plugins/", "README.md", "roles/")


def tracked() -> list[str]:
    """Files that git knows, and new ones that it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in listed if name and (ROOT / name).exists()]


def read(name: str) -> Any:
    """A YAML file of the repository, None where there is none."""
    path = ROOT / name
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def test_the_collection_is_found_through_links_to_each_part_and_not_through_a_loop() -> None:
    found = {path.name: path.readlink() if path.is_symlink() else None for path in LINKS.iterdir()}
    assert found == {name: Path("../../../..") / name for name in ("galaxy.yml", "meta", "playbooks", "plugins", "roles")}
    for name in found:
        assert (LINKS / name).resolve() == ROOT / name


def test_the_built_collection_holds_what_a_user_needs_and_nothing_else(tmp_path: Path) -> None:
    command = ["ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as built:
        found = {member.name for member in built.getmembers() if not member.isdir()}
    expected = {name for name in tracked() if name.startswith(SHIPPED)}
    assert found - {"MANIFEST.json", "FILES.json"} == expected


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_name_the_same_variables(role: str) -> None:
    specs = read(f"roles/{role}/meta/argument_specs.yml")
    assert specs, f"roles/{role}/meta/argument_specs.yml is missing"
    options: dict[str, Any] = {}
    for entry in specs["argument_specs"].values():
        options |= entry.get("options", {})
    defaults = read(f"roles/{role}/defaults/main.yml") or {}
    optional = {name for name, option in options.items() if not option.get("required")}
    assert optional == set(defaults), "an option has a default or is required"
    for name, option in options.items():
        assert name.startswith(f"{role}_"), name
        assert option.get("description"), f"{name} has no description"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_explains_itself_refuses_nonsense_and_is_tested(role: str) -> None:
    assert (ROOT / "roles" / role / "README.md").is_file()
    if role not in REFUSING_ELSEWHERE:
        assert (ROOT / "roles" / role / "tasks" / "preflight.yml").is_file()
    assert (ROOT / "molecule" / role / "molecule.yml").is_file()
    assert list((ROOT / "molecule" / role / "tests").glob("test_*.py"))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_knows_no_inventory_group(role: str) -> None:
    for path in (ROOT / "roles" / role).rglob("*"):
        if path.suffix in (".yml", ".j2"):
            assert not re.search(r"groups(\.|\[')(app|lb|ops)\b", path.read_text(encoding="utf-8")), path


def pinned() -> dict[str, list[str]]:
    """Package to the versions of requirements.txt (more than one where they differ by Python version)."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
            found.setdefault(canonical(match[1]), []).append(match[2])
    return found


def wanted() -> list[Requirement]:
    """The direct requirements."""
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_holds_what_is_required() -> None:
    lock = pinned()
    for requirement in wanted():
        versions = lock.get(canonical(requirement.name))
        assert versions, f"{requirement.name} is in requirements.in and not in requirements.txt: make the lock anew"
        assert all(requirement.specifier.contains(version) for version in versions), requirement


@pytest.mark.parametrize("name", ["requirements.in", "requirements.txt", "requirements-collections.txt"])
def test_requirements_name_no_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|^-|@ ", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-collections.txt"])
def test_every_locked_package_has_a_hash(name: str) -> None:
    packages = [entry for entry in re.split(r"\n(?=\w)", "\n" + (ROOT / name).read_text(encoding="utf-8")) if "==" in entry]
    assert packages
    for package in packages:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package


def test_third_party_collections_agree_wherever_they_are_named() -> None:
    listed = {entry["name"]: entry["version"] for entry in read("requirements.yml")["collections"]}
    assert listed == read("galaxy.yml")["dependencies"]
    for name, bounds in listed.items():
        manifest = read(f"collections/ansible_collections/{name.replace('.', '/')}/MANIFEST.json")
        assert SpecifierSet(bounds).contains(manifest["collection_info"]["version"]), name


def test_every_direct_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    told = Counter(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    packages = [line.split()[0] for line in (ROOT / "tools" / "packages.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    collections = [entry["name"] for entry in read("requirements.yml")["collections"]]
    assert told == Counter([*(requirement.name for requirement in wanted()), *packages, *collections])


def documents() -> list[Path]:
    """What people read to find out what to type."""
    return [ROOT / name for name in tracked() if name.endswith(".md") and not name.startswith("docs/decisions/")]


def test_what_documents_tell_to_type_is_there() -> None:
    targets = set(" ".join(re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)).split())
    told = 0
    for path in documents():
        for line in re.findall(
            r"^(?: {4}|\$ |)(make [^`\n]*|ansible-playbook [^`\n]*|tools/[^`\n]*)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            told += 1
            words = line.split("#")[0].split()
            if words[0] == "make":
                named = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)]
                assert set(named[:1]) <= targets, f"{path}: {line}"
            elif words[0].startswith("tools/"):
                assert (ROOT / words[0]).is_file(), f"{path}: {line}"
            else:
                for word in words:
                    if word.endswith(".yml") and not word.startswith(("@", "inventories/", "build/")):
                        assert (ROOT / word).is_file(), f"{path}: {line}"
    assert told >= 5, "no document tells what to type"


def test_no_word_that_operators_type_is_one_of_ansible_itself() -> None:
    """Ansible warns of such a variable in each run, and may take it for its own."""
    playbooks = [ROOT / name for name in tracked() if name.startswith("playbooks/")]
    typed = {word: path for path in [*documents(), *playbooks] for word in re.findall(r"-e ['\"]?([a-z_]+)=", path.read_text(encoding="utf-8"))}
    assert len(typed) >= 20, "no document tells what to type"
    assert {word: path for word, path in typed.items() if word in get_reserved_names()} == {}


def test_what_is_told_to_type_comes_to_ansible_whole() -> None:
    """A shell takes the quotes of `-e reason='two words'` away, and Ansible then keeps the first word: they have to be inside of others."""
    told, loose, torn = 0, dict[str, str](), dict[str, str]()
    for name in tracked():
        if name.endswith((".md", ".yml", ".j2", ".py")) and not name.startswith(("tests/", "molecule/", "changelogs/")):
            text = (ROOT / name).read_text(encoding="utf-8")
            loose |= dict.fromkeys(re.findall(r"-e [a-z_]+='[^'\n]*(?: |\.\.\.)[^'\n]*'", text), name)
            for words in re.findall(r"""-e \\?"([a-z_]+='[^"\n]*?)\\?\"""", text):
                told += 1
                with suppress(AnsibleError):
                    if len(parse_kv(words)) == 1:
                        continue
                torn[words] = name
    assert told >= 20, "nothing tells what to type"
    assert (loose, torn) == ({}, {})


def test_a_new_line_in_an_expression_is_one() -> None:
    """Between double quotes YAML makes one of it; in a block (`>-`, `|`) Ansible shows the two characters."""
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8") for name in tracked() if name.startswith(("roles/", "playbooks/")) and name.endswith(".yml")
    }
    lines = [(name, line) for name, text in texts.items() for line in text.splitlines() if re.search(r"\{\{.*'[^']*\\n'", line)]
    assert len(lines) >= 10, "no expression has a new line"
    assert [(name, line) for name, line in lines if not re.search(r'^[^"]*: "', line)] == []


@pytest.mark.parametrize("name", ["staging", "production"])
def test_example_inventories_have_every_group(name: str) -> None:
    command = ["ansible-inventory", "-i", f"inventories/{name}", "--graph"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for group in ("app", "lb", "ops"):
        assert re.search(rf"@{group}:\n\s+\|  \|--\w", done.stdout), done.stdout


@pytest.mark.parametrize("app", ["storefront", "shop"])
def test_a_build_names_its_application_in_what_to_type_next(app: str) -> None:
    """Whatever application an inventory has as its own: without -e app= that one would be released."""
    (told,) = [task for task in read("playbooks/build.yml")[0]["tasks"] if task["name"] == "Say what to type next"]
    command = jinja2.Template(told["ansible.builtin.debug"]["msg"][-1]).render(app=app, version="1.4.2")
    assert command == f"Release it: ansible-playbook deploy.yml -e version=1.4.2 -e app={app}"


def test_plugins_and_tools_say_under_which_licence_they_are() -> None:
    checked = 0
    for name in tracked():
        path = ROOT / name
        if name.startswith(("plugins/", "tools/")) and path.suffix == ".py" and path.stat().st_size:
            checked += 1
            head = path.read_text(encoding="utf-8")[:500]
            assert "SPDX-License-Identifier: GPL-3.0-or-later" in head, name
            assert "GNU General Public License v3.0+" in head, name
    assert checked > 20


def test_names_of_tests_are_unique() -> None:
    """Pytest imports a test by its file's name alone."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_every_exception_has_a_reason() -> None:
    """Which rule, and behind it why not here; on the line before where a linter takes every word behind it for a rule (YAML, shell)."""
    exception = re.compile(r"#\s*(?:noqa|type: ignore|pylint: disable|nosec|yamllint disable|shellcheck disable)\b(.*)", re.IGNORECASE)
    explained = re.compile(r"(\[[\w, -]+\]|[:=] ?[\w-]+(, ?[\w-]+)*) +(-|#) (\w+\W+){2,}\w+")
    found = 0
    for name in tracked():
        if name == "tests/unit/test_repository.py" or not (name.endswith((".py", ".yml", ".sh")) or name.startswith(("tools/", ".ci/"))):
            continue
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if excepted := exception.search(line):
                found += 1
                above = number and not name.endswith(".py") and re.match(r"\s*# (\w+\W+){2,}\w+", lines[number - 1])
                assert above or explained.match(excepted[1]), f"{name}:{number + 1}: no reason"
    assert found >= 5, "exceptions are no longer recognised"
