"""Where a rollback goes, and what is never thrown away."""

from __future__ import annotations

from conftest import Fleet, Scene, tortured


def two_back(fleet: Fleet) -> None:
    """A second rollback goes on, it does not come back."""
    fleet.deploy("1.1.0")
    fleet.deploy("1.2.0")
    with tortured("rollback", "twice goes two back") as case:
        fleet.must("playbooks/rollback.yml")
        assert set(fleet.releases().values()) == {"1.1.0"}
        fleet.must("playbooks/rollback.yml")
    case.passed(lowest=2)


def named_and_refused(fleet: Fleet) -> None:
    """Back to a version that is named; what was left is refused from then on, unless somebody says why."""
    fleet.deploy("1.1.0")
    fleet.deploy("1.2.0")
    with tortured("rollback", "to a named release; the one that was left is refused") as case:
        fleet.must("playbooks/rollback.yml", "-e", "version=1.0.0")
        before = fleet.fingerprint()
        done = fleet.play("deploy.yml", "-e", "version=1.2.0")
        assert done.code == 2
        assert "is known to be bad" in done.message(), done.output
        assert fleet.fingerprint() == before
        fleet.deploy("1.2.0")
        fleet.must("playbooks/rollback.yml")
    case.passed(lowest=2)


def two_are_kept(fleet: Fleet) -> None:
    """With app_keep_releases: 1 the live release and the last good one stay, and a rollback finds its way."""
    fleet.must("playbooks/app.yml", "-e", "app_keep_releases=1")
    try:
        with tortured("rollback", "live and last good stay with app_keep_releases: 1") as case:
            fleet.deploy("1.1.0")
            fleet.deploy("1.2.0")
            for host in fleet.hosts():
                kept = {name.rpartition("-")[0] for name in fleet.on(host, "ls /srv/storefront/releases").split()}
                assert kept == {"1.1.0", "1.2.0"}, (host, kept)
            fleet.must("playbooks/rollback.yml")
            assert set(fleet.releases().values()) == {"1.1.0"}
            fleet.deploy("1.0.0")
        case.passed(lowest=2)
    finally:
        fleet.must("playbooks/app.yml")


SCENES = [
    Scene("two rollbacks go two back", two_back, short=True),
    Scene("a named release, and the refusal of the one that was left", named_and_refused),
    Scene("the live release and the last good one are never pruned", two_are_kept),
]
