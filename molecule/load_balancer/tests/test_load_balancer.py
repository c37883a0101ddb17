# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancer as clients, administrators and its servers see it. What the servers do is played by files/rig.py."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from outside import ROOT, Run, play, scenario_hosts, within

PLAYBOOK = ROOT / "molecule" / "load_balancer" / "converge.yml"
MAINTENANCE = ROOT / "molecule" / "load_balancer" / "maintenance.yml"
MAP = "/var/lib/tossable/maintenance.map"
ADMIN = "timeout 5 socat - UNIX-CONNECT:/run/haproxy/admin.sock"
ASK = f"echo 'show info' | {ADMIN}"
RIG = "systemd-run --quiet --collect --unit=rig --property=Type=notify --property=NotifyAccess=all rig serve"
STATUS = f"echo 'show stat' | {ADMIN} | grep ^shop,s0, | cut -d, -f18"
IN_FLIGHT = f"echo 'show stat' | {ADMIN} | awk -F, '$1 == \"shop\" && $2 != \"BACKEND\" {{ print $5 }}'"


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's address on the lab network."""
    return str(host.backend.hostname)


@pytest.fixture(scope="class")
def serving(host: Any) -> Iterator[None]:
    """Both servers answer, and their agents say `ready`."""
    host.check_output(RIG)
    yield
    host.check_output("systemctl stop rig")


