# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One published line of flags gives the same answers in Python and in JavaScript, each by flagd's own evaluator."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import flag_set
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "tests" / "conformance"
USERS = 10_000
#: Seconds: a registry that does not answer, or a program that does not end, is a failure with words and not a run that hangs.
INSTALLING, EVALUATING = 300, 120
DECLARED = """
flags:
  by_volume: {purpose: a, owner: b, kind: permission, state: {rule: "transaction_volume >= 100000"}}
  below: {purpose: a, owner: b, kind: permission, state: {rule: "transaction_volume < 5"}}
  tenth: {purpose: a, owner: b, kind: ops, state: {percent: 10}}
  sliver: {purpose: a, owner: b, kind: ops, state: {percent: 0.5}}
  after_tenth: {purpose: a, owner: b, kind: ops, state: on, requires: [tenth]}
  half_of_gold: {purpose: a, owner: b, kind: ops, state: {rules: [{when: "plan == 'gold'", percent: 50}, {when: "country in ['NL', 'BE']"}]}}
  version: {purpose: a, owner: b, kind: ops, state: {rule: "semver(app_version) >= '1.2' and not semver_match(app_version, '^2.0')"}}
  number: {purpose: a, owner: b, kind: ops, state: {rule: "transaction_volume == 1 or transaction_volume != 7 and transaction_volume in [7, 8, 0]"}}
  truth: {purpose: a, owner: b, kind: ops, state: {rule: "beta == true or plan != 'gold' and beta != true"}}
  texts: {purpose: a, owner: b, kind: ops, state: {rule: "starts_with(plan, 'g') or ends_with(country, 'E') or plan not in ['gold', 'free']"}}
"""


