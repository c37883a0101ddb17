"""The call of the transaction program really checks each byte, in a real shell."""

from __future__ import annotations

import io
import pathlib
import subprocess
import tarfile
import types
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import host_program
from ansible_collections.tossable.fleet.plugins.plugin_utils.host_action import HostAction


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(host_program, "HOME", str(tmp_path / "tossable"))
    return tmp_path / "tossable"


def shell(command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", command], input=given, capture_output=True, check=False)


def install() -> host_program.Program:
    wanted = host_program.program()
    done = shell(host_program.install_command(wanted), host_program.bundle(wanted))
    assert done.returncode == 0, done.stderr
    return wanted


def call(wanted: host_program.Program) -> subprocess.CompletedProcess[bytes]:
    return shell(host_program.call_command(wanted, "info", "no-such-app", {}))


def test_a_missing_program_is_told_apart_from_every_answer(home: pathlib.Path) -> None:
    assert not home.exists()
    assert call(host_program.program()).returncode == host_program.NOT_THERE


def test_an_installed_program_answers(home: pathlib.Path) -> None:
    done = call(install())
    assert done.returncode == 0, done.stderr
    assert b"never provisioned for the application no-such-app" in done.stdout
    assert (home / "current").readlink().name == host_program.program().digest[:16]


class Action(HostAction):
    """The action without Ansible around it; the host is a shell here, which a task asks as Ansible does."""

    def __init__(self, check_mode: bool = False) -> None:
        self.sent: list[tuple[int, int]] = []
        self._task = types.SimpleNamespace(check_mode=check_mode)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        return {}

    def _low_level_execute_command(self, cmd: str, in_data: bytes | None = None) -> dict[str, Any]:
        self.sent.append((len(cmd), len(in_data or b"")))
        done = shell(cmd, in_data or b"")
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("size", [10, host_program.LONGEST_ARGUMENT, 500_000])
def test_input_of_any_length_arrives(size: int) -> None:
    """500 000 apostrophes would be no argument any more, least of all when they are quoted."""
    action = Action()
    answer = action.call("ledger", "shop", {"operation": "'" * size})
    assert answer["failed"]
    assert answer["msg"].startswith("The ledger knows no operation")
    assert answer["msg"].count("'") >= size
    assert (action.sent[-1][1] > 0) == (size >= host_program.LONGEST_ARGUMENT)


def test_a_host_that_does_not_take_the_program_was_reached(home: pathlib.Path) -> None:
    """A full or read-only disk is no reason to call the host down."""
    home.write_text("in its place")
    answer = Action().call("info", "shop", {})
    assert (answer["failed"], answer["reachable"]) == (True, True)
    assert answer["msg"].startswith(f"The program could not be put into {home}")


LOOKS: list[tuple[str, dict[str, Any]]] = [
    ("info", {}),
    ("watch", {"release": "1-a"}),
    ("lock", {"operation": "show"}),
    ("ledger", {"operation": "show"}),
    ("maintenance", {"operation": "drain"}),
    ("migrations", {"record": None}),
]
ACTS: list[tuple[str, dict[str, Any]]] = [
    ("stage", {}),
    ("transact", {"kind": "activate"}),
    ("leave", {}),
    ("migrate", {}),
    ("lock", {"operation": "acquire"}),
    ("ledger", {"operation": "append"}),
    ("maintenance", {"operation": "on"}),
    ("migrations", {"record": {"event": "begun"}}),
]


def other_version(home: pathlib.Path) -> pathlib.Path:
    """A host whose own units run another version of the program; the link that says so."""
    (home / "0123456789abcdef").mkdir(parents=True)
    (home / "current").symlink_to("0123456789abcdef")
    return home / "current"


@pytest.mark.parametrize("given", LOOKS)
def test_a_look_leaves_the_hosts_own_units_their_version(home: pathlib.Path, given: tuple[str, dict[str, Any]]) -> None:
    """A look from an older checkout would bring boot, repair and agent back to its program."""
    current = other_version(home)
    action = Action()
    action.call(given[0], "no-such-app", given[1])
    assert current.readlink().name == "0123456789abcdef"
    assert len(action.sent) == 3, "asked, shipped, asked again"
    action.call(given[0], "no-such-app", given[1])
    assert len(action.sent) == 4, "one exec a host, once the program is there"


@pytest.mark.parametrize("given", [*LOOKS, *ACTS])
def test_check_mode_leaves_the_hosts_own_units_their_version(home: pathlib.Path, given: tuple[str, dict[str, Any]]) -> None:
    current = other_version(home)
    Action(check_mode=True).call("info", "no-such-app", given[1])
    assert Action(check_mode=True).ensure_program(host_program.program())
    assert current.readlink().name == "0123456789abcdef"


@pytest.mark.parametrize("given", ACTS)
def test_what_acts_brings_the_hosts_own_units_its_version(home: pathlib.Path, given: tuple[str, dict[str, Any]]) -> None:
    """Also where a look has put the program there: a crash must be repaired by the version that crashed."""
    current = other_version(home)
    action = Action()
    action.call("info", "no-such-app", {})
    assert not host_program.reads(*given)
    wanted = host_program.program()
    assert shell(host_program.check_command(wanted)).returncode == host_program.NOT_THERE
    assert action.ensure_program(host_program.program())
    assert current.readlink().name == wanted.digest[:16]
    assert not action.ensure_program(host_program.program())


def test_a_host_without_the_program_is_looked_at_and_stays_unprovisioned(home: pathlib.Path) -> None:
    assert "never provisioned" in Action().call("info", "no-such-app", {})["msg"]
    assert not (home / "current").is_symlink()


@pytest.mark.usefixtures("home")
def test_one_altered_byte_is_noticed_and_mended() -> None:
    wanted = install()
    altered = pathlib.Path(wanted.folder, "tossable_host", "transaction.py")
    altered.write_bytes(altered.read_bytes() + b"\n")
    assert call(wanted).returncode == host_program.NOT_THERE
    assert call(install()).returncode == 0


@pytest.mark.usefixtures("home")
def test_a_list_that_was_altered_with_its_file_is_noticed() -> None:
    wanted = install()
    sums = pathlib.Path(wanted.folder, "SHA256SUMS")
    sums.write_text(sums.read_text().splitlines(keepends=True)[0])
    assert call(wanted).returncode == host_program.NOT_THERE


def test_the_bundle_holds_the_whole_package() -> None:
    with tarfile.open(fileobj=io.BytesIO(host_program.bundle(host_program.program()))) as archive:
        names = set(archive.getnames())
    assert {"__main__.py", "SHA256SUMS", "tossable_host/cli.py", "tossable_host/agent.py"} <= names


def test_a_switch_outlives_its_connection_and_its_crash_is_repaired() -> None:
    command = host_program.call_command(host_program.program(), "transact", "shop", {"kind": "activate"}, unit="tossable-shop-1")
    assert "exec systemd-run" in command
    assert "--property=OnFailure=shop-repair.service" in command


def test_another_program_is_placed_with_a_link_of_its_own(home: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Also where an earlier version of the collection had copied its files into a folder of that name."""
    source = tmp_path / "program"
    (source / "page" / "__pycache__").mkdir(parents=True)
    (source / "page" / "__pycache__" / "page.pyc").write_bytes(b"compiled")
    (source / "page" / "style.css").write_bytes(b"p {}")
    (home / "page").mkdir(parents=True)
    (home / "page" / "old.py").touch()
    with pytest.raises(ValueError, match=r"holds no program: there is no __main__\.py"):
        host_program.program_of(source, "page")
    (source / "__main__.py").write_text("print('drawn')\n")
    for name in ("", "current", "../page", "Page"):
        with pytest.raises(ValueError, match="is no name for a program"):
            host_program.program_of(source, name)
    wanted = host_program.program_of(source, "page")
    assert sorted(wanted.files) == ["SHA256SUMS", "__main__.py", "page/style.css"]
    action = Action()
    assert action.ensure_program(wanted)
    assert not action.ensure_program(wanted)
    assert shell(f"python3 -I {home}/page").stdout == b"drawn\n"
    assert not (home / "current").exists()
    (home / "page" / "page" / "style.css").write_bytes(b"p {color: red}")
    assert action.ensure_program(wanted)
