"""The whole plan from what hosts, balancers and the store say; only Ansible and the network are left out."""

from __future__ import annotations

import datetime as dt
import types
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.tossable.fleet.plugins.action import contract_plan
from ansible_collections.tossable.fleet.plugins.action import release_plan as action
from ansible_collections.tossable.fleet.plugins.module_utils.host.desired import Desired
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import Archive, Entry, Manifest

DIGESTS = {"1": "a" * 64, "2": "b" * 64}
OLD, NEW = "1-aaaaaaaa", "2-bbbbbbbb"


def manifest(version: str, digest: str) -> Manifest:
    files = (Entry("web.py", "file", "0644", 1, digest),)
    return Manifest("shop", version, digest[:40], "", "", Archive("", digest, 100), files, 1, {}, ("web",))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, Manifest]:
    """The artifact store: version to manifest, every one of them signed."""
    kept = {version: manifest(version, digest) for version, digest in DIGESTS.items()}

    def read(given: dict[str, Any], version: str) -> Manifest:
        if version not in kept:
            raise action._MissingError(f"{version}: there is no such version in the store.")
        return kept[version]

    monkeypatch.setattr(action, "_signed_manifest", read)
    monkeypatch.setattr("sys.argv", ["/usr/bin/ansible-playbook", "deploy.yml", "--check", "-e", "version=2"])
    return kept


def report(**more: Any) -> dict[str, Any]:
    live = {"live": OLD, "release": OLD, "previous": None, "staged": [OLD], "bad": {}, "fence": {"token": 3, "run": "r"}, "balancer_word": "ready"}
    return {"reachable": True, "trouble": None, "free_bytes": 10**12, "switch_seconds": [1.0, 2.0], **live, **more}


def plan(check: bool = True, **more: Any) -> dict[str, Any]:
    """What the action returns for a fleet of three."""
    args = {
        "app": "shop",
        "version": "2",
        "store_url": "http://store",
        "allowed_signers": [],
        "waves": [1, "100%"],
        "reports": {host: report() for host in ("app1", "app2", "app3")},
        "balancers": {},
        "environment": "lab",
        **more,
    }
    task = types.SimpleNamespace(args=args, action="release_plan", check_mode=check, async_val=0)
    connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir="/nonexistent"))
    return dict(action.ActionModule(task, connection, None, None, None, None).run())


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", ["deploy", "rollback", "reconcile"])
@pytest.mark.parametrize("version", [1.10, 2, dt.date(2026, 11, 27)])
def test_a_version_without_quotes_is_refused_though_there_is_one_of_its_text(kind: str, version: object) -> None:
    with pytest.raises(AnsibleActionFail, match=r"Nothing was changed\. version is not text .* Quote it"):
        plan(kind=kind, version=version)


def test_nothing_is_contracted_for_a_version_without_quotes() -> None:
    task = types.SimpleNamespace(args={"app": "shop", "version": 1.10, "reports": {}, "migrations": {}}, action="contract_plan", async_val=0)
    connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir="/nonexistent"))
    with pytest.raises(AnsibleActionFail, match=r"Nothing was migrated\. version is not text but 1\.1: .*Quote it"):
        contract_plan.ActionModule(task, connection, None, None, None, None).run()


@pytest.mark.usefixtures("store")
def test_a_plan_says_where_no_load_balancer_is_asked() -> None:
    said = "no load balancer is asked (release_balancers is empty)"
    assert said in "\n".join(plan()["summary"])
    servers = {host: {"status": "UP"} for host in ("app1", "app2", "app3")}
    assert said not in "\n".join(plan(balancers={"lb1": {"backends": {"shop": servers}, "trouble": None}})["summary"])


