"""A configuration is kept under its content's name, told by names of variables only, and comes and goes with its release."""

from __future__ import annotations

import grp
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import configuration, health, info, journal, plan, system, transaction
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from hypothesis import given
from hypothesis import strategies as st

SECRET = "not-for-your-eyes"
ONE, TWO, THREE = "1.0.0-aaaaaaaa", "2.0.0-bbbbbbbb", "3.0.0-cccccccc"


class Host:
    """An application host without systemd: two staged releases, `sick` says which pairs of release and environment never answer."""

    def __init__(self, base: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base = base
        self.restarts: list[tuple[str | None, str]] = []
        self.sick: Callable[[str, str], bool] = lambda _release, _text: False
        (base / "state").mkdir()
        (base / "etc" / "config").mkdir(parents=True)
        group = grp.getgrgid(os.getgid()).gr_name
        self.config = Config(
            "shop", "shop", group, str(base / "srv"), str(base / "state"), ("shop-web.service",), None, None, None, 3, "", str(base / "etc")
        )
        monkeypatch.setattr(system, "systemctl", self._systemctl)
        monkeypatch.setattr(system, "last_log_lines", lambda *_: [])
        monkeypatch.setattr(system, "unit_status", lambda _units: {})
        monkeypatch.setattr(health, "process_trouble", self._trouble)
        monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
        for release in (ONE, TWO):
            self.stage(release)

    def _systemctl(self, verb: str, units: Any, *_options: str, **_limit: float) -> None:
        if verb == "restart" and "shop-web.service" in units:
            self.restarts.append((self.live, self.env))

    def _trouble(self, _config: Config, release: str, just_started: bool = False) -> str | None:
        return "shop-web.service is failed" if self.sick(release, self.env) else None

    def stage(self, release: str) -> None:
        """What staging leaves behind."""
        folder = self.base / "srv" / "releases" / release / ".tossable"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        journal.append(self.config.journal, {"kind": "stage", "step": "done", "release": release})

    def want(self, text: str) -> str:
        """What the role does; returns the name that it will be kept under."""
        pathlib.Path(self.config.wanted).write_text(text)
        return configuration.digest(text.encode())

    def do(self, kind: str, release: str | None = None, **more: Any) -> dict[str, Any]:
        return transaction.perform(self.config, transaction.Request(kind, release, "run", "ada", "", **more))

    def mark(self, later: float = 0) -> None:
        """What the role does before it writes; ``later`` is how many seconds from now."""
        for name in (configuration.ENVIRONMENT_MARK, configuration.UNITS_MARK):
            path = self.base / "etc" / "config" / name
            path.touch()
            os.utime(path, (time.time() + later,) * 2)

    @property
    def marks(self) -> set[str]:
        return {path.name for path in (self.base / "etc" / "config").glob("restart-*")}

    @property
    def live(self) -> str | None:
        return system.read_link(self.config.current)

    @property
    def env(self) -> str:
        """What a process would read."""
        path = pathlib.Path(self.config.env)
        return path.read_text() if path.exists() else ""

    @property
    def kept(self) -> set[str]:
        return {path.name for path in (self.base / "etc" / "config").iterdir()} - {"wanted"}

    @property
    def state(self) -> journal.HostState:
        return journal.fold(journal.read(self.config.journal))

    def agrees(self) -> bool:
        """Whether both links are as the journal says, and what they point to is whole."""
        state = self.state
        assert state.flight is None
        return self.live == state.live and (
            state.live is None or (system.read_link(self.config.env) == state.configuration == configuration.in_force(self.config))
        )


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def forget(host: Host) -> None:
    """Make the journal one that was written before configurations were kept, and the environment a file of its own."""
    records = journal.read(host.config.journal)
    for record in records:
        record.pop("configuration", None)
        record.pop("previous_configuration", None)
    pathlib.Path(host.config.journal).write_text("".join(json.dumps(record) + "\n" for record in records))
    text = host.env
    for path in (host.base / "etc" / "config").iterdir():
        path.unlink()
    os.unlink(host.config.env)
    pathlib.Path(host.config.env).write_text(text)


def test_changes_are_told_by_name_and_kind_only() -> None:
    before = b'# why\nPORT="8000"\nSAME="a"\nTOKEN="' + SECRET.encode() + b'"\nGONE="1"\n'
    after = b'# why not\nPORT="8000"\nSAME="a"\nTOKEN="another"\nNEW="2"\n'
    assert configuration.changes(before, after) == ["-GONE", "+NEW", "~TOKEN"]
    assert configuration.changes(after, after) == []


def test_a_line_of_a_value_is_no_variable() -> None:
    text = b'KEY="-----BEGIN-----\nINNER=\\"x\\"\n-----END-----\n"\nBY_HAND=1\n\nODD="open\nLAST="\\\\"\n'
    assert configuration.variables(text) == {
        "KEY": b'-----BEGIN-----\nINNER=\\"x\\"\n-----END-----\n',
        "BY_HAND": b"1",
        "ODD": b'"open',
        "LAST": b"\\\\",
    }


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text("ab=\"\\\n #'$", max_size=12)))
def test_every_value_is_read_as_it_was_written(values: dict[str, str]) -> None:
    escaped = {name: "".join(f"\\{letter}" if letter in '"\\`$' else letter for letter in value) for name, value in values.items()}
    text = "# head\n" + "".join(f'{name}="{value}"\n' for name, value in escaped.items())
    assert configuration.variables(text.encode()) == {name: value.encode() for name, value in escaped.items()}