def rig(host: Any, *words: str) -> dict[str, Any]:
    """Run one of the rig's trials; it fails with what the rig said."""
    done = host.run(f"timeout 240 rig {' '.join(words)}")
    assert done.rc == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class Answer(NamedTuple):
    """What came back, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def get(address: str, port: int, path: str = "/", seconds: float = 10, **headers: str) -> Answer:
    """One request from outside, by TLS on the ports that speak it."""
    connection: http.client.HTTPConnection
    if port in (443, 444):
        connection = http.client.HTTPSConnection(address, port, timeout=seconds, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(address, port, timeout=seconds)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


def seen(response: Answer) -> dict[str, Any]:
    """What arrived at the server that answered."""
    assert response.status == 200, response.status
    found: dict[str, Any] = json.loads(response.body)
    return found


def test_a_fleet_without_a_release_is_answered_with_503(address: str) -> None:
    assert get(address, 80).status == 503


@pytest.mark.usefixtures("serving")
class TestClients:
    """What a client gets."""

    def test_requests_are_spread_over_the_servers(self, address: str) -> None:
        assert {seen(get(address, 80))["server"] for _ in range(4)} == {"s0", "s1"}

    def test_the_server_learns_who_asks_and_how(self, address: str) -> None:
        plain = seen(get(address, 80, X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https"))["headers"]
        assert plain["x-forwarded-for"] != "6.6.6.6"
        assert "6.6.6.6" not in plain["x-forwarded-for"]
        assert plain["x-forwarded-proto"] == "http"
        assert seen(get(address, 443))["headers"]["x-forwarded-proto"] == "https"

    def test_a_proxy_in_front_is_believed_where_it_is_said_to_be_one(self, address: str) -> None:
        assert seen(get(address, 82, X_Forwarded_Proto="https"))["headers"]["x-forwarded-proto"] == "https"
        assert seen(get(address, 82))["headers"]["x-forwarded-proto"] == "http"

    def test_tls_is_of_today(self, address: str) -> None:
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection((address, 443), 10) as raw, context.wrap_socket(raw, server_hostname="shop.test") as tls:
            assert tls.version() == "TLSv1.3"
            assert tls.selected_alpn_protocol() == "h2"

    @pytest.mark.parametrize("option", ["-tls1_1", "-tls1_2 -cipher AES128-SHA@SECLEVEL=0"])
    def test_tls_of_yesterday_is_refused(self, host: Any, option: str) -> None:
        assert "Cipher is (NONE)" in host.run(f"openssl s_client {option} -connect 127.0.0.1:443 </dev/null").stdout

    def test_the_certificate_is_for_the_names_that_were_given(self, address: str) -> None:
        certificate = ssl.get_server_certificate((address, 443))
        text = subprocess.run(["openssl", "x509", "-noout", "-text"], input=certificate, capture_output=True, text=True, check=True).stdout
        (names,) = (line.strip().split(", ") for line in text.splitlines() if "DNS:" in line)
        assert set(names) == {"DNS:shop.test", "DNS:*.shop.test", "IP Address:127.0.0.1"}

    def test_https_is_insisted_on_only_by_https(self, address: str) -> None:
        assert get(address, 443).headers["Strict-Transport-Security"] == "max-age=600"
        assert get(address, 80).headers["Strict-Transport-Security"] is None

    def test_a_strict_frontend_sends_clients_to_https(self, address: str) -> None:
        response = get(address, 81, "/some?thing=1", Host="shop.test")
        assert (response.status, response.headers["Location"]) == (301, "https://shop.test/some?thing=1")
        assert get(address, 444).status == 200

    @pytest.mark.parametrize(
        ("name", "path", "status"),
        [
            ("empty.test", "/nobody", 503),
            ("EMPTY.test:80", "/nobody/at/home", 503),
            ("a.empty.test", "/nobody", 503),
            ("empty.test", "/nobodys", 200),
            ("empty.test", "/", 200),
            ("notempty.test", "/nobody", 200),
            ("shop.test", "/nobody", 200),
        ],
    )
    def test_a_route_takes_what_fits_host_and_path(self, address: str, name: str, path: str, status: int) -> None:
        assert get(address, 80, path, Host=name).status == status

    def test_figures_are_for_the_inside(self, host: Any, address: str) -> None:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address, 8404), 5)
        assert "haproxy_server_status" in host.check_output("curl -sf http://127.0.0.1:8404/metrics")
        assert "Statistics Report" in host.check_output("curl -sf http://127.0.0.1:8404/")
        host.check_output("curl -sf http://127.0.0.1:8404/healthy")

    def test_no_connection_stands_on_a_server_between_requests(self, host: Any) -> None:
        """Of a second set of servers: a client that keeps its connection does not keep one to the server."""
        host.check_output("systemctl stop rig")
        try:
            result = rig(host, "keepalive", "20")
        finally:
            host.check_output(RIG)
        assert result["requests"] == 20


class TestAdministrators:
    """Who may use the admin socket."""

    def test_a_member_of_the_group_may(self, host: Any) -> None:
        assert "Pid:" in host.check_output(f'runuser -u insider -- sh -c "{ASK}"')

    @pytest.mark.parametrize("account", ["outsider", "nobody"])
    def test_another_may_not(self, host: Any, account: str) -> None:
        done = host.run(f'runuser -u {account} -- sh -c "{ASK}"')
        assert "Pid:" not in done.stdout
        assert "Permission denied" in done.stderr

    def test_keys_are_for_root_alone(self, host: Any) -> None:
        assert host.run("runuser -u haproxy -- sh -c 'cat /etc/haproxy/certificates/*.pem'").rc != 0
        assert host.run("runuser -u outsider -- ls /etc/haproxy/certificates").rc != 0
        modes = host.check_output("stat -c %a /etc/haproxy/certificates/*.pem").split()
        assert set(modes) == {"600"}


@pytest.fixture(scope="module", name="words")
def _words(host: Any) -> dict[str, Any]:
    """What one server saw at each word of its agent, under load."""
    return rig(host, "words")


class TestServers:
    """What a server's word does."""

    def test_each_word_does_what_a_release_relies_on(self, words: dict[str, Any]) -> None:
        result, found = words, words["found"]
        assert result["failed"] == 0, result
        assert found["ready"]["requests"] > 50
        assert (found["drain"]["status"], found["drain"]["requests"]) == ("DRAIN (agent)", 0)
        assert found["drain"]["checks"] > 0
        assert found["maint"] == {"status": "MAINT", "requests": 0, "checks": 0, "asked": found["maint"]["asked"]}
        assert found["maint"]["asked"] >= 2
        assert found["maint, application down"]["status"] == "MAINT"
        assert found["ready again"]["status"].startswith("UP")
        assert found["ready again"]["seconds_to_first_request"] < 1

    def test_a_silent_agent_changes_nothing(self, words: dict[str, Any]) -> None:
        found = words["found"]
        assert found["ready, agent silent"]["status"].startswith("UP")
        assert found["ready, agent silent"]["requests"] > 50
        assert (found["drain, agent silent"]["status"], found["drain, agent silent"]["requests"]) == ("DRAIN (agent)", 0)
        assert (found["maint, agent silent"]["status"], found["maint, agent silent"]["requests"]) == ("MAINT", 0)

    def test_a_server_that_is_slow_to_answer_its_checks_stays(self, words: dict[str, Any]) -> None:
        """With all of them slow, taking them out would leave nobody."""
        assert words["other"]["statuses"] == ["UP"], words["other"]
        assert words["other"]["checks"] >= 3, words["other"]

    def test_what_is_known_of_a_server_outlives_reload_and_restart(self, host: Any) -> None:
        result = rig(host, "outage")
        for moment in ("maint, reload", "maint, restart"):
            assert (result[moment]["status"], result[moment]["requests_to_it"], result[moment]["failed"]) == ("MAINT", 0, 0), result
        assert result["down, reload"]["status"] == "DOWN"
        assert result["down, reload"]["failed"] == 0, result
        assert result["crash, agents silent"]["requests"] > 50
        assert (result["crash, agents silent"]["status"], result["crash, agents silent"]["requests_to_it"]) == ("MAINT", 0), result

    def test_servers_leave_and_return_without_a_failed_request(self, host: Any) -> None:
        result = rig(host, "roll", "10")
        assert result["requests"] > 500
        assert (result["failed"], result["lost_at_stop"]) == (0, 0), result

    def test_not_even_while_the_balancer_is_reloaded_all_the_time(self, host: Any) -> None:
        rounds = 16 if os.environ.get("LONG") else 8
        result = rig(host, "roll", str(rounds), "reload")
        assert result["reloads"] >= 3, result
        assert result["requests"] > 32 * rounds, result
        assert (result["failed"], result["lost_at_stop"]) == (0, 0), result