@pytest.mark.usefixtures("store")
def test_a_host_that_joins_goes_to_what_was_signed_else_to_what_most_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the siblings is the odd one out: a canary that is new, or a host that was left behind."""
    mixed = {"app1": report(live=NEW), "app2": report(), "app3": report(), "app4": report(live=None, release=None)}
    signed = Desired("shop", "lab", "deploy", NEW, "2", "b" * 64, "", "r", 3, "")
    monkeypatch.setattr(action, "_desired_state", lambda _given: None)
    assert plan(kind="reconcile", version=None, reports=mixed)["release"] == OLD
    monkeypatch.setattr(action, "_desired_state", lambda _given: signed)
    alone = plan(kind="reconcile", version=None, reports={"app4": mixed["app4"]})
    assert (alone["release"], alone["nothing_known"]) == (NEW, False)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("token", "origin"), [(2, OLD), (3, NEW), (None, OLD)])
def test_what_was_signed_last_tells_whether_the_run_that_left_a_host_behind_was_finished(
    monkeypatch: pytest.MonkeyPatch, token: int | None, origin: str
) -> None:
    def signed(_given: dict[str, Any]) -> Desired:
        if token is None:
            raise HostError("it is not to be trusted")
        return Desired("shop", "lab", "deploy", NEW, "2", "b" * 64, "", "r", token, "")

    monkeypatch.setattr(action, "_desired_state", signed)
    switched = report(live=NEW, release=NEW, previous=OLD, came_from=OLD, run="r")
    found = plan(reports={"app1": switched, "app2": switched, "app3": report()})
    assert (found["obstacles"], [move["origin"] for move in found["hosts"].values()]) == ([], [origin, origin, OLD])


@pytest.mark.usefixtures("store")
def test_where_nothing_is_known_the_plan_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_given: dict[str, Any]) -> None:
        raise HostError("The artifact store does not answer.")

    bare = {"app4": report(live=None, release=None)}
    monkeypatch.setattr(action, "_desired_state", lambda _given: None)
    assert plan(kind="reconcile", version=None, reports=bare)["nothing_known"]
    even = {**bare, "app1": report(), "app2": report(live=NEW)}
    assert not plan(kind="reconcile", version=None, reports=even)["nothing_known"]
    monkeypatch.setattr(action, "_desired_state", down)
    assert not plan(kind="reconcile", version=None, reports=bare)["nothing_known"]


def test_a_plan_that_nothing_is_in_the_way_of(store: dict[str, Manifest]) -> None:
    found = plan()
    assert "failed" not in found
    assert (found["obstacles"], found["waves"], found["changes"][0]["files"]["changed"]["count"]) == ([], [1, 2], 1)
    assert found["hosts"]["app2"] == {"from": OLD, "origin": OLD, "to": NEW, "changes": True, "wave": 2}
    assert found["estimate"]["seconds"] == 3
    assert found["closing"][1].strip() == f"ansible-playbook deploy.yml -e version=2 -e confirm={found['id']}"
    assert found["summary"][-2:] == found["closing"]
    assert not [line for line in found["summary"] if line.startswith("run ")], "nothing runs that is only shown"
    applied = plan(check=False)
    assert applied["closing"] == [found["id"]]
    assert f"run          {applied['run']}" in applied["summary"]


def test_a_plan_that_was_confirmed_is_the_same_one_and_is_journalled(store: dict[str, Manifest]) -> None:
    name = plan()["id"]
    found = plan(check=False, confirm=name, run="another run", by="somebody else", reason="it is time", gate={"rollout_bake_seconds": 90})
    assert "failed" not in found
    assert (found["confirmed"], found["reason"]) == (True, f"it is time; {name} confirmed")


@pytest.mark.parametrize(
    "other",
    [
        {"waves": ["100%"]},
        {"environment": "production"},
        {"kind": "rollback"},
        {"reports": {host: report() for host in ("app1", "app2")}},
        {"reports": {host: report(live="0-zz", release="0-zz") for host in ("app1", "app2", "app3")}},
        {"reports": {host: report(configuration={"wanted": "x", "changes": ["+NEW"]}) for host in ("app1", "app2", "app3")}},
    ],
)
def test_a_plan_that_has_changed_since_is_shown_anew_and_refused(store: dict[str, Manifest], other: dict[str, Any]) -> None:
    name = plan()["id"]
    found = plan(confirm=name, **other)
    assert found["failed"]
    assert (found["confirmed"], found["reason"]) == (False, "")
    assert f"- This is {found['id']}, not {name}" in found["msg"]
    assert found["summary"][0].startswith(found["kind"])


def test_other_bytes_under_the_same_version_are_another_plan(store: dict[str, Manifest]) -> None:
    name = plan()["id"]
    store["2"] = manifest("2", "c" * 64)
    assert plan()["id"] != name
    assert "the artifact" in plan(confirm=name)["msg"]


def test_obstacles_are_told_all_at_once_beside_the_plan(store: dict[str, Manifest]) -> None:
    reports = {"app1": report(), "app2": {"reachable": False, "trouble": "timed out"}, "app3": report(free_bytes=0)}
    freeze = [{"from": "2020-01-01", "to": "2099-12-31", "reason": "holidays"}]
    found = plan(reports=reports, waves=["half"], freezes=freeze, confirm="yes")
    assert found["failed"]
    assert found["msg"].splitlines()[0] == "Nothing was changed. In the way:"
    for words in ("app2 is down", "rollout_waves holds 'half'", "holidays", "app3 has 0 MiB free", "names no plan"):
        assert sum(words in line for line in found["msg"].splitlines()) == 1, words
    assert len(found["obstacles"]) == 6  # the dead host is told with the budget that it is beyond
    assert (found["id"], found["closing"], found["estimate"]) == (None, [], None)
    assert any("app2  unknown -> 2-bbbbbbbb" in line for line in found["summary"])
    assert any("1 changed" in line for line in found["summary"])


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("wrong", [{"freezes": ["2026-12-24"]}, {"windows": [{"from": "9"}]}, {"timezone": "Europe/Berln"}])
def test_windows_that_make_no_sense_stand_in_the_way_of_a_deployment_alone(wrong: dict[str, Any]) -> None:
    (line,) = plan(**wrong, override="it has to be now")["obstacles"]
    assert line.startswith("rollout_")
    assert [plan(kind=kind, **wrong)["obstacles"] for kind in ("rollback", "reconcile")] == [[], []]


def test_without_a_version_the_hosts_are_shown(store: dict[str, Manifest]) -> None:
    found = plan(version="7", confirm="yes")
    assert found["obstacles"][0] == "7: there is no such version in the store."
    assert found["obstacles"][1].startswith("confirm is 'yes', which names no plan")
    assert found["summary"][1:] == [f"  {host}  {OLD}" for host in ("app1", "app2", "app3")]


def test_a_live_release_that_the_store_lost_is_no_obstacle(store: dict[str, Manifest]) -> None:
    del store["1"]
    assert plan()["changes"][0]["unknown"] == "1 is no longer in the store"
    store["1"] = manifest("1", "d" * 64)
    assert plan()["changes"][0]["unknown"] == "the store has other bytes under 1 by now"
    assert plan()["obstacles"] == []


def test_a_live_release_that_nobody_signed_is_told(store: dict[str, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    read = action._signed_manifest

    def altered(given: dict[str, Any], version: str) -> Manifest:
        if version == "1":
            raise HostError("it was altered after it was signed")
        return read(given, version)

    monkeypatch.setattr(action, "_signed_manifest", altered)
    assert plan()["changes"][0]["unknown"] == "it was altered after it was signed"


def test_a_rollback_takes_commits_away_and_does_not_bake(store: dict[str, Manifest]) -> None:
    reports = {host: report(live=NEW, release=NEW, previous=OLD, staged=[OLD, NEW], configuration={"changes": ["+NEW"]}) for host in ("app1", "app2")}
    found = plan(kind="rollback", version=None, reports=reports, gate={"rollout_bake_seconds": 90})
    assert (found["release"], found["estimate"]["baking"], found["fetch"]["hosts"]) == (OLD, 0, [])
    assert found["changes"][0]["commits"]["from"] == "b" * 40
    assert found["configuration"] == []


def test_a_deployment_behind_balancers_bakes_wave_by_wave(store: dict[str, Manifest]) -> None:
    up = {"backends": {"shop": {host: {"status": "UP"} for host in ("app1", "app2", "app3")}}}
    assert plan(balancers={"lb1": up}, gate={"rollout_bake_seconds": 90})["estimate"]["baking"] == 180
    silent = plan(balancers={"lb1": {"trouble": "timed out"}})
    assert (silent["id"], silent["obstacles"]) == (None, ["Load balancer lb1: timed out Mend it."])
