"""A host's own part of a release: switch, take back, roll back, prune, repair, and refuse what is not as it was signed."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from testinfra.host import Host

PROGRAM = "/usr/bin/python3 -I /usr/local/lib/tossable/current"
STATE = "/run/tossable/hello/state"
SIGN_WITH_ANOTHER_KEY = "; ".join(
    [
        "rm hello-3.0.manifest.json.sig",
        "ssh-keygen -q -t ed25519 -N '' -f /root/other",
        "ssh-keygen -q -Y sign -n artifact@tossable -f /root/other hello-3.0.manifest.json",
    ]
)


def call(host: Host, verb: str, **given: Any) -> dict[str, Any]:
    """Ask the transaction program on the host, as the controller does."""
    arguments = json.dumps({"run": "test", "by": "test", "reason": "", **given})
    done = host.run(f"{PROGRAM} {verb} hello {shlex.quote(arguments)}")
    assert done.rc == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def digest(host: Host, version: str) -> str:
    manifest = json.loads(host.check_output(f"cat /srv/store/hello/{version}/hello-{version}.manifest.json"))
    return str(manifest["archive"]["sha256"])


def stage(host: Host, version: str, **other: str) -> dict[str, Any]:
    return call(host, "stage", **{"version": version, "digest": digest(host, version), "url": f"http://127.0.0.1:8899/hello/{version}", **other})


def transact(host: Host, kind: str, version: str | None = None) -> dict[str, Any]:
    return call(host, "transact", kind=kind, release=version and f"{version}-{digest(host, version)[:8]}")


def served(host: Host) -> str:
    return str(host.check_output("curl -s http://127.0.0.1:8000/"))


@pytest.fixture(autouse=True)
def on_one(host: Host) -> None:
    """Every test begins on release 1.0, whatever the one before did."""
    stage(host, "1.0")
    transact(host, "activate", "1.0")
    assert served(host) == "1.0"


def test_a_switch_serves_the_new_release_and_says_how_long_each_step_took(host: Host) -> None:
    stage(host, "2.0")
    answer = transact(host, "activate", "2.0")
    assert served(host) == "2.0"
    assert [step["step"] for step in answer["steps"]] == ["drain", "maint", "switch", "restart", "healthy", "ready"]
    assert host.check_output(f"cat {STATE}") == "ready"


def test_asked_again_it_changes_nothing(host: Host) -> None:
    pid = host.check_output("systemctl show -P MainPID hello-web.service")
    assert transact(host, "activate", "1.0")["changed"] is False
    assert stage(host, "1.0")["changed"] is False
    assert host.check_output("systemctl show -P MainPID hello-web.service") == pid


def test_a_release_that_is_never_ready_is_taken_back_with_evidence(host: Host) -> None:
    stage(host, "9.0")
    answer = transact(host, "activate", "9.0")
    assert answer["failed"]
    assert "503 9.0" in answer["msg"]
    assert "is back and serving" in answer["msg"]
    assert answer["evidence"]
    assert served(host) == "1.0"
    assert call(host, "info")["previous"] != f"9.0-{digest(host, '9.0')[:8]}"


def test_a_rollback_returns_to_the_release_before(host: Host) -> None:
    stage(host, "2.0")
    transact(host, "activate", "2.0")
    transact(host, "rollback")
    assert served(host) == "1.0"


def test_the_live_release_and_the_one_before_are_kept_and_others_go(host: Host) -> None:
    for version in ("2.0", "3.0"):
        stage(host, version)
        transact(host, "activate", version)
    left = {name.rpartition("-")[0] for name in host.check_output("ls /srv/hello/releases").split()}
    assert left == {"2.0", "3.0"}


def test_a_release_is_not_writable_by_its_application(host: Host) -> None:
    assert host.run("setpriv --reuid hello --regid hello --clear-groups touch /srv/hello/current/new").rc != 0
    assert host.run("setpriv --reuid hello --regid hello --clear-groups sh -c 'echo >> /srv/hello/current/web.py'").rc != 0


def test_an_install_hook_runs_as_the_application_and_what_it_wrote_is_sealed(host: Host) -> None:
    stage(host, "2.0")
    written = f"/srv/hello/releases/2.0-{digest(host, '2.0')[:8]}/installed-by"
    assert host.check_output(f"cat {written}; stat --format='%U %G %a' {written}") == "hello hello\nroot root 644"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("printf x | dd of=hello-3.0.tar.zst bs=1 seek=50 conv=notrunc status=none", "sha256"),
        ("rm hello-3.0.manifest.json.sig", "404"),
        ('sed -i \'s/"built_by": "/&x/\' hello-3.0.manifest.json', "altered after it was signed"),
        (SIGN_WITH_ANOTHER_KEY, "does not list"),
        ("rm hello-3.0.tar.zst", "404"),
    ],
)
def test_an_artifact_that_is_not_as_it_was_signed_is_refused(host: Host, damage: str, told: str) -> None:
    right = digest(host, "3.0")
    host.check_output("rm -rf /srv/store/hello/keep /srv/hello/releases/3.0-* && cp -a /srv/store/hello/3.0 /srv/store/hello/keep")
    host.run(f"cd /srv/store/hello/3.0 && rm -f /root/other* && {{ {damage}; }} </dev/null")
    try:
        answer = stage(host, "3.0", digest=right)
    finally:
        host.check_output("rm -rf /srv/store/hello/3.0 && mv /srv/store/hello/keep /srv/store/hello/3.0")
    assert answer["failed"]
    assert told in answer["msg"], answer
    assert not host.run("ls -d /srv/hello/releases/3.0-* /srv/hello/releases/.staging-*").stdout


def test_another_artifact_under_the_same_version_is_refused(host: Host) -> None:
    answer = stage(host, "3.0", digest="0" * 64)
    assert "but the plan chose" in answer["msg"]


def test_a_program_that_is_killed_half_way_is_repaired_by_systemd(host: Host) -> None:
    """Killed while the new release restarts: nobody calls again, and the host serves the old release."""
    stage(host, "9.0")
    given = json.dumps({"run": "test", "by": "test", "reason": "", "kind": "activate", "release": f"9.0-{digest(host, '9.0')[:8]}"})
    unit = "--unit=doomed --collect --property=OnFailure=hello-repair.service"
    host.check_output(f"systemd-run --quiet {unit} {PROGRAM} transact hello {shlex.quote(given)}")
    journal = "/var/lib/tossable/hello/journal.jsonl"
    reached = f'for i in $(seq 1000); do tail -n 1 {journal} | grep -q \'"step": "healthy"\' && exit 0; sleep 0.02; done; exit 1'
    assert host.run(f"sh -c {shlex.quote(reached)}").rc == 0, host.run(f"tail -n 3 {journal}").stdout
    host.check_output("systemctl kill --signal=KILL doomed.service")
    ready = f"for i in $(seq 200); do grep -qx ready {STATE} && exit 0; sleep 0.05; done; exit 1"
    assert host.run(f"sh -c {shlex.quote(ready)}").rc == 0, host.run("journalctl -n 40 --no-pager -u 'hello-*'").stdout
    assert served(host) == "1.0"
    assert call(host, "info", verify=True)["drift"] == []


def test_drift_is_seen(host: Host) -> None:
    host.check_output("cp -p /srv/hello/current/web.py /root/web.py && echo >> /srv/hello/current/web.py")
    try:
        assert call(host, "info", verify=True)["drift"] == ["1 files differ from the manifest, first web.py"]
    finally:
        host.check_output("cp -p /root/web.py /srv/hello/current/web.py")


SHARED = "/srv/hello/shared"


def migrate(host: Host, migration: str, seconds: int = 60) -> dict[str, Any]:
    stage(host, "3.0")
    return call(host, "migrate", release=f"3.0-{digest(host, '3.0')[:8]}", migration=migration, seconds=seconds)


def test_a_migration_runs_as_the_application_in_its_release_with_its_environment(host: Host) -> None:
    answer = migrate(host, "0001-told")
    assert (answer["ended"], answer.get("failed")) == (True, None), answer
    release = f"3.0-{digest(host, '3.0')[:8]}"
    assert host.check_output(f"cat {SHARED}/told") == f"0001-told 3.0 hello /srv/hello/releases/{release} 8000"
    assert served(host) == "1.0", "nothing was switched"


def test_a_migration_writes_only_where_its_application_may(host: Host) -> None:
    assert migrate(host, "0003-writes-elsewhere").get("failed") is None
    assert host.check_output(f"cat {SHARED}/told") == "refused"
    assert not host.file("/etc/new").exists


def test_a_migration_that_fails_shows_its_last_lines(host: Host) -> None:
    answer = migrate(host, "0002-fails")
    assert answer["failed"]
    assert "ended with exit code 4, expected 0" in answer["msg"]
    assert any("there is no such table" in line for line in answer["evidence"]), answer


def test_a_migration_is_stopped_at_its_deadline(host: Host) -> None:
    host.check_output(f"rm -f {SHARED}/slow {SHARED}/go")
    answer = migrate(host, "0004-slow", seconds=1)
    assert answer["failed"]
    assert "did not end within 1 s" in answer["msg"], answer
    assert host.check_output(f"cat {SHARED}/slow") == "begin"
    assert host.run("pgrep --full --uid hello /srv/hello/shared").rc == 1, "it left something running"


def test_a_migration_whose_caller_died_goes_on_and_no_second_one_begins_meanwhile(host: Host) -> None:
    """The program is killed; asked again it waits for what it had begun."""
    host.check_output(f"rm -f {SHARED}/slow {SHARED}/go")
    stage(host, "3.0")
    given = json.dumps({"run": "test", "release": f"3.0-{digest(host, '3.0')[:8]}", "migration": "0004-slow", "seconds": 60})
    for unit in ("killed", "second"):
        host.check_output(f"systemd-run --quiet --unit=migrate-{unit} --collect {PROGRAM} migrate hello {shlex.quote(given)}")
        begun = f"for i in $(seq 200); do [ -e {SHARED}/slow ] && exit 0; sleep 0.05; done; exit 1"
        assert host.run(f"sh -c {shlex.quote(begun)}").rc == 0
        if unit == "killed":
            host.check_output("systemctl kill --signal=KILL migrate-killed.service")
    assert host.check_output("systemctl is-active tossable-migrate-hello.service migrate-second.service") == "active\nactive"
    assert host.check_output(f"cat {SHARED}/slow") == "begin"
    host.check_output(f"touch {SHARED}/go")
    ended = f"for i in $(seq 200); do [ $(wc -l < {SHARED}/slow) = 4 ] && exit 0; sleep 0.05; done; exit 1"
    assert host.run(f"sh -c {shlex.quote(ended)}").rc == 0
    assert host.check_output(f"cat {SHARED}/slow").split() == ["begin", "end", "begin", "end"]


def test_a_release_that_is_given_up_is_no_target_any_more(host: Host) -> None:
    stage(host, "2.0")
    release = f"2.0-{digest(host, '2.0')[:8]}"
    assert call(host, "info", migrations=True)["migrations"][release] == []
    assert call(host, "give_up", release=release, reason="a week has passed")["removed"] == [release]
    assert release not in call(host, "info")["staged"]
    assert not host.file(f"/srv/hello/releases/{release}").exists