def converge(host: Any, changes: dict[str, Any]) -> Run:
    """Run the role on the host once more, with some variables changed."""
    name = next(name for name, known in scenario_hosts().items() if known["ansible_host"] == host.backend.hostname)
    return play(PLAYBOOK, "--limit", name, changes=changes)


@pytest.fixture(scope="module", name="refused")
def _refused(host: Any) -> Run:
    """A run with two mistakes that only HAProxy finds."""
    return converge(host, {"load_balancer_timeout_server": "soon", "load_balancer_timeout_queue": "later"})


@pytest.fixture(scope="class", name="occupied")
def _occupied(host: Any) -> Iterator[list[Run]]:
    """Two runs with a port that another program on the host uses (see prepare.yml); afterwards all is as it was."""
    frontends = [{"name": "public", "binds": [{"port": 80}, {"port": 99}], "default_backend": "shop"}]
    yield [converge(host, {"load_balancer_frontends": frontends}) for _ in range(2)]
    done = converge(host, {})
    assert done.code == 0, done.output


@pytest.mark.one_host
@pytest.mark.usefixtures("serving")
class TestMistakes:
    """A mistake in the variables stops the run in words, and HAProxy goes on."""

    def test_what_haproxy_refuses_is_named(self, refused: Run) -> None:
        said = refused.message()
        assert refused.code == 2, refused.output
        assert "timeout server soon # load_balancer_timeout_server" in said
        assert "timeout queue later # load_balancer_timeout_queue" in said

    def test_what_haproxy_refuses_is_not_put_in_place(self, host: Any, address: str, refused: Run) -> None:
        assert refused.code == 2, refused.output
        assert "soon" not in host.check_output("cat /etc/haproxy/haproxy.cfg")
        assert get(address, 443).status == 200

    def test_a_port_in_use_is_named_by_each_run(self, occupied: list[Run]) -> None:
        for done in occupied:
            assert done.code == 2, done.output
            said = done.message()
            assert "cannot bind socket" in said
            assert "Change what it complains about in load_balancer_frontends" in said

    def test_a_port_in_use_stops_nobody(self, host: Any, address: str, occupied: list[Run]) -> None:
        assert "bind *:99" in host.check_output("cat /etc/haproxy/haproxy.cfg"), occupied[0].output
        assert get(address, 443).status == 200