def people(count: int) -> list[dict[str, Any]]:
    """Users whose attributes are sometimes missing, sometimes of another type; always the same ones."""
    draw = random.Random(5)
    some: dict[str, list[Any]] = {
        "transaction_volume": [0, 1, 4.5, 5, 7, 99999.99, 100000, 250000, "100000", "", True, False, None, [], [1], {}, {"of": 1}],
        "plan": ["gold", "free", "grand", "", 1, None],
        "country": ["NL", "BE", "DE", None],
        "app_version": ["1.1.9", "1.2.0", "1.10.3", "2.0.0", "v1.2.3", "none", None],
        "beta": [True, False, 1, 0, "true", None],
    }
    return [
        {"targetingKey": f"user-{number}", **{name: draw.choice(values) for name, values in some.items() if draw.random() < 0.8}}
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def javascript() -> Path:
    """The program with what it needs, installed once for each state of its lock."""
    lock = (PROJECT / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "cache" / f"conformance-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not folder.is_dir():
        beside = folder.with_suffix(".new")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PROJECT / name, beside)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        subprocess.run(npm, cwd=beside, check=True, capture_output=True, timeout=INSTALLING)
        beside.rename(folder)
    shutil.copy(PROJECT / "evaluate.mjs", folder)
    return folder


def python(line: bytes, users: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Flag to the variant that every user gets."""
    core = FlagdCore()
    core.set_flags(line.decode())
    contexts = [EvaluationContext(user["targetingKey"], {name: value for name, value in user.items() if name != "targetingKey"}) for user in users]
    return {key: [core.resolve_boolean_value(key, False, one).variant or "" for one in contexts] for key in json.loads(line)["flags"]}


def node(folder: Path, line: bytes, users: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The same, by Node.js."""
    given = json.dumps({"flags": line.decode(), "users": users})
    done = subprocess.run(["node", "evaluate.mjs"], cwd=folder, input=given, capture_output=True, text=True, check=True, timeout=EVALUATING)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_ten_thousand_users_get_the_same_in_both_languages(tmp_path: Path, javascript: Path) -> None:
    (tmp_path / "some.yml").write_text(DECLARED)
    line = flag_set.render(flag_set.load(tmp_path), {}, "lab", 1)
    users = people(USERS)
    there, here = node(javascript, line, users), python(line, users)
    assert set(there) == set(here)
    differing = {key: [(users[at], here[key][at], there[key][at]) for at in range(USERS) if here[key][at] != there[key][at]][:3] for key in here}
    assert {key: found for key, found in differing.items() if found} == {}
    counts = {key: variants.count("on") for key, variants in here.items()}
    assert all(0 < count < USERS for count in counts.values()), counts
    assert 900 < counts["tenth"] < 1100
    assert 25 < counts["sliver"] < 85
    assert counts["after_tenth"] == counts["tenth"]


def test_of_ten_thousand_users_nobody_falls_out_of_a_share_that_grows_in_either_language(tmp_path: Path, javascript: Path) -> None:
    (tmp_path / "some.yml").write_text("flags: {tenth: {purpose: a, owner: b, kind: ops, state: {percent: 10}}}")
    flags, users = flag_set.load(tmp_path), people(USERS)
    lines = [flag_set.render(flags, {"tenth": {"percent": share}}, "lab", 1) for share in (0, 1, 10, 20, 50, 100)]
    for answers in ([python(line, users)["tenth"] for line in lines], [node(javascript, line, users)["tenth"] for line in lines]):
        inside = [{user["targetingKey"] for user, variant in zip(users, given, strict=True) if variant == "on"} for given in answers]
        assert all(fewer < more for fewer, more in itertools.pairwise(inside))
        assert (len(inside[0]), len(inside[-1])) == (0, USERS)


SHAPES = """
flags:
  text: {purpose: a, owner: b, kind: ops, variants: {blue: "#00f", red: "#f00"}, on: blue, off: red, state: blue}
  whole: {purpose: a, owner: b, kind: ops, variants: {few: 3, many: 50}, on: many, off: few, state: {percent: 12.5}}
  broken: {purpose: a, owner: b, kind: ops, variants: {few: 0.5, many: 1.5}, on: many, off: few, state: {rule: "plan == 'gold'"}}
  object: {purpose: a, owner: b, kind: ops, variants: {x: {a: [1, {b: null}]}, y: {}}, on: x, off: y, state: {rules: [{when: "beta == true"}]}}
  needs: {purpose: a, owner: b, kind: permission, state: on, requires: [whole, text]}
  passing: {purpose: a, owner: b, kind: experiment, expires: 2099-01-01, state: off, may_change: [ada], groups: [orders]}
"""


def rendered(folder: Path, live: dict[str, flag_set.State]) -> bytes:
    return flag_set.render(flag_set.load(folder), live, "lab", 7)


def test_every_shape_of_flag_fits_the_schema_that_flagd_publishes(tmp_path: Path, javascript: Path) -> None:
    """The evaluator for JavaScript brings that schema along, compiled, and ours stops where it finds a line invalid."""
    for name, text in (("shapes", SHAPES), ("users", DECLARED), ("none", "flags: {}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "some.yml").write_text(text)
    switched: dict[str, flag_set.State] = {"text": {"percent": 10}, "whole": {"to": "few"}, "object": {"rule": "semver(app_version) >= '1.2'"}}
    for line in (rendered(tmp_path / "shapes", {}), rendered(tmp_path / "shapes", switched), rendered(tmp_path / "none", {})):
        node(javascript, line, [])
    for environment in ("lab", "staging", "production"):
        assert node(javascript, rendered(ROOT / "inventories" / environment / "flags", {}), [])


@pytest.mark.parametrize(
    ("named", "other"),
    [("state", "ON"), ("variants", {"on": True, "off": 0}), ("defaultVariant", 1), ("targeting", {"fractional": [["on", "half"]]})],
)
def test_a_line_that_does_not_fit_that_schema_is_found_out(tmp_path: Path, javascript: Path, named: str, other: object) -> None:
    (tmp_path / "some.yml").write_text(DECLARED)
    line = json.loads(rendered(tmp_path, {}))
    line["flags"]["tenth"][named] = other
    with pytest.raises(subprocess.CalledProcessError) as caught:
        node(javascript, json.dumps(line).encode(), [])
    assert "invalid flagd flag configuration" in caught.value.stderr
