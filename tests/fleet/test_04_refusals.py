"""Bad input stops before anything has changed, and says what was found, where, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import LAB, ROOT, Fleet, long, podman

STORE = "/srv/artifacts/storefront"


def refused(fleet: Fleet, *told: str, options: tuple[str, ...] = ("-e", "version=1.1.0"), playbook: str = "deploy.yml") -> None:
    """The run ends with an error that holds every word of `told`, and no host is other than before."""
    before = fleet.fingerprint()
    done = fleet.play(playbook, *options)
    assert done.code != 0, done.output
    for words in told:
        assert words in done.message(), f"not told: {words}\n{done.output[-4000:]}"
    assert fleet.fingerprint() == before


@contextmanager
def broken(fleet: Fleet, host: str, breaking: str, mending: str) -> Iterator[None]:
    """Something is broken on a host for as long as the block lasts."""
    fleet.on(host, breaking)
    try:
        yield
    finally:
        fleet.on(host, mending)
    fleet.served()


def forget_connections(fleet: Fleet) -> None:
    """The next task opens a new connection: those that ssh keeps open to this lab's hosts, and to nobody else's, are not found again."""
    mark = re.search(r"%\(directory\)s/([0-9a-f]{8})-", fleet.inventory.read_text())
    assert mark, "the lab's inventory names no ansible_control_path of its own"
    for kept in Path("~/.ansible/cp").expanduser().glob(f"{mark[1]}-*"):
        kept.unlink()


def test_no_version(fleet: Fleet) -> None:
    refused(fleet, "Which version?", "deploy.yml -e version=", options=())


@long
def test_a_freeze(fleet: Fleet) -> None:
    freeze = '{"rollout_freeze": [{"from": "2020-01-01", "to": "2099-12-31", "reason": "the shop is closed"}]}'
    refused(fleet, "frozen from 2020-01-01 to 2099-12-31 (UTC): the shop is closed", "override='why'", options=("-e", "version=1.1.0", "-e", freeze))


def test_an_unknown_version(fleet: Fleet) -> None:
    refused(fleet, "there is no such version in the store", "build.yml -e version=7.7.7", options=("-e", "version=7.7.7"))


@long
def test_a_version_that_is_no_version(fleet: Fleet) -> None:
    refused(fleet, "Nothing was changed.", "version is '../../etc', expected text like", options=("-e", "version=../../etc"))


@long
@pytest.mark.parametrize("playbook", ["deploy.yml", *(f"playbooks/{verb}.yml" for verb in ("build", "rollback", "reconcile", "contract"))])
def test_a_version_without_quotes(fleet: Fleet, playbook: str) -> None:
    """1.10 is 1.1 by then, and there may be such a version."""
    refused(fleet, "version is not text but 1.1", "Quote it", options=("-e", '{"version": 1.10}'), playbook=playbook)


def test_an_unsigned_artifact(fleet: Fleet) -> None:
    signature = f"{STORE}/1.1.0/storefront-1.1.0.manifest.json.sig"
    with broken(fleet, "ops1", f"mv {signature} /root/sig", f"mv /root/sig {signature}"):
        refused(fleet, "is not signed", "Build and upload it again")


def test_an_altered_manifest(fleet: Fleet) -> None:
    manifest = f"{STORE}/1.1.0/storefront-1.1.0.manifest.json"
    with broken(fleet, "ops1", f'cp -p {manifest} /root/m && sed -i \'s/"total": /"total":  /\' {manifest}', f"mv /root/m {manifest}"):
        refused(fleet, "altered after it was signed")


def test_an_altered_archive(fleet: Fleet) -> None:
    """Of a version that no host has yet: the others are not fetched again."""
    archive = f"{STORE}/1.3.0/storefront-1.3.0.tar.zst"
    with broken(
        fleet, "ops1", f"cp -p {archive} /root/a && printf x | dd of={archive} bs=1 seek=100 conv=notrunc status=none", f"mv /root/a {archive}"
    ):
        before = fleet.releases()
        done = fleet.play("deploy.yml", "-e", "version=1.3.0", "--limit", "app1")
        assert done.code == 2
        assert "/storefront/1.3.0/storefront-1.3.0.tar.zst is not what was signed" in done.message()
        assert ": it was altered. Nothing of it is kept on this host." in done.message()
        assert "upload it anew (build.yml -e app=storefront -e version=1.3.0), or deploy another version" in done.message()
        assert fleet.releases() == before
    fleet.settled("1.0.0")


def test_an_artifact_of_another_application(fleet: Fleet, tmp_path: Path) -> None:
    """Well signed, of the same version, and under the name of the application that is deployed."""
    (tmp_path / "web.py").write_text("print('shop')\n")
    name, other = "shop-1.1.0", {"app": "shop", "version": "1.1.0", "path": str(tmp_path / "artifacts"), "source": str(tmp_path)}
    built = fleet.run(
        "ansible",
        "localhost",
        "-m",
        "tossable.fleet.artifact",
        "-a",
        json.dumps({**other, "processes": ["web"], "signing_key": str(ROOT / "build" / "labs" / LAB / "signing_key")}),
    )
    assert built.code == 0, built.output
    folder, kept = tmp_path / "artifacts" / "shop" / "1.1.0", "/root/storefront-1.1.0"
    with broken(fleet, "ops1", f"mv {STORE}/1.1.0 {kept} && mkdir {STORE}/1.1.0", f"rm -r {STORE}/1.1.0 && mv {kept} {STORE}/1.1.0"):
        for path in folder.iterdir():
            there = f"{LAB}-ops1:{STORE}/1.1.0/{path.name.replace(name, 'storefront-1.1.0')}"
            assert fleet.run(*podman("cp", str(path), there)).code == 0
        fleet.on("ops1", f"chmod -R a+rX {STORE}/1.1.0")
        refused(fleet, "this artifact is of the application 'shop', expected 'storefront'")


def test_an_artifact_of_another_version(fleet: Fleet) -> None:
    other = f"{STORE}/9.9.9"
    copy = f"mkdir {other} && for f in {STORE}/1.1.0/*; do cp $f {other}/$(basename $f | sed 's/storefront-1.1.0/storefront-9.9.9/'); done"
    with broken(fleet, "ops1", copy, f"rm -r {other}"):
        refused(fleet, "1.1.0", "9.9.9", options=("-e", "version=9.9.9"))


@long
@pytest.mark.parametrize("waves", ['[1, "25%"]', "[]", '["half"]'])
def test_waves_that_never_reach_everybody(fleet: Fleet, waves: str) -> None:
    refused(fleet, "rollout_waves", options=("-e", "version=1.1.0", "-e", f'{{"rollout_waves": {waves}}}'))


NO_SSH, SSH = "systemctl stop ssh.socket ssh.service; pkill -KILL -x sshd; true", "systemctl start ssh"


def test_a_host_that_is_down(fleet: Fleet) -> None:
    with broken(fleet, "app3", NO_SSH, SSH):
        refused(fleet, "app3 is down", "--limit '!app3'")
    fleet.settled("1.0.0")


@long
def test_hosts_that_are_up_move_where_they_are_named(fleet: Fleet) -> None:
    with broken(fleet, "app3", NO_SSH, SSH):
        fleet.deploy("1.1.0", "--limit", "!app3")
        fleet.must("playbooks/rollback.yml", "--limit", "!app3")
    fleet.settled("1.0.0")


def test_a_load_balancer_that_does_not_serve(fleet: Fleet) -> None:
    with broken(fleet, "lb1", "systemctl stop haproxy", "systemctl start haproxy"):
        refused(fleet, "Load balancer lb1")
    fleet.settled("1.0.0")


def test_a_disk_that_is_nearly_full(fleet: Fleet) -> None:
    """30 MB are left, which is less than the reserve, and the version is one that no host has yet."""
    home = "/srv/storefront"
    mount = f"cp -a {home} /root/kept && mount -t tmpfs -o size=400m tmpfs {home} && cp -a /root/kept/. {home}/"
    fill = f"head -c $(($(df --output=avail --block-size=1 {home} | tail -n 1) - 30000000)) /dev/zero > {home}/ballast"
    with broken(fleet, "app2", f"{mount} && {fill}", f"umount --lazy {home} && rm -r /root/kept"):
        refused(fleet, "app2 has", "MiB free", options=("-e", "version=1.3.0"))
    fleet.settled("1.0.0")


@pytest.mark.parametrize("known_as", [None, pytest.param("app2", marks=long)])
def test_a_host_key_that_is_not_the_one_known(fleet: Fleet, known_as: str | None) -> None:
    """The host is healthy: it is not called down, and nobody is told to toss it. None: no key is known; else that host's."""
    known = ROOT / "build" / "labs" / LAB / "known_hosts"
    text = known.read_text()
    lines = {host: line for line in text.splitlines(keepends=True) for host in fleet.hosts() if host in line}
    name, _, _key = lines["app1"].partition(" ")
    other = f"{name} {lines[known_as].partition(' ')[2]}" if known_as else ""
    forget_connections(fleet)
    known.write_text(text.replace(lines["app1"], other))
    try:
        told = "another host key" if known_as else "its host key is not known here"
        refused(fleet, "app1", told, "known_hosts", "Do not toss it", "--limit '!app1'")
    finally:
        known.write_text(text)


