"""A migration is found in the release that was staged, and becomes a unit of the application's own account, with a deadline."""

from __future__ import annotations

import pathlib

import bundles
import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import fence, manifest, migrate
from ansible_collections.tossable.fleet.plugins.module_utils.host.config import Config
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError

EXPAND = manifest.Migration("0001-prices", "expand", "reversible", ("sh", "-c", 'echo "$MIGRATION_ID" 100%'))


@pytest.fixture
def config(tmp_path: pathlib.Path) -> Config:
    """A host with one release staged, 1.0.0-x, that has one migration."""
    home = tmp_path / "srv" / "releases" / "1.0.0-x" / ".tossable"
    home.mkdir(parents=True)
    (tmp_path / "state").mkdir()
    _bundle, made = bundles.bundle(tmp_path, [bundles.file("a")])
    (home / "manifest.json").write_bytes(manifest.render_manifest(made._replace(migrations=(EXPAND,))))
    return Config("shop", "till", "tills", str(tmp_path / "srv"), str(tmp_path / "state"), (), None, None, None, 3, str(tmp_path / "signers"))


def test_the_command_runs_as_the_application_in_the_release_with_its_environment(config: Config) -> None:
    words = migrate.command(config, "tossable-migrate-shop.service", "1.0.0-x", "1.0.0", EXPAND, 600)
    for entry in (
        "User=till",
        "Group=tills",
        f"WorkingDirectory={config.releases}/1.0.0-x",
        "EnvironmentFile=/etc/shop/env",
        "RuntimeMaxSec=600",
        "NoNewPrivileges=yes",
    ):
        assert f"--property={entry}" in words
    assert words[words.index("--") + 1 :] == ["MIGRATION_ID=0001-prices", "VERSION=1.0.0", "sh", "-c", 'echo "$$MIGRATION_ID" 100%']


def test_it_has_the_configuration_that_its_release_gets(config: Config, tmp_path: pathlib.Path) -> None:
    """The wanted one as long as another release is live, as in a deployment; the one in force where it is live, as in a contraction."""
    kept = config._replace(etc=str(tmp_path / "etc"))
    assert migrate.environment_file(kept, "1.0.0-x") == kept.wanted
    pathlib.Path(kept.current).symlink_to("releases/1.0.0-x")
    assert migrate.environment_file(kept, "1.0.0-x") == "/etc/shop/env"
    assert migrate.environment_file(config, "2.0.0-y") == "/etc/shop/env"


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("Running as unit: x\nFinished with result: exit-code\nMain processes terminated with: code=exited", 3, "ended with exit code 3, expected 0"),
        ("Finished with result: timeout\n", 1, "did not end within 60 s (release_migration_seconds) and was stopped"),
        ("Finished with result: oom-kill\n", 1, "was ended by systemd: oom-kill"),
        ("Failed to start transient service unit", 1, "ended with exit code 1, expected 0"),
    ],
)
def test_how_it_ended_is_told(said: str, code: int, told: str) -> None:
    assert migrate.ending(said, code, 60) == told


def test_an_unknown_migration_and_an_unstaged_release_are_refused(config: Config) -> None:
    asked = {"release": "1.0.0-x", "migration": "0002", "seconds": 1, "run": "one"}
    with pytest.raises(HostError, match="has no migration 0002 \\(it has: 0001-prices\\)"):
        migrate.perform(config, asked)
    with pytest.raises(HostError, match="2\\.0-y is not staged on this host"):
        migrate.perform(config, {**asked, "release": "2.0-y"})


def test_a_run_that_lost_the_lock_runs_nothing(config: Config) -> None:
    fence.admit(config, 8, "eight")
    with pytest.raises(HostError, match="has lost the deployment lock"):
        migrate.perform(config, {"release": "1.0.0-x", "migration": "0001-prices", "seconds": 1, "run": "seven", "token": 7})


def test_a_release_whose_manifest_is_gone_knows_no_migration(config: Config) -> None:
    told = migrate.known(config, ["1.0.0-x", "0.9-gone"])
    assert told == {"1.0.0-x": [{"id": "0001-prices", "phase": "expand", "class": "reversible"}], "0.9-gone": []}
