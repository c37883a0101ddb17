# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one HAProxy process hands to the next, and what it keeps to itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.tossable.fleet.roles.load_balancer.files import handover

ANSWERS = Path(__file__).parents[1] / "plugins" / "plugin_utils" / "haproxy"
CONFIG = """
global
    server-state-file /run/x

frontend public # load_balancer_frontends: public
    default_backend b

backend b # load_balancer_backends: b
    option httpchk
    server s0 127.0.0.1:8000 check agent-check agent-port 8001 # load_balancer_backends: b, servers
    server s1 127.0.0.1:8002 check agent-check agent-port 8003
    server s2 127.0.0.1:8004 check agent-check agent-port 8005
    server s3 127.0.0.1:8006 check # no agent-check here

listen other
    server s9 127.0.0.1:9 check
"""


@pytest.fixture(params=["2.6", "3.0"], name="state")
def _state(request: pytest.FixtureRequest) -> str:
    """Recorded: s0 is up, s1 drains, s2 is in maintenance, s3 is down and has no agent."""
    text = (ANSWERS / f"{request.param}.txt").read_text()
    return "1\n" + text[text.index("# be_id") :]


def carried(state: str, config: str = CONFIG, silenced: tuple[handover.Server, ...] = ()) -> dict[str, dict[str, str]]:
    """Each server of the file that the next process reads."""
    text = handover.carried(handover.rows(state), config, silenced)
    assert text.startswith("1\n# be_id be_name ")
    assert text.endswith("\n")
    return {row["srv_name"]: row for row in handover.rows(text)}


def test_a_configuration_names_its_servers() -> None:
    assert handover.configured(CONFIG) == {
        ("b", "s0"): ("127.0.0.1", "8000", True),
        ("b", "s1"): ("127.0.0.1", "8002", True),
        ("b", "s2"): ("127.0.0.1", "8004", True),
        ("b", "s3"): ("127.0.0.1", "8006", False),
    }


def test_an_address_of_ipv6_is_understood() -> None:
    assert handover.configured("backend b\n    server s [2001:db8::1]:80 check") == {("b", "s"): ("2001:db8::1", "80", False)}


def test_the_columns_are_those_that_haproxy_writes(state: str) -> None:
    assert all(list(row) == list(handover.UNKNOWN) for row in handover.rows(state))


def test_what_is_known_goes_on_unchanged(state: str) -> None:
    before = {row["srv_name"]: row for row in handover.rows(state)}
    for name, row in carried(state).items():
        same = {key: value for key, value in row.items() if not key.endswith("port")}
        assert same == {key: value for key, value in before[name].items() if not key.endswith("port")}


def test_ports_are_those_of_the_configuration(state: str) -> None:
    """HAProxy would go on with the old ones, whatever its configuration says."""
    row = carried(state, CONFIG.replace(":8000", ":9000").replace("8001", "9001"))["s0"]
    assert (row["srv_port"], row["srv_agent_port"], row["srv_check_port"]) == ("9000", "0", "0")


def test_an_agent_that_was_silenced_for_the_handover_is_asked_again(state: str) -> None:
    silent = state.replace(" 22 0 0 - 8000 ", " 18 0 0 - 8000 ")
    assert carried(silent)["s0"]["srv_agent_state"] == "18"
    assert carried(silent, silenced=(("b", "s0"),))["s0"]["srv_agent_state"] == "22"


def test_only_agents_that_are_asked_are_silenced(state: str) -> None:
    assert handover.with_agent_state(state, handover.ENABLED) == [("b", "s0"), ("b", "s1"), ("b", "s2")]


def test_a_server_that_is_gone_is_left_out(state: str) -> None:
    assert "s1" not in carried(state, CONFIG.replace("server s1 ", "server t1 "))


def test_a_new_server_with_an_agent_waits_for_its_word(state: str) -> None:
    row = carried(state, CONFIG.replace("server s1 ", "server t1 "))["t1"]
    assert (row["srv_admin_state"], row["srv_addr"], row["srv_port"]) == ("1", "127.0.0.1", "8002")


def test_a_new_server_without_an_agent_is_left_to_its_health_check(state: str) -> None:
    assert "t3" not in carried(state, CONFIG.replace("server s3 ", "server t3 "))


def test_another_machine_of_the_same_name_counts_as_new(state: str) -> None:
    row = carried(state, CONFIG.replace("s0 127.0.0.1", "s0 127.0.0.2"))["s0"]
    assert (row["srv_admin_state"], row["srv_addr"]) == ("1", "127.0.0.2")


@pytest.mark.parametrize("spelled", ["2001:DB8::21", "2001:db8:0:0::0021", "2001:db8::21"])
def test_an_address_may_be_spelled_otherwise_than_haproxy_prints_it(state: str, spelled: str) -> None:
    known = state.replace("s0 127.0.0.1", "s0 2001:db8::21")
    assert "s0 2001:db8::21" in known
    row = carried(known, CONFIG.replace("s0 127.0.0.1:", f"s0 [{spelled}]:"))["s0"]
    assert (row["srv_op_state"], row["srv_addr"]) == ("2", "2001:db8::21")
    other = carried(known, CONFIG.replace("s0 127.0.0.1:", "s0 [2001:DB8::22]:"))["s0"]
    assert (other["srv_admin_state"], other["srv_addr"]) == ("1", "2001:DB8::22")


def test_a_server_that_is_configured_by_name_is_the_same_machine(state: str) -> None:
    """Where the name leads is HAProxy's to find out."""
    assert carried(state, CONFIG.replace("s0 127.0.0.1", "s0 app1.example"))["s0"]["srv_op_state"] == "2"


def test_where_nothing_is_known_every_server_with_an_agent_waits() -> None:
    text = handover.carried([], CONFIG)
    assert {row["srv_name"]: row["srv_admin_state"] for row in handover.rows(text)} == {"s0": "1", "s1": "1", "s2": "1"}


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="Permission denied"):
        list(handover.rows("Permission denied\n"))
