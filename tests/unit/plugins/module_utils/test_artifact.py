"""What an artifact may hold and when it may take its place."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.artifact import (
    Node,
    Origin,
    Request,
    allowed_signers_file,
    build_environment,
    changed_paths,
    entry_of,
    excluded,
    iso,
    paths_of,
    same_artifact,
)
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import Archive, ArtifactError, Entry, Manifest, Migration

MANIFEST = Manifest(
    app="shop",
    version="1.0.0",
    commit="a" * 40,
    built_at="2026-11-20T20:00:00Z",
    built_by="builder@lab",
    archive=Archive("shop-1.0.0.tar.zst", "0" * 64, 10),
    files=(Entry("a", "file", "0644", 1, "1" * 64), Entry("b", "file", "0644", 1, "2" * 64)),
    total=2,
    hooks={"install": ("true",)},
    processes=("web",),
)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a/__pycache__/x.pyc", "__pycache__", True),
        ("a/b.md", "*.md", True),
        ("a/b.md.txt", "*.md", False),
        ("vendor/bin/uvicorn", "vendor/bin", True),
        ("x/vendor/bin/uvicorn", "vendor/bin", False),
        ("vendor/h11.dist-info/RECORD", "vendor/*.dist-info/RECORD", True),
        ("tests/test_x.py", "tests/", True),
        ("app/tests/test_x.py", "tests/", True),
        ("app/tests/test_x.py", "/tests", False),
        ("Tests", "tests", False),
        ("a", "", False),
    ],
)
def test_excluded(path: str, pattern: str, expected: bool) -> None:
    assert excluded(path, [pattern]) is expected


@pytest.mark.parametrize(
    ("kind", "told"),
    [(stat.S_IFCHR, "character device"), (stat.S_IFBLK, "block device"), (stat.S_IFIFO, "fifo"), (stat.S_IFSOCK, "socket")],
)
def test_special_files_are_refused_by_path(kind: int, told: str) -> None:
    with pytest.raises(ArtifactError, match=f"'run/x' is a {told}"):
        entry_of(Node("run/x", kind | 0o644))


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
def test_setuid_and_setgid_are_refused_by_path(mode: int) -> None:
    with pytest.raises(ArtifactError, match=f"'bin/x' has the mode {mode:04o}"):
        entry_of(Node("bin/x", stat.S_IFREG | mode))


@pytest.mark.parametrize(("mode", "expected"), [(0o600, "0644"), (0o664, "0644"), (0o700, "0755"), (0o775, "0755"), (0o111, "0755")])
def test_modes_do_not_depend_on_a_umask(mode: int, expected: str) -> None:
    assert entry_of(Node("x", stat.S_IFREG | mode)).mode == expected
    assert entry_of(Node("x", stat.S_IFDIR | 0o2770)).mode == "0755"


def test_build_commands_see_a_repeatable_environment() -> None:
    request = Request("shop", "1.0.0", ".", ("web",))
    seen = build_environment(request, Origin(None, 7, iso(7)), {"PYTHONPATH": "x", "PIP_INDEX_URL": "y", "VERSION": "z"}, "/python")
    assert seen["VERSION"] == "1.0.0"
    assert seen["SOURCE_DATE_EPOCH"] == "7"
    assert seen["PYTHONHASHSEED"] == "0"
    assert seen["PIP_INDEX_URL"] == "y"
    assert seen["PYTHON"] == "/python"
    assert "PYTHONPATH" not in seen


def test_the_same_bytes_may_come_from_another_commit() -> None:
    same_artifact(MANIFEST, MANIFEST._replace(commit=None, built_at="2027-01-01T00:00:00Z", built_by="x"), "/store")


def test_other_bytes_or_other_hooks_are_refused_with_what_differs() -> None:
    other = MANIFEST._replace(
        archive=Archive("shop-1.0.0.tar.zst", "f" * 64, 10), files=(MANIFEST.files[0], MANIFEST.files[1]._replace(sha256="3" * 64))
    )
    with pytest.raises(ArtifactError) as refused:
        same_artifact(MANIFEST, other, "/store/shop/1.0.0")
    for part in ("/store/shop/1.0.0", "0" * 64, "f" * 64, "differs in: b.", "choose another"):
        assert part in refused.value.message
    with pytest.raises(ArtifactError, match="with the processes"):
        same_artifact(MANIFEST, MANIFEST._replace(processes=("web", "worker")), "/store")
    with pytest.raises(ArtifactError, match="with the migrations"):
        same_artifact(MANIFEST, MANIFEST._replace(migrations=(Migration("0001", "expand", "reversible", ("true",)),)), "/store")


def test_changed_paths() -> None:
    a, b = MANIFEST.files
    assert changed_paths([a, b], [a, replace_mode(b), Entry("c", "directory", "0755")]) == ["b", "c"]


def replace_mode(entry: Entry) -> Entry:
    return entry._replace(mode="0755")


def test_paths() -> None:
    paths = paths_of("/a/", "shop", "1.0.0")
    assert paths.signature == "/a/shop/1.0.0/shop-1.0.0.manifest.json.sig"
    assert replace(paths, folder="/a") != paths


def test_allowed_signers_count_for_artifacts_only() -> None:
    text = allowed_signers_file([{"principal": "builder@lab", "key": " ssh-ed25519 AAAA me\n"}])
    assert 'namespaces="desired@tossable"' in allowed_signers_file([{"principal": "a", "key": "ssh-ed25519 AAAA"}], "desired@tossable")
    assert text == 'builder@lab namespaces="artifact@tossable" ssh-ed25519 AAAA me\n'
    for principal, key in [("a b", "ssh-ed25519 AAAA"), ("a", "AAAA"), ("", "ssh-ed25519 AAAA"), ("a", "ssh-ed25519 A\nroot ssh-x B")]:
        with pytest.raises(ArtifactError, match="is not usable"):
            allowed_signers_file([{"principal": principal, "key": key}])
