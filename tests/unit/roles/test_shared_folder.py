# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder that several roles make is the same for each, or a host that has two of them is changed by every run."""

from __future__ import annotations

import re

from checkout import ROOT

SHARED = r'path: (?:"\{\{ __load_balancer_maintenance_map \| dirname \}\}"|/var/lib/tossable), mode: "(\d+)"'


def test_every_role_gives_the_shared_folder_the_same_mode() -> None:
    found = {
        path.relative_to(ROOT).parts[1]: mode
        for path in (ROOT / "roles").glob("*/tasks/*.yml")
        for mode in re.findall(SHARED, path.read_text(encoding="utf-8"))
    }
    assert found.keys() >= {"artifact_store", "feature_flags", "load_balancer"}
    assert set(found.values()) == {"0711"}