def test_an_inventory_without_hosts(tmp_path: Path, fleet: Fleet) -> None:
    (tmp_path / "hosts.yml").write_text("all: {children: {lb: {hosts: {lb1: {}}}}}\n")
    done = fleet.run("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), "deploy.yml", "-e", "version=1.1.0")
    assert done.code != 0
    assert "No host is in the group 'app'" in done.message()


#: What the store holds of a version, and which others, also half of one.
KEPT = f"sha256sum {STORE}/1.1.0/*; ls -A {STORE} /srv/artifacts"


def test_other_bytes_under_an_existing_version(fleet: Fleet) -> None:
    before = fleet.on("ops1", KEPT)
    done = fleet.play("playbooks/build.yml", "-e", "version=1.1.0", "-e", "storefront_fault=slow:1ms")
    assert done.code != 0
    assert "/storefront/1.1.0 already holds storefront 1.1.0 with the sha256 " in done.message()
    assert "; it differs in: FAULT. A version is built once: choose another one, or remove " in done.message()
    assert fleet.on("ops1", KEPT) == before
    fleet.deploy("1.1.0")
    fleet.settled("1.1.0")


@long
def test_other_bytes_built_elsewhere_under_a_version_that_the_store_has(fleet: Fleet, tmp_path: Path) -> None:
    """A builder that has never had this version makes it; only the store knows the right bytes."""
    before = fleet.on("ops1", KEPT)
    done = fleet.play("playbooks/build.yml", "-e", "version=1.1.0", "-e", "storefront_fault=slow:1ms", "-e", f"build_artifacts={tmp_path}")
    assert done.code != 0
    assert "ops1 already keeps storefront 1.1.0 with the sha256 " in done.message()
    assert "A version is built once: choose another one with -e version=..." in done.message()
    assert fleet.on("ops1", KEPT) == before


def test_an_application_that_the_inventory_does_not_have(fleet: Fleet) -> None:
    refused(fleet, "nonesuch.yml", options=("-e", "version=1.0.0", "-e", "app=nonesuch"))