@pytest.mark.one_host
@pytest.mark.usefixtures("serving")
def test_a_run_that_ended_before_systemd_knew_of_the_unit_is_made_up_for(host: Any, address: str) -> None:
    """As after a first configuration that HAProxy refused: the addition to its unit lies there, and systemd has not read it."""
    addition, away = "/etc/systemd/system/haproxy.service.d/handover.conf", "/run/handover.conf"
    loaded = "/run/haproxy-handover/loaded.sha256"
    host.check_output(f"mv {addition} {away} && systemctl daemon-reload && mv {away} {addition} && rm {loaded}")
    assert changed(converge(host, {})) > 0
    assert "handover" in host.check_output("systemctl show --property=ExecReload haproxy.service")
    assert host.check_output(f"cat {loaded}") == host.check_output("sha256sum /etc/haproxy/haproxy.cfg").split()[0]
    assert get(address, 80).status == 200
    assert changed(converge(host, {})) == 0


def maintain(*options: str, **wanted: Any) -> Run:
    """Switch the maintenance page of an application on all hosts of the scenario."""
    return play(MAINTENANCE, *options, changes={"app": "shop", **wanted})


def changed(done: Run) -> int:
    """How many tasks say that they changed something, on all hosts."""
    assert done.code == 0, done.output
    return sum(int(count) for count in re.findall(r"changed=(\d+)", done.output))


def body(response: Answer) -> str:
    """What a client reads."""
    return response.body.decode()


WISH = {"state": "on", "message": '<b>Back at six</b>, 100% "sure" \u00e9', "reason": "the database moves", "by": "ada", "retry_after": 77}


@pytest.fixture(scope="class", name="switched")
def _switched(serving: None) -> Iterator[Run]:
    """The page is shown for the shop; afterwards it is served again."""
    done = maintain(**WISH)
    assert done.code == 0, done.output
    yield done
    over = maintain(state="off")
    assert over.code == 0, over.output


class TestMaintenance:
    """An application in maintenance: what clients get, what that outlives, what a second run does."""

    def test_clients_read_a_page(self, address: str, switched: Run) -> None:
        for port in (80, 443):
            response = get(address, port)
            assert response.status == 503
            assert response.headers["Retry-After"] == "77"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "<p>&lt;b&gt;Back at six&lt;/b&gt;, 100% &quot;sure&quot; &#233;</p>" in body(response)
            assert "database" not in body(response)
        assert "and drained: no request is in flight" in switched.message()

    def test_health_checks_and_agents_go_on(self, host: Any, switched: Run) -> None:
        """The server's application and agent are started anew meanwhile, which HAProxy has to notice."""
        host.check_output("systemctl stop rig")
        try:
            within(10, lambda: "DOWN" in host.check_output(STATUS), "HAProxy sees that the servers are gone")
        finally:
            host.check_output(RIG)
        within(10, lambda: "UP" in host.check_output(STATUS), "HAProxy sees that they are back")

    def test_a_second_run_changes_nothing_and_keeps_since_when(self, host: Any, switched: Run) -> None:
        before = host.check_output(f"cat {MAP}")
        assert changed(maintain(**WISH | {"by": "bob"})) == 0
        assert host.check_output(f"cat {MAP}") == before

    @pytest.mark.one_host
    def test_it_outlives_reload_restart_and_the_role(self, address: str, host: Any, switched: Run) -> None:
        for step in ("reload", "restart"):
            host.check_output(f"systemctl {step} haproxy")
            response = get(address, 80)
            assert (response.status, "Back at six" in body(response)) == (503, True), step
        assert changed(converge(host, {})) == 0
        assert get(address, 80).status == 503

    def test_the_journal_is_not_filled_with_what_was_announced(self, address: str, host: Any, switched: Run) -> None:
        get(address, 80, "/announced")
        assert "/announced" not in host.check_output("journalctl --sync; journalctl --unit=haproxy --no-pager --lines=100")


