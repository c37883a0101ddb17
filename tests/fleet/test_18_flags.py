"""Feature flags are switched under load on every host; who did not get them is named, and right after the next run."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from conftest import LAB, Fleet, Run, environment, long, podman, under_load

PLAYBOOK = "playbooks/flag.yml"
FOLDER = "/var/lib/tossable/flags"
FLAG = "checkout"


class Held(NamedTuple):
    """What lies on a host: generation, what is published of the flag, the digest and the time of the file (seconds)."""

    generation: int
    flag: dict[str, Any]
    digest: str
    modified: float


def held(fleet: Fleet, host: str) -> Held:
    text, digest, modified = fleet.on(host, f"cd {FOLDER} && cat flags.json && sha256sum <flags.json && stat -c %.9Y flags.json").splitlines()
    found = json.loads(text)
    return Held(found["metadata"]["generation"], found["flags"][FLAG], digest.split()[0], float(modified))


def alike(fleet: Fleet) -> Held:
    """What all hosts hold, which is what the ops host holds; the time is that of the host where it came last."""
    found = [held(fleet, host) for host in fleet.hosts()]
    assert {one.digest for one in found} == {held(fleet, "ops1").digest}, found
    return max(found, key=lambda one: one.modified)


def switch(fleet: Fleet, *words: str) -> Run:
    return fleet.play(PLAYBOOK, "-e", f"flag={FLAG}", *(option for word in words for option in ("-e", word)))


def must(fleet: Fleet, *words: str) -> str:
    done = switch(fleet, *words)
    assert done.code == 0, done.output[-6000:]
    return done.message()


@pytest.fixture(autouse=True)
def as_declared(fleet: Fleet) -> Iterator[None]:
    """Every test leaves the flag as it is declared, off."""
    yield
    if FLAG in json.loads(fleet.on("ops1", f"cat {FOLDER}/state.json"))["overrides"]:
        must(fleet, "state=reset")


def test_a_flag_is_switched_under_load_on_every_host(fleet: Fleet) -> None:
    before = alike(fleet)
    assert before.flag["defaultVariant"] == "off"
    wanted = [("state=on", "checkout: on (was off)"), ("percent=10", "checkout: 10 % (was on)"), ("state=off", "checkout: off (was 10 %)")]
    with under_load("flags") as running:
        for word, said in wanted:
            shown = must(fleet, word, "reason='to see it'", "by=ada")
            after = alike(fleet)
            assert f"{said}, generation {before.generation + 1}" in shown
            assert (after.generation, after.modified > before.modified) == (before.generation + 1, True)
            before = after
        running.wait_for(running.sent() + 50, 30)
    assert running.summary["failed"] == 0, running.failures(5)
    noted = [record for record in fleet.ledger() if record["kind"] == "flag"][-3:]
    assert [(one["text"].partition(",")[0], one["by"], one["reason"]) for one in noted] == [(said, "ada", "to see it") for _, said in wanted]
    assert {one["account"].partition("@")[1] for one in noted} == {"@"}, "the controller's own account is kept beside the name"
    again = switch(fleet, "state=off")
    assert "checkout: off already" in again.message()
    assert "changed=0" in again.output
    assert alike(fleet) == before


@long
def test_a_host_that_hangs_is_named_and_right_after_the_next_run(fleet: Fleet) -> None:
    *others, last = fleet.hosts()
    before = held(fleet, last)
    subprocess.run(podman("pause", f"{LAB}-{last}"), env=environment(), check=True, capture_output=True)
    try:
        missed = switch(fleet, "state=on")
    finally:
        subprocess.run(podman("unpause", f"{LAB}-{last}"), env=environment(), check=True, capture_output=True)
    assert missed.code == 2, missed.output
    assert (
        f"1 of {len(others) + 1} hosts did not get the flags (generation {before.generation + 1}); all others have them: - {last}: "
        in missed.message()
    )
    assert {held(fleet, host).generation for host in others} == {before.generation + 1}
    # It may have done what it was told before it hung, once it goes on.
    assert held(fleet, last).generation in (before.generation, before.generation + 1)
    fleet.must(PLAYBOOK)
    assert alike(fleet).generation == before.generation + 1
    assert f"all {len(others) + 1} hosts hold generation {before.generation + 1}" in fleet.must("playbooks/flags.yml").message()


def given(fleet: Fleet, host: str) -> tuple[int, bool]:
    """The generation that the host's application has in force, and what it gives of the flag."""
    told = json.loads(answered(fleet, host, "flags"))
    return told["generation"], told["flags"][FLAG]["value"]


