# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What configurations say for given variables. Whether HAProxy and nginx take them is for molecule."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from checkout import ROOT


def rendered(role: str, template: str, **given: Any) -> list[str]:
    """The lines of a role's template, with the role's own variables and these."""
    folder, loader = ROOT / "roles" / role, DataLoader()
    known: dict[str, Any] = {"role_path": str(folder), "ansible_managed": ""}
    for part in ("defaults", "vars"):
        known |= loader.load_from_file(str(folder / part / "main.yml"), trusted_as_template=True)
    text = (folder / "templates" / template).read_text(encoding="utf-8")
    return [line.strip() for line in str(Templar(loader=loader, variables=known | given).template(trust_as_template(text))).splitlines()]


@pytest.mark.parametrize("keep", [False, True])
def test_how_a_client_asks_is_told_by_a_proxy_in_front_only_where_there_is_one(keep: bool) -> None:
    frontends = [{"name": "public", "binds": [{"port": 80}], "keep_forwarded_for": keep}]
    lines = rendered("load_balancer", "haproxy.cfg.j2", load_balancer_frontends=frontends)
    rules = [line for line in lines if "X-Forwarded" in line]
    unless_told = " !{ req.hdr(X-Forwarded-Proto) -m found }" if keep else ""
    assert rules == [
        *([] if keep else ["http-request del-header X-Forwarded-For"]),
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }" + unless_told,
        "http-request set-header X-Forwarded-Proto http if !{ ssl_fc }" + unless_told,
    ]


@pytest.mark.parametrize(
    ("address", "listens"),
    [("*", "*"), ("10.0.0.11", "10.0.0.11"), ("fd00::11", "[fd00::11]"), ("[fd00::11]", "[fd00::11]"), ("::", "[::]"), ("ops1", "ops1")],
)
@pytest.mark.parametrize("role", ["artifact_store", "status_page"])
def test_nginx_is_given_an_ipv6_address_as_it_takes_it(role: str, address: str, listens: str) -> None:
    lines = rendered(role, "nginx.conf.j2", **{f"{role}_address": address, f"{role}_port": 8888})
    assert [line for line in lines if line.startswith("listen")] == [f"listen {listens}:8888;"]
