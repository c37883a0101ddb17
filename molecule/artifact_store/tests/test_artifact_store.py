"""Artifacts can be read by everybody over HTTP, and written by uploaders over ssh only."""

from __future__ import annotations

import re

import pytest
from outside import ROOT, Run, play, scenario_hosts, within
from testinfra.host import Host

STORE = "http://127.0.0.1:8080"


def converge(host: Host, **changes: object) -> Run:
    """Run the role on the host once more, with some variables changed."""
    name = next(name for name, known in scenario_hosts().items() if known["ansible_host"] == host.backend.hostname)
    return play(ROOT / "molecule" / "artifact_store" / "converge.yml", "--limit", name, changes=changes)


def changed(done: Run) -> int:
    """How many tasks say that they changed something."""
    assert done.code == 0, done.output
    return sum(int(count) for count in re.findall(r"changed=(\d+)", done.output))


def put(host: Host, version: str, built_at: str) -> None:
    """An uploader without root adds a version the way build.yml does: beside, then renamed."""
    folder, beside = f"/srv/artifacts/shop/{version}", f"/srv/artifacts/.incoming-{version}"
    write = f'mkdir -p /srv/artifacts/shop {beside} && echo \'{{"built_at": "{built_at}"}}\' > {beside}/shop-{version}.manifest.json'
    done = host.run(f"[ -e {folder} ] || su ops -c %s", f"umask 022; {write} && mv -T {beside} {folder}")
    assert done.rc == 0, done.stderr


def status(host: Host, path: str, *options: str) -> str:
    return str(host.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {' '.join(options)} {STORE}{path}"))


def test_what_an_uploader_puts_there_is_served(host: Host) -> None:
    put(host, "1.0", "2026-01-01T00:00:00Z")
    assert '"built_at"' in host.check_output(f"curl -sf {STORE}/shop/1.0/shop-1.0.manifest.json")


def test_nothing_can_be_written_over_http(host: Host) -> None:
    for method in ("PUT", "POST", "DELETE", "MKCOL"):
        assert status(host, "/shop/1.0/new", f"-X {method}", "-d x") in ("403", "405"), method


def test_folders_and_hidden_files_are_not_shown(host: Host) -> None:
    host.check_output("mkdir -p /srv/artifacts/.incoming-x && touch /srv/artifacts/.incoming-x/part && chmod -R a+rX /srv/artifacts/.incoming-x")
    assert status(host, "/.incoming-x/part") == "404"
    assert status(host, "/shop/") == "404"
    assert status(host, "/../etc/passwd", "--path-as-is") in ("400", "404")


def test_another_account_cannot_write(host: Host) -> None:
    assert host.run("su -s /bin/sh nobody -c 'touch /srv/artifacts/x'").rc != 0
    assert host.run("su -s /bin/sh www-data -c 'touch /srv/artifacts/x'").rc != 0


def test_old_versions_go_and_those_in_use_stay(host: Host) -> None:
    for number in range(1, 5):
        put(host, f"1.{number}", f"2026-02-0{number}T00:00:00Z")
    put(host, "1.0", "2026-01-01T00:00:00Z")
    host.check_output("mkdir -p /srv/artifacts/shop/.in-use && echo 1.1 > /srv/artifacts/shop/.in-use/production")
    done = host.run("systemctl start tossable-artifacts-prune.service")
    assert done.rc == 0, host.run("journalctl -u tossable-artifacts-prune -n 20 --no-pager").stdout
    assert host.check_output("ls /srv/artifacts/shop").split() == ["1.1", "1.3", "1.4"]


def test_the_timer_waits_for_its_day(host: Host) -> None:
    timer = host.service("tossable-artifacts-prune.timer")
    assert timer.is_running
    assert timer.is_enabled


def test_the_ledger_can_be_read_by_everybody_and_written_by_root_only(host: Host) -> None:
    assert host.run("su -s /bin/sh nobody -c 'ls /var/lib/tossable/ledger'").rc == 0
    assert host.run("su -s /bin/sh nobody -c 'touch /var/lib/tossable/ledger/x'").rc != 0


@pytest.mark.one_host
def test_units_of_a_run_that_was_cut_short_are_read_by_the_next(host: Host) -> None:
    stale = "systemctl show --property=NeedDaemonReload --value tossable-artifacts-prune.timer"
    host.check_output("touch /etc/systemd/system/tossable-artifacts-prune.timer")
    assert host.check_output(stale) == "yes"
    assert changed(converge(host)) == 0
    assert host.check_output(stale) == "no"


def workers(host: Host) -> set[str]:
    """The processes of nginx that a reload replaces; one that still ends does not take connections any more."""
    return set(host.check_output("pgrep --full '^nginx: worker process *$'").split())


@pytest.mark.one_host
def test_a_configuration_that_nginx_has_not_read_is_loaded_by_the_next_run_and_by_no_other(host: Host) -> None:
    before = workers(host)
    host.check_output("touch /etc/nginx/nginx.conf")
    assert changed(converge(host)) > 0
    within(10, lambda: not workers(host) & before, "the processes are new ones")
    before = workers(host)
    assert changed(converge(host)) == 0
    assert workers(host) == before
    host.check_output("systemctl restart nginx.service")
    assert changed(converge(host)) == 0


@pytest.mark.one_host
def test_an_address_of_ipv6_is_served(host: Host) -> None:
    assert changed(converge(host, artifact_store_address="::1")) > 0
    answered = "curl -s -o /dev/null -w '%{http_code}' http://[::1]:8080/none"
    try:
        within(10, lambda: host.run(answered).stdout == "404", "the store is served on an address of IPv6")
    finally:
        assert changed(converge(host)) > 0


@pytest.mark.one_host
def test_what_nginx_refuses_is_named_and_not_put_in_place(host: Host) -> None:
    done = converge(host, artifact_store_address="[fd00::zz]")
    assert done.code == 2, done.output
    assert "nginx does not accept the configuration with artifact_store_address=[fd00::zz]" in done.message()
    assert "[fd00::zz]" not in host.check_output("cat /etc/nginx/nginx.conf")
    assert changed(converge(host)) == 0
