"""A record in the ledger is on the page within seconds, for everybody to read and for nobody to write."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime

import pytest
from outside import ROOT, Run, play, scenario_hosts, within
from testinfra.host import Host

PAGE = "http://127.0.0.1:8088"
LEDGER = "/var/lib/tossable/ledger/ledger.jsonl"


def converge(host: Host, **changes: object) -> Run:
    """Run the roles on the host once more, with some variables changed."""
    name = next(name for name, known in scenario_hosts().items() if known["ansible_host"] == host.backend.hostname)
    return play(ROOT / "molecule" / "status_page" / "converge.yml", "--limit", name, changes=changes)


def changed(done: Run) -> int:
    """How many tasks say that they changed something."""
    assert done.code == 0, done.output
    return sum(int(count) for count in re.findall(r"changed=(\d+)", done.output))


def answer(host: Host, path: str, *options: str) -> str:
    return str(host.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {' '.join(options)} {PAGE}{path}"))


def evidence(host: Host) -> str:
    return str(host.run("journalctl -u tossable-status-page.service -u tossable-status-page.path -n 20 --no-pager; cat " + LEDGER).stdout)


def test_a_run_that_is_recorded_is_shown_within_seconds(host: Host) -> None:
    run = f"run-{host.check_output('date +%s%N')}"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    same = {
        "schema": 1,
        "run": run,
        "kind": "deploy",
        "environment": "lab",
        "application": "shop",
        "by": "ada@desk",
        "on_behalf_of": None,
        "reason": "<b>why</b>",
    }
    about = {"at": now, "from": [], "to": "2-bbbbbbbb", "version": "2"}
    records = [{**same, **about, "event": "started"}, {**same, **about, "event": "ended", "outcome": "deployed", "seconds": 3.0}]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    host.check_output("printf %%s %s >> " + LEDGER, lines)
    deadline = time.monotonic() + 20
    # Well below the timer's minute and a little: it is the path unit that does it.
    while answer(host, f"/runs/{run}.html") != "200":
        assert time.monotonic() < deadline, evidence(host)
    page = host.check_output(f"curl -sf {PAGE}/runs/{run}.html")
    assert "&lt;b&gt;why&lt;/b&gt;" in page
    assert "Deployments of the shop" in page
    front = host.check_output(f"curl -sf {PAGE}/")
    assert run in front, evidence(host)
    assert json.loads(host.check_output(f"curl -sf {PAGE}/footer.json"))["by"] == "ada@desk"


def test_any_application_may_show_the_line_and_no_script_of_others_runs(host: Host) -> None:
    for name in ("footer.json", "footer.js"):
        assert "access-control-allow-origin: *" in host.check_output(f"curl -sfi {PAGE}/{name}").lower()
    headers = host.check_output(f"curl -sfi {PAGE}/").lower()
    assert "content-security-policy: default-src 'none'; script-src 'self'" in headers
    assert "access-control" not in headers
    assert "content-type: text/html; charset=utf-8" in headers


def test_nothing_can_be_written_and_nothing_else_is_served(host: Host) -> None:
    assert answer(host, "/x", "-X", "PUT", "-d", "x") in ("403", "405")
    for path in ("/state.json", "/../state.json", "/runs/", "/.index.html.new"):
        assert answer(host, path, "--path-as-is") in ("400", "403", "404"), path


def test_the_account_can_write_the_pages_and_nothing_else(host: Host) -> None:
    for path in (LEDGER, "/usr/local/lib/tossable/status_page/__main__.py", "/etc/nginx/conf.d/tossable-status-page.conf"):
        assert host.run(f"su -s /bin/sh tossable-status -c 'test -w {path}'").rc != 0, path
    assert host.file("/var/lib/tossable-status/site/index.html").user == "tossable-status"


def test_the_unit_is_shut_in(host: Host) -> None:
    exposure = host.check_output("systemd-analyze security tossable-status-page.service --no-pager | tail -n 1")
    assert float(exposure.split(":")[1].split()[0]) < 2.0, exposure


def test_the_store_beside_it_is_still_served(host: Host) -> None:
    assert host.check_output("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/none") == "404"


def test_the_timer_and_the_watch_wait(host: Host) -> None:
    for name in ("tossable-status-page.timer", "tossable-status-page.path"):
        assert host.service(name).is_running, name
        assert host.service(name).is_enabled, name


@pytest.mark.one_host
def test_units_of_a_run_that_was_cut_short_are_read_by_the_next(host: Host) -> None:
    stale = "systemctl show --property=NeedDaemonReload --value tossable-status-page.path"
    host.check_output("touch /etc/systemd/system/tossable-status-page.path")
    assert host.check_output(stale) == "yes"
    assert changed(converge(host)) == 0
    assert host.check_output(stale) == "no"


SITE = "/etc/nginx/conf.d/tossable-status-page.conf"


@pytest.mark.one_host
def test_what_nginx_refuses_is_taken_back_and_named_by_each_run(host: Host) -> None:
    before = host.check_output(f"cat {SITE}")
    for _ in range(2):
        done = converge(host, status_page_address="[fd00::zz]")
        assert done.code == 2, done.output
        assert "nginx does not accept the configuration with status_page_address=[fd00::zz]" in done.message()
        assert f"{SITE} was put back as it was" in done.message()
        assert host.check_output(f"cat {SITE}") == before
    host.check_output("nginx -t && systemctl restart nginx.service")
    assert answer(host, "/") == "200"
    assert changed(converge(host)) == 0


@pytest.mark.one_host
def test_a_site_that_nginx_has_not_read_is_loaded_by_the_next_run_and_by_no_other(host: Host) -> None:
    """As a run leaves it that was cut short, or that failed later."""
    host.check_output(f"sed -i 's/:8088;/:8089;/' {SITE} && systemctl reload nginx.service && sed -i 's/:8089;/:8088;/' {SITE}")
    served = f"curl -sf -o /dev/null {PAGE}/"
    within(10, lambda: host.run(served).rc != 0, "nginx listens on the other port alone")
    assert changed(converge(host)) > 0
    within(10, lambda: host.run(served).rc == 0, "nginx has read the site")
    assert changed(converge(host)) == 0


@pytest.mark.one_host
def test_an_address_of_ipv6_is_served(host: Host) -> None:
    assert changed(converge(host, status_page_address="::1")) > 0
    try:
        within(10, lambda: host.run("curl -sf -o /dev/null http://[::1]:8088/").rc == 0, "the page is served on an address of IPv6")
    finally:
        assert changed(converge(host)) > 0
    within(10, lambda: host.run(f"curl -sf -o /dev/null {PAGE}/").rc == 0, "it is served as before")
