"""What two generations of HAProxy answer becomes the same data; what goes wrong is named."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.tossable.fleet.plugins.module_utils.host import maintenance
from ansible_collections.tossable.fleet.plugins.plugin_utils import haproxy

ANSWERS = Path(__file__).parent / "haproxy"


@pytest.fixture(params=["2.6", "3.0"], name="answer")
def _answer(request: pytest.FixtureRequest) -> str:
    """Recorded: a server in service, one that drains, one in maintenance, one that is down, and a backend without servers."""
    return (ANSWERS / f"{request.param}.txt").read_text()


def servers(answer: str) -> dict[str, Any]:
    found: dict[str, Any] = haproxy.parse(answer)["backends"]["b"]
    return found


def test_every_state_of_a_server_is_told_apart(answer: str) -> None:
    states = {name: (server["status"].split()[0], server["admin_state"], server["operational_state"]) for name, server in servers(answer).items()}
    assert states == {
        "s0": ("UP", "ready", "running"),
        "s1": ("DRAIN", "drain", "running"),
        "s2": ("MAINT", "maint", "stopped"),
        "s3": ("DOWN", "ready", "stopped"),
    }


def test_a_server_has_its_address_weight_and_checks(answer: str) -> None:
    server = servers(answer)["s0"]
    assert (server["address"], server["weight"]) == ("127.0.0.1:8000", 100)
    assert (server["check_status"], server["check_code"], server["agent_status"]) == ("L7OK", 200, "CHECKED")
    assert servers(answer)["s3"]["check_description"]
    assert servers(answer)["s3"]["agent_status"] is None


def test_requests_are_counted_where_they_went(answer: str) -> None:
    found = servers(answer)
    assert found["s0"]["requests_total"] == found["s0"]["responses"]["2xx"] > 50
    assert found["s1"]["requests_total"] == found["s2"]["requests_total"] == 0
    assert found["s0"]["errors"] == {"request": None, "connection": 0, "response": 0}


def test_a_backend_without_servers_is_there_and_empty(answer: str) -> None:
    assert haproxy.parse(answer)["backends"]["empty"] == {}


def test_frontends_are_apart(answer: str) -> None:
    (frontend,) = haproxy.parse(answer)["frontends"].items()
    assert frontend[0] == "f"
    assert frontend[1]["status"] == "OPEN"
    assert frontend[1]["requests_total"] > 50


def test_the_process_is_named(answer: str) -> None:
    process = haproxy.parse(answer)["process"]
    assert process["version"].startswith(("2.6", "3.0"))
    assert process["pid"] > 0


def test_without_the_servers_state_the_status_still_stands(answer: str) -> None:
    assert servers(answer.split("# be_id")[0])["s0"]["operational_state"] is None


def test_answers_are_counted_by_the_time_they_took() -> None:
    """Recorded with the role's own configuration: answers after 30 and 1500 ms, some 500 at once, and a server that is not there."""
    found = haproxy.parse((ANSWERS / "latency.txt").read_text())["backends"]
    assert set(found) == {"shop"}
    assert found["shop"]["s0"]["latency"] == {"1": 1, "32": 1, "40": 1, "80": 1, "1600": 2}
    assert sum(found["shop"]["s0"]["latency"].values()) == sum(found["shop"]["s0"]["responses"].values())
    assert found["shop"]["dead"]["latency"] == {}


def test_without_the_table_there_is_no_latency(answer: str) -> None:
    assert servers(answer)["s0"]["latency"] == {}


def test_the_role_counts_into_the_buckets_that_are_read() -> None:
    """`vars/main.yml` of the role and this module name the same bounds."""
    root = Path(__file__).resolve().parents[4]
    told = yaml.safe_load((root / "roles" / "load_balancer" / "vars" / "main.yml").read_text())["__load_balancer_latency_bounds"]
    assert told == list(haproxy.LATENCY_BOUNDS) == sorted(set(told))


@pytest.mark.parametrize("text", ["", "Permission denied\n", "1\n# be_id be_name\n"])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="pxname"):
        haproxy.parse(text)


@pytest.mark.parametrize("last", ["b,s0,0,0,0,", "b,s1,", " s2 127.0.0.1 "])
def test_an_answer_that_breaks_off_is_refused(answer: str, last: str) -> None:
    """In the middle of a line or after one, in the statistics or in the states of servers."""
    cut = answer[: answer.index(last) + len(last)]
    for text in (cut, cut.rpartition("\n")[0] + "\n"):
        with pytest.raises(ValueError, match=r"breaks off.*Ask again"):
            haproxy.parse(text)


def test_an_answer_is_refused_wherever_it_is_cut(answer: str) -> None:
    """As it is asked for, `show info` last; a table of latency that is missing would begin at nothing again."""
    info, _, others = answer.partition("\n\n")
    lines = [*others.splitlines(keepends=True), *info.splitlines(keepends=True), "\n", "\n"]
    assert haproxy.parse("".join(lines)) == haproxy.parse(answer)
    for count in range(len(lines) - 1):
        with pytest.raises(ValueError, match=r"breaks off|pxname"):
            haproxy.parse("".join(lines[:count]))


def test_a_good_answer_is_no_trouble(answer: str) -> None:
    assert haproxy.trouble(0, answer, "", "/s") is None


@pytest.mark.parametrize(
    ("rc", "says"),
    [
        (haproxy.NO_SOCAT, "socat is not installed"),
        (haproxy.NO_SOCKET, "/s does not exist"),
        (haproxy.NO_PERMISSION, "load_balancer_admins"),
        (haproxy.NO_ANSWER, "did not answer"),
        (0, "no statistics"),
        (127, "exit code 127"),
    ],
)
def test_trouble_comes_with_what_to_do_and_what_was_found(rc: int, says: str) -> None:
    said = haproxy.trouble(rc, "evidence\n", "", "/s")
    assert said is not None
    assert says in said.splitlines()[0]
    assert said.endswith("evidence")


def test_the_command_says_that_there_is_no_socket(tmp_path: Path) -> None:
    """The script itself, run as Ansible runs it, with a word appended: socat may be missing here, the socket is."""
    done = subprocess.run(["sh", "-c", haproxy.command(f"{tmp_path}/a b.sock", 1) + " && sleep 0"], capture_output=True, text=True, check=False)
    assert done.returncode in (haproxy.NO_SOCAT, haproxy.NO_SOCKET)
    assert "unexpected" not in done.stderr


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_maintenance_is_read_from_the_map_also_through_a_terminal(end: str) -> None:
    entry = maintenance.Entry("2026-11-25T18:00:00Z", "ada", "the database moves", "Back at six.", 300)
    recorded = (Path(__file__).parent / "haproxy" / "2.6.txt").read_text()
    found = haproxy.parse(f"{recorded}\n0x55d0c0 shop {maintenance.to_value(entry)}\n".replace("\n", end))["maintenance"]
    assert found["shop"] == entry._asdict()