@pytest.mark.one_host
@pytest.mark.usefixtures("serving")
class TestSwitching:
    """The moment in which the page is switched on, and what stands in its way."""

    def test_what_is_in_flight_is_answered_and_waited_for_also_by_a_process_that_was_replaced(self, address: str, host: Any) -> None:
        kept = http.client.HTTPConnection(address, 80, timeout=240)
        kept.request("GET", "/")
        kept.getresponse().read()
        host.check_output("touch /run/rig.hold")
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(get, address, 80, "/held", 240)
            within(5, lambda: "1" in host.check_output(IN_FLIGHT).split(), "a slow request is in flight")
            host.check_output("systemctl reload haproxy")
            try:
                at_once = maintain("--limit", host.check_output("hostname"), state="on", drain_seconds=0)
                assert at_once.code == 2, at_once.output
                assert "requests that came before are not answered yet" in at_once.message()
                kept.request("GET", "/")
                assert kept.getresponse().status == 503, "the process that was replaced was not told"
                assert get(address, 80).status == 503
                assert not slow.done()
                host.check_output("rm /run/rig.hold")
                again = maintain("--limit", host.check_output("hostname"), state="on")
                assert again.code == 0, again.output
                assert slow.done(), "it said drained before the request was answered"
                assert slow.result().status == 200
            finally:
                host.check_output("rm -f /run/rig.hold")
                kept.close()
                assert changed(maintain(state="off")) > 0
        assert get(address, 80).status == 200

    def test_another_application_is_not_touched_and_may_have_a_page_of_its_own(self, address: str) -> None:
        assert changed(maintain(app="empty", state="on", message="Elsewhere")) > 0
        try:
            own = get(address, 80, "/nobody", Host="empty.test")
            assert (own.status, "<style>body { width: 100%; }</style>\n<p>Elsewhere</p>" in body(own)) == (503, True), body(own)
            assert get(address, 80).status == 200
        finally:
            assert changed(maintain(app="empty", state="off")) > 0
        assert "Elsewhere" not in body(get(address, 80, "/nobody", Host="empty.test"))

    def test_a_load_balancer_that_does_not_answer_leaves_the_others_as_they_are(self, host: Any) -> None:
        host.check_output("systemctl stop haproxy")
        try:
            done = maintain(state="on")
        finally:
            host.check_output("systemctl start haproxy")
        assert done.code == 2
        assert "Nothing was changed at any load balancer" in done.message()
        assert f"- {host.check_output('hostname')}: HAProxy does not answer" in done.message()
        assert changed(maintain(state="off")) == 0


def test_check_mode_tells_what_maintenance_would_change_and_changes_nothing() -> None:
    told = maintain("--check", "--diff", state="on", reason="only to see")
    assert changed(told) > 0
    assert "+shop: maintenance since" in told.output
    assert "because: only to see" in told.output
    assert changed(maintain(state="off")) == 0


def test_maintenance_that_cannot_be_meant_is_refused() -> None:
    assert "On or off?" in maintain(state="maybe").message()
    assert "no backend nobody" in maintain(state="on", app="nobody").message()
    assert "too long" in maintain(state="on", message="x" * 5000).message()
