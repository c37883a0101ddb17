"""Artifacts built for real, with git, zstd and ssh-keygen: the same bytes every time, and each refusal in words."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils import artifact_build
from ansible_collections.tossable.fleet.plugins.module_utils.artifact import Paths, Request, paths_of
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import ArtifactError, parse_manifest

Signers = list[dict[str, str]]


def run(*words: str, cwd: Path | None = None) -> str:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_DATE": "2026-11-20T20:00:00Z",
        "GIT_COMMITTER_DATE": "2026-11-20T20:00:00Z",
        "GIT_AUTHOR_NAME": "builder",
        "GIT_AUTHOR_EMAIL": "builder@lab",
        "GIT_COMMITTER_NAME": "builder",
        "GIT_COMMITTER_EMAIL": "builder@lab",
    }
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=True).stdout


def make_key(path: Path) -> Path:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
    return path


def signer(key: Path) -> Signers:
    return [{"principal": "builder@lab", "key": Path(f"{key}.pub").read_text()}]


def make_source(folder: Path) -> Path:
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "main.py").write_text("print('hello')\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "latest").symlink_to("app/main.py")
    (folder / "notes.md").write_text("not for hosts\n")
    return folder


def commit_all(folder: Path) -> str:
    if not (folder / ".git").exists():
        run("git", "init", "-q", "-b", "main", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", "commit", "-q", "--allow-empty", "-m", "x", cwd=folder)
    return run("git", "rev-parse", "HEAD", cwd=folder).strip()


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "signing_key")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    source = make_source(tmp_path / "source")
    return Request(
        app="shop",
        version="1.0.0",
        source=str(source),
        processes=("web", "worker"),
        commands=('echo "$VERSION" > VERSION', "date +%s > /dev/null"),
        hooks={"install": ("python3", "-m", "compileall", "-q", ".")},
        exclude=("*.md",),
        built_by="builder@lab",
    )


def built(request: Request, root: Path, key: Path, **more: Any) -> dict[str, Any]:
    return artifact_build.build(request, str(root), str(key), **more)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_commit_gives_the_same_bytes_wherever_and_however_it_is_built(tmp_path: Path, request_: Request, key: Path) -> None:
    """All three files, signature included, from a clone elsewhere, under another umask, after files were touched."""
    commit = commit_all(Path(request_.source))
    first = built(request_, tmp_path / "one", key)
    elsewhere = tmp_path / "quite" / "another" / "place"
    run("git", "clone", "-q", request_.source, str(elsewhere))
    for path in elsewhere.rglob("*.py"):
        os.utime(path, (1, 1))
    before = os.umask(0o077)
    try:
        second = built(replace(request_, source=str(elsewhere)), tmp_path / "two", key)
    finally:
        os.umask(before)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 3
    assert first["artifact"]["commit"] == second["artifact"]["commit"] == commit
    assert first["artifact"]["built_at"] == "2026-11-20T20:00:00Z"


def test_a_folder_without_git_gives_the_same_archive_too(tmp_path: Path, request_: Request, key: Path) -> None:
    first = built(request_, tmp_path / "one", key)
    shutil.copytree(request_.source, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "app" / "main.py").touch()
    second = built(replace(request_, source=str(tmp_path / "copy")), tmp_path / "two", key)
    assert first["artifact"]["sha256"] == second["artifact"]["sha256"]
    assert first["artifact"]["commit"] is None


def test_the_manifest_names_what_is_in_it(root: Path, request_: Request, key: Path) -> None:
    result = built(request_, root, key)
    manifest = json.loads(Path(result["artifact"]["manifest"]).read_bytes())
    assert [(entry["path"], entry["type"], entry["mode"]) for entry in manifest["files"]] == [
        ("VERSION", "file", "0644"),
        ("app", "directory", "0755"),
        ("app/main.py", "file", "0644"),
        ("latest", "link", "0777"),
        ("run.sh", "file", "0755"),
    ]
    assert manifest["archive"]["name"] == "shop-1.0.0.tar.zst"
    assert manifest["hooks"] == {"install": ["python3", "-m", "compileall", "-q", "."]}
    assert manifest["processes"] == ["web", "worker"]


def test_a_second_build_changes_nothing(root: Path, request_: Request, key: Path) -> None:
    assert built(request_, root, key)["changed"]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    second = built(request_, root, key)
    assert (second["changed"], second["existed"]) == (False, True)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_check_mode_tells_and_leaves_nothing(root: Path, request_: Request, key: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    assert built(request_, root, key, dry=True, log=str(log))["changed"]
    assert not root.exists()
    assert not log.exists()
    built(request_, root, key)
    assert not built(request_, root, key, dry=True)["changed"]


def test_a_version_is_never_replaced_by_other_bytes(root: Path, request_: Request, key: Path) -> None:
    built(request_, root, key)
    before = contents(root)
    Path(request_.source, "app", "main.py").write_text("print('havoc')\n")
    with pytest.raises(ArtifactError, match=r"differs in: app/main.py\. A version is built once"):
        built(request_, root, key)
    assert contents(root) == before


def test_a_new_key_signs_anew_and_touches_nothing_else(tmp_path: Path, root: Path, request_: Request, key: Path) -> None:
    built(request_, root, key)
    before = contents(root)
    other = make_key(tmp_path / "other_key")
    result = built(request_, root, other)
    assert (result["changed"], result["existed"]) == (True, True)
    assert [name for name, content in contents(root).items() if before[name] != content] == ["shop/1.0.0/shop-1.0.0.manifest.json.sig"]
    assert artifact_build.verify(str(root), "shop", "1.0.0", signer(other))["artifact"]["signer"] == "builder@lab"
    assert sorted(path.name for path in root.rglob("*") if path.name.startswith(".")) == []


def test_a_half_made_or_altered_version_in_place_is_named(root: Path, request_: Request, key: Path) -> None:
    paths = paths_of(str(root), "shop", "1.0.0")
    built(request_, root, key)
    Path(paths.archive).write_bytes(b"x")
    with pytest.raises(ArtifactError, match="holds no whole artifact"):
        built(request_, root, key)
    os.unlink(paths.manifest)
    with pytest.raises(ArtifactError, match="Remove the folder and build again"):
        built(request_, root, key)


def test_a_commit_is_built_without_what_came_later(root: Path, request_: Request, key: Path) -> None:
    source = Path(request_.source)
    commit = commit_all(source)
    (source / "app" / "later.py").write_text("")
    result = built(replace(request_, commit=commit[:10]), root, key)
    assert result["artifact"]["commit"] == commit
    paths = [entry.path for entry in parse_manifest(Path(result["artifact"]["manifest"]).read_bytes()).files]
    assert "app/later.py" not in paths
    with pytest.raises(ArtifactError, match="no commit 'nonsense'"):
        built(replace(request_, commit="nonsense"), root, key)
    with pytest.raises(ArtifactError, match="no commit '--help'"):
        built(replace(request_, commit="--help"), root, key)


def test_uncommitted_changes_are_built_without_a_commit_and_told(root: Path, request_: Request, key: Path) -> None:
    source = Path(request_.source)
    (source / ".gitignore").write_text("junk\n")
    commit_all(source)
    (source / "junk").write_text("ignored")
    (source / "new.py").write_text("")
    (source / "run.sh").unlink()
    result = built(request_, root, key)
    assert result["artifact"]["commit"] is None
    assert "not committed" in result["warnings"][0]
    paths = [entry.path for entry in parse_manifest(Path(result["artifact"]["manifest"]).read_bytes()).files]
    assert paths == [".gitignore", "VERSION", "app", "app/main.py", "latest", "new.py"]


def test_a_folder_of_a_repository_keeps_its_bytes_when_the_rest_moves_on(tmp_path: Path, request_: Request, key: Path, root: Path) -> None:
    repository = tmp_path / "repository"
    make_source(repository / "shop")
    commit_all(repository)
    request = replace(request_, source=str(repository / "shop"))
    first = built(request, root, key)
    (repository / "README").write_text("elsewhere")
    commit_all(repository)
    second = built(request, root, key)
    assert not second["changed"]
    assert first["artifact"] == second["artifact"]


def test_a_folder_that_its_repository_ignores_is_a_plain_folder(tmp_path: Path, request_: Request, key: Path, root: Path) -> None:
    repository = tmp_path / "repository"
    make_source(repository / "ignored" / "shop")
    (repository / ".gitignore").write_text("/ignored/\n")
    commit_all(repository)
    assert built(replace(request_, source=str(repository / "ignored" / "shop")), root, key)["artifact"]["commit"] is None


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "../app/../../x"])
def test_a_link_that_leaves_is_refused_by_path(root: Path, request_: Request, key: Path, target: str) -> None:
    Path(request_.source, "app", "evil").symlink_to(target)
    with pytest.raises(ArtifactError, match="'app/evil'"):
        built(request_, root, key)
    assert not root.exists()


@pytest.mark.parametrize("place", ["source", "output"])
def test_fifo_socket_and_setuid_are_refused_by_path(root: Path, request_: Request, key: Path, place: str) -> None:
    source = Path(request_.source)
    if place == "source":
        os.mkfifo(source / "app" / "pipe")
        with pytest.raises(ArtifactError, match="'app/pipe' is a fifo"):
            built(request_, root, key)
        os.unlink(source / "app" / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(source / "app" / "s"))
            with pytest.raises(ArtifactError, match="'app/s' is a socket"):
                built(request_, root, key)
    else:
        for command, told in [("mkfifo app/pipe", "is a fifo"), ("chmod u+s run.sh", "has the mode 4700"), ("mkdir .tossable", "reserved")]:
            with pytest.raises(ArtifactError, match=told):
                built(replace(request_, commands=(command,)), root, key)


def test_a_failing_command_shows_its_last_lines(tmp_path: Path, root: Path, request_: Request, key: Path) -> None:
    log = tmp_path / "logs" / "shop.log"
    request = replace(request_, commands=("seq 100", "echo why >&2; exit 3", "touch never"))
    with pytest.raises(ArtifactError) as failed:
        built(request, root, key, log=str(log))
    assert "'echo why >&2; exit 3' of shop ended with 3" in failed.value.message
    assert str(log) in failed.value.message
    assert failed.value.evidence[-2:] == ["$ echo why >&2; exit 3", "why"]
    assert len(failed.value.evidence) == 20
    assert "100\n" in log.read_text()
    assert not root.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": "/nowhere"}, "which is no folder"),
        ({"output": "dist"}, "no such folder"),
        ({"output": "../.."}, "inside the source"),
        ({"exclude": ("*",)}, "holds no file"),
        ({"version": "../x"}, "version is"),
        ({"app": "Shop"}, "app is"),
        ({"commit": "main"}, "is in no git repository"),
        ({"processes": ()}, "processes is"),
    ],
)
def test_a_request_that_cannot_be_met_is_answered_in_words(root: Path, request_: Request, key: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ArtifactError, match=told):
        built(replace(request_, **change), root, key)
    assert not root.exists()


def test_a_missing_or_unreadable_signing_key_is_named(tmp_path: Path, root: Path, request_: Request) -> None:
    with pytest.raises(ArtifactError, match="there is no signing key at"):
        built(request_, root, tmp_path / "none")
    (tmp_path / "rubbish").write_text("x")
    with pytest.raises(ArtifactError, match="is not a key"):
        built(request_, root, tmp_path / "rubbish")


class TestVerify:
    @pytest.fixture
    def paths(self, root: Path, request_: Request, key: Path) -> Paths:
        built(request_, root, key)
        return paths_of(str(root), "shop", "1.0.0")

    def refusal(self, root: Path, signers: Signers, app: str = "shop", version: str = "1.0.0") -> str:
        with pytest.raises(ArtifactError) as refused:
            artifact_build.verify(str(root), app, version, signers)
        return refused.value.message

    def test_a_good_one_passes(self, root: Path, paths: Paths, key: Path) -> None:
        result = artifact_build.verify(str(root), "shop", "1.0.0", signer(key))
        assert result["artifact"]["signer"] == "builder@lab"
        os.unlink(paths.archive)
        assert artifact_build.verify(str(root), "shop", "1.0.0", signer(key), manifest_only=True)
        assert "there is no" in self.refusal(root, signer(key))

    def test_unsigned(self, root: Path, paths: Paths, key: Path) -> None:
        os.unlink(paths.signature)
        assert "is not signed" in self.refusal(root, signer(key))

    def test_no_signature_in_the_signature_file(self, root: Path, paths: Paths, key: Path) -> None:
        for rubbish in (b"", b"x", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", b"\xff"):
            Path(paths.signature).write_bytes(rubbish)
            assert "holds no OpenSSH signature" in self.refusal(root, signer(key))

    def test_an_altered_manifest(self, root: Path, paths: Paths, key: Path) -> None:
        altered = Path(paths.manifest).read_text().replace("builder@lab", "someone@lab")
        Path(paths.manifest).write_text(altered)
        assert "altered after it was signed" in self.refusal(root, signer(key))

    def test_an_altered_archive(self, root: Path, paths: Paths, key: Path) -> None:
        raw = bytearray(Path(paths.archive).read_bytes())
        raw[-1] ^= 1
        Path(paths.archive).write_bytes(raw)
        told = self.refusal(root, signer(key))
        assert told.startswith(f"{paths.archive} is not what was signed: shop-1.0.0.tar.zst has the sha256 ")
        assert told.endswith(f"then remove {paths.folder} and build again.")

    def test_an_unknown_key_is_shown_by_its_fingerprint(self, tmp_path: Path, root: Path, paths: Paths, key: Path) -> None:
        told = self.refusal(root, signer(make_key(tmp_path / "other")))
        assert artifact_build.fingerprint(str(key)) in told
        assert "which app_allowed_signers does not list" in told
        assert paths.signature in told

    def test_a_signature_for_another_purpose(self, root: Path, paths: Paths, key: Path) -> None:
        os.unlink(paths.signature)
        run("ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "file", paths.manifest)
        assert "made for the namespace 'file', expected 'artifact@tossable'" in self.refusal(root, signer(key))

    def test_another_application_in_its_place(self, root: Path, paths: Paths, key: Path) -> None:
        other = paths_of(str(root), "till", "1.0.0")
        os.makedirs(other.folder)
        for name in ("archive", "manifest", "signature"):
            shutil.copy(getattr(paths, name), getattr(other, name))
        assert "of the application 'shop', expected 'till'" in self.refusal(root, signer(key), app="till")

    def test_a_signed_manifest_that_is_none(self, root: Path, paths: Paths, key: Path) -> None:
        Path(paths.manifest).write_text('{"schema": 2}')
        os.unlink(paths.signature)
        artifact_build.sign(paths.manifest, str(key))
        assert "schema 2, this program reads schema 1" in self.refusal(root, signer(key))

    def test_a_version_that_was_never_built(self, root: Path, key: Path) -> None:
        assert "-e app=shop -e version=9" in self.refusal(root, signer(key), version="9")