def answered(fleet: Fleet, host: str, path: str) -> str:
    """What the host's application answers there."""
    return fleet.on(host, f"python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8000/{path}\", timeout=5).read().decode())'")


def file_errors(fleet: Fleet, host: str) -> float:
    """How many files of flags the host's application could not read."""
    (line,) = [line for line in answered(fleet, host, "metrics").splitlines() if line.startswith("feature_flag_file_errors_total ")]
    return float(line.split()[1])


def unread(fleet: Fleet, host: str, since: str) -> list[str]:
    """What the host's application has said since a moment, of its own clock, of files that it could not read."""
    said = fleet.on(host, f"journalctl --sync && journalctl --quiet --output cat --since @{since} -u storefront-web.service")
    return [line for line in said.splitlines() if "cannot be read" in line]


def test_a_broken_file_changes_nothing_for_users_is_shown_and_repaired_by_the_next_run(fleet: Fleet) -> None:
    first, *_others = fleet.hosts()
    must(fleet, "state=on")
    before, in_force = alike(fleet), given(fleet, first)
    assert in_force == (before.generation, True)
    since, counted = fleet.on(first, "date +%s"), file_errors(fleet, first)
    fleet.on(first, f"cd {FOLDER} && head -c 200 flags.json >broken && mv broken flags.json")
    assert [given(fleet, first) for _ in range(3)] == [in_force] * 3
    assert (len(unread(fleet, first, since)), file_errors(fleet, first)) == (1, counted + 1)
    assert f"- {first}: its file is damaged" in fleet.must("playbooks/flags.yml").message()
    repaired = fleet.must(PLAYBOOK).output
    assert f"changed: [{first}]" in repaired
    assert alike(fleet).digest == before.digest
    must(fleet, "state=off")
    assert given(fleet, first) == (before.generation + 1, False)


REFUSED = {
    ("flag=chekout", "state=on"): "There is no flag 'chekout' in the folder flags beside the inventory (did you mean checkout?)",
    ("flag=checkout", "state=blue"): "there is no variant 'blue'",
    ("flag=checkout", "rule='plan =='"): "rule: ",
    ("flag=checkout", "state=on", "until=2h"): "`until` is a word of Ansible itself: say it as -e ends=2h",
    ("flag=checkout", "state=on", "ends=soon"): "-e ends='soon' is no time: write 2h",
    ("state=on",): "Which flag is to be state=on?",
}


def test_what_cannot_be_meant_is_refused_and_no_file_touched(fleet: Fleet) -> None:
    look = f"cd {FOLDER} && stat -c '%n %i %.9Y' *.json && sha256sum *.json"
    before = {host: fleet.on(host, look) for host in [*fleet.hosts(), "ops1"]}
    for words, said in REFUSED.items():
        refused = fleet.play(PLAYBOOK, *(option for word in words for option in ("-e", word)))
        assert refused.code == 2
        assert "Nothing was changed." in refused.message()
        assert said in refused.message()
    assert {host: fleet.on(host, look) for host in before} == before


def test_panic_switches_off_what_changed_lately_once_somebody_has_agreed(fleet: Fleet) -> None:
    assert "Nothing to switch off" in fleet.must("playbooks/panic.yml", "-e", "group=orders").message()
    must(fleet, "state=on", "reason='the new checkout'")
    refused = fleet.play("playbooks/panic.yml")
    assert (refused.code, "nobody agreed" in refused.message(), alike(fleet).flag["defaultVariant"]) == (2, True, "on")
    unclear = fleet.play("playbooks/panic.yml", "-e", "confirm=panic", "-e", "minutes=soon")
    assert (unclear.code, "minutes='soon' is no span of time. Write 60, 90m, 1h" in unclear.message()) == (2, True)
    shown = fleet.must("playbooks/panic.yml", "-e", "confirm=panic", "-e", "minutes=1h", "-e", "reason='nobody can pay'").message()
    assert "checkout: on -> off (release, owner shop; changed" in shown
    assert "the new checkout" in shown
    assert alike(fleet).flag["defaultVariant"] == "off"
    assert fleet.ledger()[-1]["text"].startswith("panic: checkout: off (was on)")
    assert "nobody can pay" in fleet.must("playbooks/flags.yml").message()