def test_what_is_kept_can_be_opened_by_nobody_else_at_any_moment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = os.open

    def look(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_CREAT and "config" in str(path):
            seen.append(mode)
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", look)
    name = host.want("A=1\n")
    assert configuration.keep_wanted(host.config) == name
    assert seen == [0o600]
    assert (host.base / "etc" / "config" / name).stat().st_mode & 0o777 == 0o640
    assert host.kept == {name}


def test_a_rollback_brings_back_what_the_release_ran_with_last(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    second = host.want(f"A=2\nTOKEN={SECRET}\n")
    host.do("restart")
    third = host.want("A=3\n")
    host.do("activate", TWO)
    assert host.restarts[-1] == (TWO, "A=3\n")
    answer = host.do("rollback")
    assert host.restarts[-1] == (ONE, f"A=2\nTOKEN={SECRET}\n")
    assert (answer["configuration"], answer["notes"]) == (second, [])
    report = info.collect(host.config, verify=False)
    assert report["configuration"] == {"live": second, "wanted": third, "changes": ["~A", "-TOKEN"]}
    assert report["drift"] == []
    assert SECRET not in json.dumps([answer, report, journal.read(host.config.journal)])
    host.do("activate", TWO)
    assert host.restarts[-1] == (TWO, "A=3\n")


def test_a_rollback_to_a_release_whose_configuration_nobody_knows_takes_the_wanted_one_and_says_so(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    answer = host.do("rollback", TWO)
    assert (host.live, host.env) == (TWO, "A=1\n")
    assert answer["notes"] == [f"{TWO} runs with the configuration that is wanted now: the journal does not say with which one it ran"]


def test_a_configuration_that_is_gone_or_altered_is_not_brought_back(host: Host) -> None:
    first = host.want("A=1\n")
    host.do("activate", ONE)
    host.want("A=2\n")
    host.do("activate", TWO)
    (host.base / "etc" / "config" / first).write_text("A=666\n")
    (note,) = host.do("rollback")["notes"]
    assert f"its configuration {first} is gone" in note
    assert host.env == "A=2\n"


def test_a_release_that_fails_leaves_release_and_configuration_as_they_were(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    host.want("A=2\n")
    host.sick = lambda release, _text: release == TWO
    with pytest.raises(HostError, match=f"The previous release {ONE} is back and serving"):
        host.do("activate", TWO)
    assert host.restarts[-1] == (ONE, "A=1\n")
    assert host.agrees()


def test_a_configuration_that_its_release_does_not_bear_is_taken_back(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    host.want("A=bad\n")
    host.sick = lambda _release, text: "bad" in text
    with pytest.raises(HostError, match=r"with another configuration: .* The configuration that it had is back, and it is serving"):
        host.do("restart")
    assert host.restarts[-1] == (ONE, "A=1\n")
    assert host.agrees()
    assert host.state.bad == {}


def test_a_deployment_of_another_configuration_alone_is_taken_back_by_its_own_run_and_by_no_other(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    host.want("A=2\n")
    host.do("activate", ONE)
    assert host.env == "A=2\n"
    assert host.do("rollback", ONE)["changed"]
    assert host.restarts[-1] == (ONE, "A=1\n")
    assert not host.do("rollback", ONE)["changed"], "a second recovery finds it done"
    host.do("activate", ONE)
    later = transaction.Request("rollback", ONE, "another run", "ada", "")
    assert not transaction.perform(host.config, later)["changed"]
    assert host.env == "A=2\n"


def test_a_configuration_that_the_live_release_does_not_bear_makes_no_bad_release_of_it(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    host.want("A=bad\n")
    host.sick = lambda _release, text: "bad" in text
    with pytest.raises(HostError, match="The configuration that it had is back"):
        host.do("activate", ONE)
    assert host.state.bad == {}
    assert host.env == "A=1\n"


def test_a_host_on_which_nothing_is_live_has_nothing_to_retire(host: Host) -> None:
    assert not host.do("retire")["changed"]


def test_a_restart_for_another_reason_leaves_the_configuration(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    host.want("A=2\n")
    host.do("activate", TWO)
    host.do("rollback")
    host.do("restart", configuration="kept")
    assert host.restarts[-1] == (ONE, "A=1\n")
    host.do("restart")
    assert host.restarts[-1] == (ONE, "A=2\n")


def test_asked_again_nothing_is_done_until_another_configuration_is_wanted(host: Host) -> None:
    host.want("A=1\n")
    assert host.do("activate", ONE)["changed"]
    assert not host.do("activate", ONE)["changed"]
    host.want("A=2\n")
    assert not host.do("rollback", ONE)["changed"], "it runs as it did"
    assert host.do("activate", ONE)["changed"]
    assert host.env == "A=2\n"


def test_nothing_is_switched_where_the_role_has_said_nothing(host: Host) -> None:
    with pytest.raises(HostError, match=r"config/wanted is not there.*Run site\.yml"):
        host.do("activate", ONE)
    assert host.state.flight is None
    assert host.live is None


def test_a_host_from_before_is_taken_over_as_it_runs(host: Host) -> None:
    name = host.want("A=1\n")
    host.do("activate", ONE)
    forget(host)
    host.want("A=1\n")
    assert info.collect(host.config, verify=False)["configuration"] == {"live": name, "wanted": name, "changes": []}
    assert info.collect(host.config, verify=False)["drift"] == []
    restarts = len(host.restarts)
    assert not host.do("activate", ONE)["changed"]
    assert len(host.restarts) == restarts
    assert (system.read_link(host.config.env), host.env) == (name, "A=1\n")
    host.want("A=2\n")
    host.do("activate", TWO)
    host.do("rollback")
    assert host.env == "A=1\n"


def test_a_host_from_before_that_was_taken_over_by_a_failed_release_has_its_environment(host: Host) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    forget(host)
    host.want("A=2\n")
    host.sick = lambda release, _text: release == TWO
    with pytest.raises(HostError, match="is back and serving"):
        host.do("activate", TWO)
    assert (host.live, host.env) == (ONE, "A=1\n")


def test_a_host_whose_role_is_from_before_is_left_alone(host: Host) -> None:
    host.config = host.config._replace(etc="")
    host.do("activate", ONE)
    host.do("activate", TWO)
    assert host.do("rollback")["notes"] == []
    assert info.collect(host.config, verify=False)["configuration"] == {"live": None, "wanted": None, "changes": []}
    assert host.kept == set()


def test_configurations_go_with_the_releases_that_ran_with_them(host: Host) -> None:
    host.config = host.config._replace(keep_releases=2)
    names = []
    for number, release in enumerate((ONE, ONE, TWO), 1):
        names.append(host.want(f"A={number}\n"))
        host.do("activate", release)
    assert host.kept == {names[1], names[2]}, "those that releases ran with last"
    host.stage(THREE)
    names.append(host.want("A=4\n"))
    host.do("activate", THREE)
    assert host.kept == {names[2], names[3]}, "those of the live release and of the one before"
    host.want("A=5\n")
    host.sick = lambda release, text: "5" in text
    with pytest.raises(HostError):
        host.do("activate", TWO)
    (host.base / "etc" / "config" / "0123456789abcdef.part").write_text("half")
    transaction.prune(host.config)
    assert host.kept == {names[2], names[3]}


@given(
    st.lists(st.sampled_from("abcdef")),
    st.dictionaries(st.sampled_from(["1", "2", "3"]), st.sampled_from("abc"), min_size=1),
    st.none() | st.sampled_from("abcdef"),
)
def test_what_a_release_or_the_host_runs_with_is_never_pruned(kept: list[str], known: dict[str, str], in_force: str | None) -> None:
    flight = journal.Flight("run", "switch", "3", "2", "d", "e")
    state = journal.HostState(tuple(known), tuple(known), {}, flight, None, known)
    gone = plan.configurations_to_prune(state, kept, in_force)
    assert not {*gone} & {*known.values(), in_force, "d", "e"}
    assert {*gone} | {*known.values(), in_force, "d", "e"} >= {*kept}


def test_a_changed_link_or_file_is_drift(host: Host) -> None:
    name = host.want("A=1\n")
    host.do("activate", ONE)
    os.unlink(host.config.env)
    pathlib.Path(host.config.env).write_text("A=by-hand\n")
    other = configuration.digest(b"A=by-hand\n")
    assert info.collect(host.config, verify=False)["drift"] == [f"the environment in force is {other}, the journal says {name}"]
    os.unlink(host.config.env)
    assert info.collect(host.config, verify=False)["drift"] == [f"the environment in force is missing, the journal says {name}"]


def test_a_full_disk_stops_it_before_anything_is_switched(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.want("A=1\n")
    host.do("activate", ONE)
    host.want(f"A={SECRET}\n")

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(system, "write_file", full)
    with pytest.raises(HostError, match=r"No space left on device\. Nothing was changed") as caught:
        host.do("activate", TWO)
    assert SECRET not in caught.value.message
    assert host.agrees()


ENVIRONMENT, UNITS = configuration.ENVIRONMENT_MARK, configuration.UNITS_MARK


@pytest.fixture
def marked(host: Host) -> Host:
    """A release is live and one before it; the role has marked and written another environment and other units, and its run was stopped."""
    for release in (TWO, ONE):
        host.want(f"A={release}\n")
        host.do("activate", release)
    host.mark()
    host.want("A=3\n")
    return host


@pytest.mark.parametrize(
    ("kind", "more", "left"),
    [
        ("restart", {}, set()),
        ("activate", {"release": TWO}, set()),
        ("activate", {"release": ONE}, set()),
        ("rollback", {}, set()),
        ("restart", {"configuration": "kept"}, {ENVIRONMENT}),
    ],
)
def test_what_the_live_release_runs_with_is_no_longer_marked(marked: Host, kind: str, more: dict[str, Any], left: set[str]) -> None:
    marked.do(kind, **more)
    assert marked.marks == left


@pytest.mark.parametrize("kind", ["restart", "activate"])
def test_what_is_not_borne_stays_marked_and_is_tried_again(marked: Host, kind: str) -> None:
    marked.sick = lambda _release, text: "3" in text
    with pytest.raises(HostError, match="is back"):
        marked.do(kind, TWO)
    assert marked.marks == {ENVIRONMENT, UNITS}


def test_a_restart_that_is_refused_leaves_the_marks(marked: Host) -> None:
    (marked.base / "srv" / "releases" / ONE / ".tossable" / "manifest.json").unlink()
    with pytest.raises(HostError, match="is not staged"):
        marked.do("restart")
    assert marked.marks == {ENVIRONMENT, UNITS}


def test_units_that_systemd_has_not_read_again_stay_marked(marked: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "unit_status", lambda units: dict.fromkeys(units, system.UnitStatus("active", 1, 0, stale=True)))
    marked.do("restart")
    assert marked.marks == {UNITS}


@pytest.mark.parametrize("writes", [False, True])
def test_what_the_role_marks_or_writes_meanwhile_stays_marked(marked: Host, writes: bool) -> None:
    """A deployment is under way: the role has marked before it, and writes now, or marks now and has not written yet."""

    def meanwhile(_release: str, _text: str) -> bool:
        if writes:
            marked.want("A=4\n")
        else:
            marked.mark(later=60)
        return False

    marked.sick = meanwhile
    marked.do("activate", TWO)
    assert marked.marks == ({ENVIRONMENT} if writes else {ENVIRONMENT, UNITS})


def test_wherever_it_is_killed_another_environment_is_in_force_or_marked(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, ended = 0, False
    while not ended:
        number += 1
        with monkeypatch.context() as patched:
            host = Host(tmp_path_factory.mktemp("host"), patched)
            host.want("A=1\n")
            host.do("activate", ONE)
            host.mark()
            host.want("A=3\n")
            with patched.context() as dying:
                ended = not run_until(dying, number, host, restart)
            transaction.repair(host.config)
            assert host.env == "A=3\n" or ENVIRONMENT in host.marks
    assert host.marks == set()
    assert number > 8


class Killed(BaseException):
    """What a kill is for the program: it ends, and nothing after it is done."""


def deploy(host: Host) -> None:
    host.do("activate", TWO)


def deploy_bad(host: Host) -> None:
    host.sick = lambda release, _text: release == TWO
    host.do("activate", TWO)


def restart(host: Host) -> None:
    host.do("restart")


def restart_bad(host: Host) -> None:
    host.sick = lambda _release, text: "3" in text
    host.do("restart")


def roll_back(host: Host) -> None:
    host.do("rollback")


@pytest.mark.parametrize("old", [False, True], ids=["recorded", "from before"])
@pytest.mark.parametrize("act", [deploy, deploy_bad, restart, restart_bad, roll_back])
def test_wherever_it_is_killed_both_links_agree_with_the_journal_again(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, act: Callable[[Host], None], old: bool
) -> None:
    """Before each write in turn, until one run comes to its end; what is found then is what stood before or what was wanted."""
    number, ended = 0, False
    while not ended:
        number += 1
        with monkeypatch.context() as patched:
            host = Host(tmp_path_factory.mktemp("host"), patched)
            for release, text in ((TWO, "A=1\n"), (ONE, "A=2\n")):
                host.want(text)
                host.do("activate", release)
            if old:
                forget(host)
            host.want("A=3\n")
            with patched.context() as dying:
                ended = not run_until(dying, number, host, act)
            host.sick = lambda _release, _text: False
            transaction.repair(host.config)
            if old and host.state.configuration is None:
                assert (host.live, host.env) == (ONE, "A=2\n")
                continue
            assert host.agrees()
            goals = {"deploy": (TWO, "A=3\n"), "restart": (ONE, "A=3\n"), "roll_back": (TWO, "A=3\n" if old else "A=1\n")}
            wanted = goals.get(act.__name__)
            assert (host.live, host.env) in ((ONE, "A=2\n"), wanted)
            if ended and wanted:
                assert (host.live, host.env) == wanted
    assert number > 8


def run_until(patched: pytest.MonkeyPatch, number: int, host: Host, act: Callable[[Host], None]) -> bool:
    """Do it, and be killed before the write of that number; returns whether there was one."""
    left = number

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*arguments, **more)

        return call

    for module, name in ((os, "replace"), (os, "symlink"), (os, "fsync"), (os, "unlink"), (system, "systemctl")):
        patched.setattr(module, name, counted(getattr(module, name)))
    try:
        act(host)
    except Killed:
        return True
    except HostError:
        return False
    return False
