# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every scenario's tests share: the hosts of the scenario, and evidence when a test fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import testinfra
from outside import scenario_hosts


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `host` once on each host of the scenario, or on one of them where what it shows is decided on the controller."""
    if "host" in metafunc.fixturenames:
        hosts = list(scenario_hosts())
        one = metafunc.definition.get_closest_marker("one_host")
        metafunc.parametrize("host", hosts[-1:] if one else hosts, indirect=True, scope="module")


def pytest_configure(config: pytest.Config) -> None:
    """The mark of a test that one host is enough for."""
    config.addinivalue_line("markers", "one_host: takes a run of a playbook or more, and shows what no release of Debian changes")


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Any:
    """One host of the scenario, as root, over the same kind of ssh connection that Ansible uses, but one of its own."""
    variables = scenario_hosts()[request.param]
    control_path = variables["ansible_control_path"] % {"directory": "~/.ansible/cp"} + "-tests"
    return testinfra.get_host(
        f"ssh://{variables['ansible_user']}@{variables['ansible_host']}",
        ssh_identity_file=variables["ansible_ssh_private_key_file"],
        ssh_extra_args=f"{variables['ansible_ssh_common_args']} -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={control_path}",
        sudo=True,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the host itself says when a test on it fails: failed units and the end of its journal."""
    report = yield
    tested = getattr(item, "funcargs", {}).get("host")
    if report.when == "call" and report.failed and tested is not None:
        for command in ("systemctl --failed --no-legend --plain", "journalctl --no-pager --lines=40 --priority=notice"):
            try:
                said = tested.run(command).stdout
            except RuntimeError as error:  # no connection: that is evidence too
                said = str(error)
            report.sections.append((f"{tested.backend.hostname}: {command}", said))
    return report