@long
def test_a_panic_that_was_cut_off_before_it_came_to_hosts_is_brought_by_the_next_one(fleet: Fleet) -> None:
    must(fleet, "state=on", "reason='the new checkout'")
    before, first = alike(fleet), fleet.hosts()[0]
    # What the ops host has kept when the first one is killed right after its decision.
    decides = {
        "state": "decided",
        "environment": "lab",
        "declared": str(fleet.inventory.parent / "flags"),
        "changes": {FLAG: {"state": "off"}},
    }
    decided = fleet.run("ansible", "-i", str(fleet.inventory), "ops1", "-m", "tossable.fleet.feature_flag", "-a", json.dumps(decides))
    assert decided.code == 0, decided.output[-6000:]
    assert held(fleet, "ops1").generation == before.generation + 1
    assert {held(fleet, host).digest for host in fleet.hosts()} == {before.digest}
    assert given(fleet, first) == (before.generation, True)
    shown = fleet.must("playbooks/panic.yml").message()
    assert "Nothing to switch off: no flag of kind release that is on" in shown
    assert alike(fleet).generation == before.generation + 1
    assert given(fleet, first) == (before.generation + 1, False)


@long
def test_what_is_switched_stays_so_when_the_fleet_is_provisioned_again(fleet: Fleet) -> None:
    must(fleet, "state=on", "reason='the new checkout'")
    before = alike(fleet)
    fleet.must("playbooks/site.yml")
    assert (before.flag["defaultVariant"], alike(fleet)) == ("on", before)
    must(fleet, "state=reset")
    assert alike(fleet).flag["defaultVariant"] == "off", "the test has seen the declared state, not a live one"


@long
def test_check_mode_shows_what_users_would_get_and_changes_nothing(fleet: Fleet) -> None:
    before = alike(fleet)
    shown = fleet.play(PLAYBOOK, "-e", f"flag={FLAG}", "-e", "state=on", "--check", "--diff")
    assert shown.code == 0, shown.output
    assert "-checkout for nobody known: false (off)" in shown.output
    assert "+checkout for nobody known: true (on)" in shown.output
    assert alike(fleet) == before


@long
def test_a_hundred_switches_in_a_row_fail_no_request_and_leave_no_host_behind(fleet: Fleet) -> None:
    before = alike(fleet)
    since = {host: fleet.on(host, "date +%s") for host in fleet.hosts()}
    with under_load("flags-hundred", rate=50.0) as running:
        # Each run has read back what every host holds, and would end with another exit code.
        for tens in range(10):
            for number in range(1, 11):
                must(fleet, f"percent={tens * 10 + number}")
            after = alike(fleet)
            assert (after.generation, after.modified > before.modified) == (before.generation + 10, True)
            before = after
    assert running.summary["failed"] == 0, running.failures(5)
    # Each application looks at the file with every request, and would have told of one that is torn.
    assert {host: unread(fleet, host, since[host]) for host in fleet.hosts()} == {host: [] for host in fleet.hosts()}


@long
def test_every_application_answers_with_the_new_value_once_the_run_has_ended(fleet: Fleet) -> None:
    for word, value in (("state=on", True), ("state=off", False)):
        must(fleet, word)
        wanted = (alike(fleet).generation, value)
        assert {host: given(fleet, host) for host in fleet.hosts()} == dict.fromkeys(fleet.hosts(), wanted)


@long
def test_a_release_is_rolled_back_by_flag_alone_while_a_deployment_runs(fleet: Fleet) -> None:
    """The new checkout fails; the flag that switches it off needs neither the deployment's lock nor its end."""
    fleet.built("5.6.0", "checkout-errors:0.5")
    fleet.deploy("5.6.0", "-e", '{"rollout_waves": ["100%"], "rollout_min_healthy": 0}')
    with under_load("flags-rollback") as running:
        began = time.monotonic()
        must(fleet, "state=on", "reason='the new checkout'")
        broken = time.monotonic() - began
        running.wait_for(running.sent() + 100, 30)
        deployment = fleet.begin("deploy.yml", "-e", "version=1.1.0", "-e", "force='for this test'")
        assert deployment.stdout is not None
        for line in deployment.stdout:
            if "Fetch, verify and unpack" in line:
                break
        must(fleet, "state=off", "reason='every other page fails'")
        mended = time.monotonic() - began
        assert deployment.poll() is None, "the deployment was over before the flag was off"
        rest, _none = deployment.communicate()
        assert deployment.returncode == 0, rest[-6000:]
        running.wait_for(running.sent() + 100, 30)
    _ = running.summary
    answers = [json.loads(line) for line in running.requests.read_text().splitlines()]
    bad = [answer["at"] for answer in answers if answer["status"] != 200]
    assert len([at for at in bad if broken < at < mended]) > 20, "the fault was not seen"
    assert [at for at in bad if at > mended] == [], "errors after the flag was off"
    fleet.settled("1.1.0")
