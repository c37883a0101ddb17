"""Nothing that the manifest does not name reaches the disk, whatever the archive holds."""

from __future__ import annotations

import copy
import os
import stat
import tarfile
import tempfile
from pathlib import Path

import bundles
import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import archive, stage
from ansible_collections.tossable.fleet.plugins.module_utils.host.archive import ArchiveError
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import Manifest
from hypothesis import given, settings
from hypothesis import strategies as st

TREE = [
    bundles.folder("app"),
    bundles.file("app/main.py", b"print('hello')\n" * 1000),
    bundles.file("app/run", b"#!/bin/sh\n", "0755"),
    bundles.folder("empty"),
    bundles.link("latest", "app/main.py"),
    bundles.file("zero"),
]


def snapshot(root: Path) -> dict[str, tuple[str, object]]:
    """Every path below the root with its mode and its content or target."""
    found: dict[str, tuple[str, object]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[path.relative_to(root).as_posix()] = (stat.filemode(status.st_mode), content)
    return found


def unpack_into(tmp_path: Path, bundle: Path, manifest: Manifest) -> Path:
    destination = tmp_path / "release"
    destination.mkdir()
    archive.unpack(bundle, manifest, destination)
    return destination


def test_an_honest_archive_arrives_as_described(tmp_path: Path) -> None:
    bundle, manifest = bundles.bundle(tmp_path, TREE)
    before = os.umask(0o077)
    try:
        destination = unpack_into(tmp_path, bundle, manifest)
    finally:
        os.umask(before)
    assert snapshot(destination) == {
        "app": ("drwxr-xr-x", None),
        "app/main.py": ("-rw-r--r--", b"print('hello')\n" * 1000),
        "app/run": ("-rwxr-xr-x", b"#!/bin/sh\n"),
        "empty": ("drwxr-xr-x", None),
        "latest": ("lrwxrwxrwx", "app/main.py"),
        "zero": ("-rw-r--r--", b""),
    }
    assert archive.verify(bundle, manifest) == archive.Unpacked(6, manifest.total)


def altered(change: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of TREE with one thing wrong."""
    members = [(bundles.member(entry), content) for entry, content in copy.deepcopy(TREE)]
    by_name = {info.name: info for info, _content in members}
    main = by_name["app/main.py"]

    def extra(**fields: object) -> None:
        info = tarfile.TarInfo("extra")
        for field, value in fields.items():
            setattr(info, field, value)
        members.append((info, b""))

    match change:
        case "extra":
            extra()
        case "absolute":
            extra(name="/etc/cron.d/evil")
        case "parent":
            extra(name="../evil")
        case "parent inside":
            extra(name="app/../../evil")
        case "device":
            main.type, main.size = tarfile.CHRTYPE, 0
        case "fifo":
            main.type, main.size = tarfile.FIFOTYPE, 0
        case "hard link":
            main.type, main.size, main.linkname = tarfile.LNKTYPE, 0, "/etc/shadow"
        case "link instead of folder":
            by_name["app"].type, by_name["app"].linkname = tarfile.SYMTYPE, "/etc"
        case "other target":
            by_name["latest"].linkname = "/etc/shadow"
        case "setuid":
            by_name["app/run"].mode = 0o4755
        case "world-writable":
            main.mode = 0o666
        case "longer":
            main.size += 15
            members = [(info, content + b"print('evil!')\n" if info is main else content) for info, content in members]
        case "other content":
            members = [(info, content.replace(b"hello", b"havoc")) for info, content in members]
        case "missing":
            members = [(info, content) for info, content in members if info is not main]
        case "twice":
            members.append((main, b"print('again')\n" * 1000))
        case "before its folder":
            members.append(members.pop(0))
        case "time":
            main.mtime = -1
        case "sparse":
            main.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    return members


REFUSALS = {
    "extra": "'extra', which is not in the manifest",
    "absolute": "the absolute path '/etc/cron.d/evil'",
    "parent": "leaves the release by '..'",
    "parent inside": "leaves the release by '..'",
    "device": "is a character device in the archive, the manifest says file",
    "fifo": "is a fifo in the archive",
    "hard link": "is a hard link in the archive",
    "link instead of folder": "'app' is link in the archive, the manifest says directory",
    "other target": "points to '/etc/shadow' in the archive",
    "setuid": "has the mode 4755 in the archive, the manifest says 0755",
    "world-writable": "has the mode 0666 in the archive",
    "longer": "has 15015 bytes in the archive, the manifest says 15000",
    "other content": "has the sha256",
    "missing": "lacks 1 entries of the manifest, first 'app/main.py'",
    "twice": "'app/main.py' twice",
    "before its folder": "before its folder 'app'",
    "time": "modification time -1",
    "sparse": "is not a readable tar archive",
}


@pytest.mark.parametrize("change", REFUSALS)
def test_an_archive_that_differs_from_its_manifest_is_refused_by_name(tmp_path: Path, change: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    bundle = bundles.compress(tmp_path / "shop-1.0.0.tar.zst", bundles.tar(altered(change)))
    manifest = bundles.describe(TREE, bundle)
    with pytest.raises(ArchiveError) as refused:
        unpack_into(outside, bundle, manifest)
    assert REFUSALS[change] in refused.value.message
    assert set(snapshot(outside)) <= {"release", *(f"release/{entry.path}" for entry, _content in TREE)}
    with pytest.raises(ArchiveError) as again:
        archive.verify(bundle, manifest)
    assert again.value.message == refused.value.message


def test_an_archive_with_other_bytes_is_not_even_opened(tmp_path: Path) -> None:
    bundle, manifest = bundles.bundle(tmp_path, TREE)
    raw = bytearray(bundle.read_bytes())
    raw[len(raw) // 2] ^= 1
    bundle.write_bytes(raw)
    with pytest.raises(ArchiveError, match="it was altered"):
        unpack_into(tmp_path, bundle, manifest)
    assert snapshot(tmp_path / "release") == {}
    bundle.write_bytes(raw[:-1])
    with pytest.raises(ArchiveError, match="altered or is incomplete"):
        archive.verify(bundle, manifest)


def test_a_host_says_from_where_it_got_other_bytes_and_what_to_do(tmp_path: Path) -> None:
    bundle, manifest = bundles.bundle(tmp_path, TREE)
    bundle.write_bytes(bundle.read_bytes()[:-1])
    config = Config("shop", "shop", "shop", "", "", (), None, None, None, 3, "")
    artifact = stage.Artifact("1.0.0", manifest.archive.sha256, "http://store:8080/shop/1.0.0")
    with pytest.raises(HostError) as refused:
        stage._unpack(config, artifact, manifest, str(tmp_path / "release"), str(bundle))
    told = refused.value.message
    assert told.startswith("http://store:8080/shop/1.0.0/shop-1.0.0.tar.zst is not what was signed: shop-1.0.0.tar.zst has ")
    assert "it was altered or is incomplete. Nothing of it is kept on this host." in told
    assert "remove the folder of 1.0.0 there and upload it anew (build.yml -e app=shop -e version=1.0.0), or deploy another version." in told


@pytest.mark.parametrize("rubbish", [b"", b"\0" * 600, b"not a tar" * 100, bytes(range(256)) * 40])
def test_rubbish_is_refused(tmp_path: Path, rubbish: bytes) -> None:
    bundle = bundles.compress(tmp_path / "a", rubbish)
    with pytest.raises(ArchiveError):
        archive.verify(bundle, bundles.describe(TREE, bundle))
    bundle.write_bytes(rubbish)
    with pytest.raises(ArchiveError):
        archive.verify(bundle, bundles.describe(TREE, bundle))


def test_a_bomb_ends_at_what_the_manifest_promised(tmp_path: Path) -> None:
    """300 MB of zeros behind the last member pack into a few KB; reading stops early."""
    plain = bundles.tar((bundles.member(entry), content) for entry, content in TREE)
    bundle = bundles.compress(tmp_path / "bomb", plain + bytes(300_000_000))
    assert bundle.stat().st_size < 100_000
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        archive.verify(bundle, bundles.describe(TREE, bundle))


def test_a_huge_extended_header_is_not_read_into_memory(tmp_path: Path) -> None:
    info = bundles.member(TREE[0][0])
    info.pax_headers = {"comment": "x" * 50_000_000}
    bundle = bundles.compress(tmp_path / "bomb", bundles.tar([(info, b"")]))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        archive.verify(bundle, bundles.describe(TREE, bundle))


names = st.sampled_from(["app", "app/main.py", "latest", "/etc/x", "../x", "app/../../x", "latest/x", "x", "", ".", "a" * 300])
infos = st.builds(
    lambda name, kind, mode, target, mtime, content: (name, kind, mode, target, mtime, content),
    names,
    st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"Z"]),
    st.sampled_from([0o644, 0o755, 0o777, 0o4755, 0o2755]),
    st.sampled_from(["", "app/main.py", "/etc/passwd", "../../x", "."]),
    st.sampled_from([0, 1.5, -5, 2**40]),
    st.binary(max_size=40),
)


@settings(max_examples=150)
@given(st.lists(infos, max_size=6), st.binary(max_size=600), st.integers(0, 6))
def test_no_archive_writes_outside_or_breaks_the_reader(members: list[tuple[str, bytes, int, str, float, bytes]], noise: bytes, keep: int) -> None:
    """Honest members, then nasty ones, then noise: either it is the tree of the manifest, or it is refused in words."""
    made = [(bundles.member(entry), content) for entry, content in TREE[:keep]]
    for name, kind, mode, target, mtime, content in members:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname, info.mtime = kind, mode, target, mtime
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        made.append((info, content))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bundle = bundles.compress(root / "bundle", bundles.tar(made) + noise)
        manifest = bundles.describe(TREE, bundle)
        try:
            unpack_into(root, bundle, manifest)
        except HostError:
            allowed = {entry.path for entry, _content in TREE}
            assert set(snapshot(root / "release")) <= allowed
        else:
            assert set(snapshot(root / "release")) == {entry.path for entry, _content in TREE}
        assert sorted(path.name for path in root.iterdir()) == ["bundle", "release"]


@settings(max_examples=150)
@given(st.data())
def test_flipped_bytes_of_a_tar_never_break_the_reader(data: st.DataObject) -> None:
    raw = bytearray(bundles.tar((bundles.member(entry), content) for entry, content in TREE[:4]))
    for _flip in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundles.compress(Path(folder) / "bundle", bytes(raw))
        manifest = bundles.describe(TREE[:4], bundle)
        try:
            destination = unpack_into(Path(folder), bundle, manifest)
        except HostError:
            return
        assert destination.joinpath("app/main.py").read_bytes() == TREE[1][1]
