"""A manifest is refused unless the tree it describes can only be written below one folder."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import bundles
import pytest
import yaml
from ansible_collections.tossable.fleet.plugins.module_utils.host import manifest as subject
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import (
    ManifestError,
    check_link,
    check_path,
    expect,
    parse_manifest,
    render_manifest,
)
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st

TREE = [bundles.folder("app"), bundles.file("app/main.py", b"x" * 10), bundles.link("latest", "app/main.py")]


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    _bundle, manifest = bundles.bundle(tmp_path, TREE)
    found: dict[str, Any] = json.loads(render_manifest(manifest))
    return found


def parse(document: Any) -> Any:
    return parse_manifest(json.dumps(document).encode())


def test_rendered_and_parsed_is_the_same(tmp_path: Path) -> None:
    _bundle, manifest = bundles.bundle(tmp_path, TREE)
    assert parse_manifest(render_manifest(manifest)) == manifest
    assert render_manifest(manifest).endswith(b"}\n")
    assert manifest.release_id == f"1.0.0-{manifest.archive.sha256[:8]}"


def test_processes_have_the_names_that_the_role_takes(document: dict[str, Any]) -> None:
    names = ("mail_out", "mail-out", "w2")
    assert parse({**document, "processes": names}).processes == names
    variables = yaml.safe_load((ROOT / "roles" / "app" / "vars" / "main.yml").read_text())
    assert variables["__app_process_name"] == subject._PROCESS.pattern


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("schema", 2, "schema 2, this program reads schema 1"),
        ("schema", True, "schema True"),
        ("app", "../etc", "app is '../etc'"),
        ("app", "Shop", "app is 'Shop'"),
        ("version", "1.0/..", "version is '1.0/..'"),
        ("version", "..", "version is '..'"),
        ("version", "1.0\n", r"version is '1.0\\n'"),
        ("commit", "main", "commit is 'main'"),
        ("built_at", "today", "built_at is 'today'"),
        ("built_by", "a\nb", "built_by is"),
        ("archive", {"name": "other.tar.zst", "sha256": "0" * 64, "size": 1}, "names the archive 'other.tar.zst'"),
        ("archive", {"name": "shop-1.0.0.tar.zst", "sha256": "0" * 63, "size": 1}, "archive.sha256"),
        ("archive", {"name": "shop-1.0.0.tar.zst", "sha256": "0" * 64, "size": -1}, "archive.size"),
        ("archive", None, "archive is of type NoneType"),
        ("total", 11, "total is 11 bytes, its files add up to 10"),
        ("hooks", {"install": "rm -rf /"}, "hooks.install is of type str"),
        ("hooks", {"install": []}, "expected the words of a command"),
        ("hooks", {"install": [""]}, "expected the words of a command"),
        ("hooks", {"../x": ["true"]}, "the name of a hook"),
        ("processes", [], "one or more names"),
        ("processes", ["web", "web"], "none of them twice"),
        ("processes", ["web.service/../x"], "a name in processes"),
        ("files", {}, "files is of type dict"),
        ("surprise", 1, "unknown 'surprise'"),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, Any], key: str, value: Any, told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        parse(document | {key: value})


MIGRATIONS = [
    {"id": "0001-prices", "phase": "expand", "class": "reversible", "command": ["python3", "-m", "shop.migrate"]},
    {"id": "0002-old-prices", "phase": "contract", "class": "forward-only", "command": ["python3", "-m", "shop.migrate", "2"]},
]


def test_migrations_keep_their_order_and_a_manifest_without_any_is_as_before(tmp_path: Path, document: dict[str, Any]) -> None:
    assert "migrations" not in document
    found = parse(document | {"migrations": MIGRATIONS})
    assert [migration.told()["id"] for migration in found.migrations] == ["0001-prices", "0002-old-prices"]
    assert found.migrations[1].class_ == "forward-only"
    assert parse_manifest(render_manifest(found)) == found
    assert json.loads(render_manifest(found))["migrations"] == MIGRATIONS
    assert parse(document).migrations == parse(document | {"migrations": []}).migrations == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "0001-prices"}, "migrations.1. has the id '0001-prices' of one before it"),
        ({"id": 2}, r"migrations\[1\]\.id is 2"),
        ({"id": "../2"}, "id is '../2'"),
        ({"phase": "deploy"}, "phase is 'deploy', expected expand or contract"),
        ({"phase": ["expand"]}, "phase is"),
        ({"class": "irreversible"}, "class is 'irreversible', expected reversible or forward-only"),
        ({"class": None}, "class is None"),
        ({"command": "rm -rf /"}, "command is of type str"),
        ({"command": []}, "expected the words of a command"),
        ({"command": [1]}, "expected the words of a command"),
        ({"when": "now"}, "unknown 'when'"),
    ],
)
def test_a_bad_migration_is_named(document: dict[str, Any], change: dict[str, Any], told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        parse(document | {"migrations": [MIGRATIONS[0], {**MIGRATIONS[1], **change}]})


def test_a_migration_lacks_nothing(document: dict[str, Any]) -> None:
    for key in MIGRATIONS[0]:
        with pytest.raises(ManifestError, match=f"lacks {key}"):
            parse(document | {"migrations": [{name: value for name, value in MIGRATIONS[0].items() if name != key}]})


@pytest.mark.parametrize("key", ["schema", "app", "archive", "files", "total", "hooks", "processes"])
def test_what_lacks_is_named(document: dict[str, Any], key: str) -> None:
    del document[key]
    with pytest.raises(ManifestError, match=key):
        parse(document)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"path": "/etc/passwd"}, "is absolute"),
        ({"path": "app/../../x"}, "leaves the release by '..'"),
        ({"path": "app//x"}, "shortest form"),
        ({"path": "./x"}, "shortest form"),
        ({"path": "app/x/"}, "shortest form"),
        ({"path": ".tossable/manifest.json"}, "reserved"),
        ({"path": "app/a\u0000"}, "control character"),
        ({"path": "app/\ud800"}, "not UTF-8"),
        ({"path": "app/" + "a" * 256}, "too long"),
        ({"path": 7}, "expected text"),
        ({"path": "app"}, "twice or out of order"),
        ({"path": "lib/main.py"}, "does not list as a directory"),
        ({"type": "device"}, "has the type 'device'"),
        ({"type": ["file"]}, "has the type"),
        ({"mode": "4755"}, "has the mode '4755'"),
        ({"mode": "0666"}, "has the mode '0666'"),
        ({"size": True}, "expected a number of bytes"),
        ({"size": 1.5}, "expected a number of bytes"),
        ({"sha256": "A" * 64}, "sha256 of"),
        ({"target": "x"}, "unknown 'target'"),
    ],
)
def test_a_bad_file_is_named(document: dict[str, Any], change: dict[str, Any], told: str) -> None:
    document["files"][1] |= change
    with pytest.raises(ManifestError, match=told):
        parse(document)


def test_a_file_below_a_link_or_a_file_is_refused(document: dict[str, Any]) -> None:
    document["files"].append(document["files"][1] | {"path": "latest/x"})
    with pytest.raises(ManifestError, match="'latest/x' lies in 'latest'"):
        parse(document)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"{", b"\xff", b'{"schema": 1, "schema": 1}', b'{"schema": NaN}', b"[" * 100_000, b"9" * 5000],
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(raw)


def test_another_application_or_version_is_refused(tmp_path: Path) -> None:
    _bundle, manifest = bundles.bundle(tmp_path, TREE)
    expect(manifest, "shop", "1.0.0")
    with pytest.raises(ManifestError, match="of the application 'shop', expected 'till'"):
        expect(manifest, "till")
    with pytest.raises(ManifestError, match=r"version '1.0.0', expected '1.0.1'"):
        expect(manifest, "shop", "1.0.1")


@pytest.mark.parametrize(
    ("links", "inside"),
    [
        ({"a": "b"}, True),
        ({"a/b/c": "../../d"}, True),
        ({"a/b/c": "../../../d"}, False),
        ({"a": "/etc"}, False),
        ({"a": ".."}, False),
        ({"a": "."}, True),
        ({"a": ""}, False),
        ({"a": "a"}, False),
        ({"a": "b", "b": "a"}, False),
        # As text a/b/l/../x is inside; through the link it is beside the release.
        ({"a/b/l": "../..", "m": "a/b/l/../x"}, False),
        ({"a/b/l": "../..", "m": "a/b/l/x"}, True),
        ({"n": "m/x", "m": "/etc"}, False),
    ],
)
def test_links_are_followed_as_the_kernel_does(links: dict[str, str], inside: bool) -> None:
    path = list(links)[-1]
    if inside:
        check_link(path, links)
    else:
        with pytest.raises(ManifestError):
            check_link(path, links)


parts = st.sampled_from(["a", "b", "c", "..", ".", ""])


@given(st.dictionaries(st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a"]), st.lists(parts, min_size=1, max_size=6).map("/".join)))
def test_a_link_that_passes_resolves_inside_on_a_real_file_system(tmp_path_factory: pytest.TempPathFactory, links: dict[str, str]) -> None:
    root = tmp_path_factory.mktemp("tree") / "one" / "two"
    (root / "d" / "e").mkdir(parents=True)
    for path, target in links.items():
        if target:
            (root / path).symlink_to(target)
    for path in links:
        try:
            check_link(path, links)
        except ManifestError:
            continue
        assert (root / path).resolve().is_relative_to(root)


@given(st.text())
def test_a_path_that_passes_stays_below_its_root(path: str) -> None:
    try:
        check_path(path)
    except ManifestError:
        return
    assert Path("/root/of", path).resolve().is_relative_to("/root/of")
    assert Path(path).as_posix() == path


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_no_json_breaks_the_reader(found: Any) -> None:
    with pytest.raises(ManifestError):
        parse(found)


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)


@given(st.data())
def test_no_odd_value_anywhere_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Every value of a good manifest, at every depth, replaced by any other."""
    _bundle, manifest = bundles.bundle(tmp_path_factory.mktemp("odd"), TREE)
    document: Any = json.loads(render_manifest(manifest))
    where: Any = document
    while True:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(where[key], (dict, list)) or not where[key] or data.draw(st.booleans()):
            break
        where = where[key]
    where[key] = data.draw(json_values)
    with contextlib.suppress(ManifestError):
        parse(document)
