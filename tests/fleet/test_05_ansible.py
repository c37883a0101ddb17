"""Ansible's own options behave as Ansible's users expect."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from conftest import Fleet, environment, long, under_load
from test_04_refusals import broken


def test_check_mode_tells_what_would_happen_and_changes_nothing(fleet: Fleet) -> None:
    before = fleet.fingerprint()
    shown = fleet.must("deploy.yml", "-e", "version=1.1.0", "-e", "force='another test took it back'", "--check", "--diff").output
    assert fleet.fingerprint() == before
    for host in fleet.hosts():
        assert any(host in line and "1.0.0-" in line and "-> 1.1.0-" in line for line in shown.splitlines()), shown
    assert "+release: 1.1.0-" in shown


@long
def test_who_only_looks_leaves_the_hosts_the_program_that_they_run(fleet: Fleet) -> None:
    """As from an older checkout: boot, repair and agent go on with the newer program, until something is released from there."""
    newer = "cd /usr/local/lib/tossable && cp -a $(readlink current) 0123456789abcdef && ln -sfn 0123456789abcdef current"
    for host in fleet.hosts():
        fleet.on(host, newer)
    before = fleet.fingerprint()
    fleet.must("playbooks/status.yml")
    fleet.must("deploy.yml", "-e", "version=1.1.0", "-e", "force='another test took it back'", "--check")
    fleet.must("playbooks/site.yml", "--check", "--limit", "app1")
    assert fleet.fingerprint() == before
    fleet.deploy("1.1.0")
    for host in fleet.hosts():
        assert "0123456789abcdef" not in fleet.on(host, "readlink /usr/local/lib/tossable/current; rm -r /usr/local/lib/tossable/0123456789abcdef")
    fleet.settled("1.1.0")


def test_limit_moves_only_the_named_hosts(fleet: Fleet) -> None:
    fleet.deploy("1.1.0", "--limit", "app1,app2")
    assert fleet.releases() == {"app1": "1.1.0", "app2": "1.1.0", "app3": "1.0.0", "app4": "1.0.0"}
    assert "the fleet runs" in fleet.must("playbooks/status.yml").message()
    fleet.deploy("1.0.0")
    fleet.settled("1.0.0")


def test_the_tag_stage_fetches_and_switches_nothing(fleet: Fleet) -> None:
    fleet.deploy("1.2.0", "--tags", "stage")
    assert set(fleet.releases().values()) == {"1.0.0"}
    for host in fleet.hosts():
        assert "1.2.0-" in fleet.on(host, "ls /srv/storefront/releases")


@long
def test_variables_from_a_file(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "release.yml").write_text(
        "version: 1.1.0\nrollout_waves: ['50%', '100%']\nby: ada\nreason: to see\nforce: another test took it back\n"
    )
    shown = fleet.must("deploy.yml", "-e", f"@{tmp_path}/release.yml").output
    assert "in 2 waves" in shown
    assert "ada" in fleet.must("playbooks/status.yml").output


@long
def test_secrets_from_a_vault_reach_the_application_and_no_output(fleet: Fleet, tmp_path: Path) -> None:
    password, secrets = tmp_path / "password", tmp_path / "secrets.yml"
    password.write_text("only for this test\n")
    secrets.write_text("app_secrets: {STOREFRONT_TOKEN: 'plain-for-nobody $1 \"x\"'}\n")
    sealing = ["ansible-vault", "encrypt", "--vault-password-file", str(password), str(secrets)]
    subprocess.run(sealing, env=environment(), check=True, capture_output=True)
    options = ("--limit", "app1", "-e", f"@{secrets}", "--vault-password-file", str(password))
    shown = fleet.must("playbooks/app.yml", *options, "--diff", "-vvv").output
    assert "plain-for-nobody" not in shown
    process = "$(systemctl show -P MainPID storefront-web)"
    assert 'STOREFRONT_TOKEN=plain-for-nobody $1 "x"' in fleet.on("app1", f"tr '\\0' '\\n' < /proc/{process}/environ")
    fleet.must("playbooks/app.yml", "--limit", "app1")
    fleet.settled("1.0.0")


@long
def test_a_changed_environment_restarts_host_by_host_without_a_failed_request(fleet: Fleet) -> None:
    two = ("--limit", "app1,app2")
    with under_load("environment") as running:
        fleet.must("playbooks/app.yml", *two, "-e", '{"app_environment": {"STOREFRONT_SHARED": "/srv/storefront/shared", "CHANGED": "yes"}}')
        fleet.must("playbooks/app.yml", *two)
    assert running.summary["failed"] == 0, running.summary
    fleet.settled("1.0.0")


def test_status_names_what_differs(fleet: Fleet) -> None:
    page = "/srv/storefront/current/storefront/page.html"
    with broken(fleet, "app2", f"cp -p {page} /root/page && echo >> {page}", f"cp -p /root/page {page}"):
        shown = fleet.must("playbooks/status.yml").message()
    assert "1 files differ from the manifest, first storefront/page.html" in shown
    assert re.search(r"hosts that boot come to run 1\.0\.0-[0-9a-f]{8}, signed \S+ by run \d", shown)
    fleet.settled("1.0.0")
