#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_info
short_description: Tell what an application host runs
description:
  - Reads the host's journal, link, units and health by one call of the transaction program, and changes nothing.
  - A host that cannot answer is reported in RV(trouble), not failed, so that a status shows the whole fleet.
version_added: 0.1.0
options:
  app:
    description: Name of the application, as in C(/etc/tossable/<app>.json).
    type: str
    required: true
  verify:
    description: Compare every file of the live release with its manifest.
    type: bool
    default: false
  migrations:
    description: Read the manifest of every release on the host for the migrations that it knows.
    type: bool
    default: false
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Ask every host what it runs
  tossable.fleet.release_info:
    app: storefront
  register: report
"""

RETURN = r"""
reachable:
  description: Whether the host answered.
  returned: always
  type: bool
trouble:
  description: Why there is no report, or null.
  returned: always
  type: str
live:
  description: The release that is live by the host's journal, or null.
  returned: when the host answered
  type: str
release:
  description: The release that the link points to, or null.
  returned: when the host answered
  type: str
previous:
  description: The last good release before the live one, or null.
  returned: when the host answered
  type: str
since:
  description: When the live release became live (UTC, ISO 8601).
  returned: when the host answered
  type: str
by:
  description: Who made it live.
  returned: when the host answered
  type: str
run:
  description: Id of the run that made it live.
  returned: when the host answered
  type: str
came_from:
  description: The release that this run took the host from, the same one where only the configuration was new; null where nothing was live.
  returned: when the host answered
  type: str
configuration:
  description:
    - The environment and secrets of the application, as far as they may be told. Never a value.
  returned: when the host answered
  type: dict
  contains:
    live:
      description:
        - The configuration that the live release runs with, by the first 16 hex digits of the sha256 over its file, or null where nothing is live.
      type: str
    wanted:
      description: The one that the role C(tossable.fleet.app) wrote last, which the next deployment takes; null where it wrote none.
      type: str
    changes:
      description:
        - Names of the variables that the next deployment would change. V(+NAME) is new, V(~NAME) has another value, V(-NAME) is gone.
      type: list
      elements: str
  sample: {live: 3d0f6bb1f2a94c07, wanted: 9f86d081884c7d65, changes: [+CARRIER, ~DATABASE_URL]}
fence:
  description: The newest fencing token of the deployment lock that the host has seen (C(token), 0 for none), and its C(run).
  returned: when the host answered
  type: dict
switch_seconds:
  description: What the last ten switches took that ended well, deployments and rollbacks, in seconds, the newest last.
  returned: when the host answered
  type: list
  elements: float
stage_seconds:
  description: What fetching, verifying and unpacking took the last ten times, in seconds, the newest last.
  returned: when the host answered
  type: list
  elements: float
staged:
  description: Releases on the host, in the order in which they were last staged or became live.
  returned: when the host answered
  type: list
  elements: str
migrations:
  description: For each release on the host the migrations that it knows, each with C(id), C(phase) and C(class).
  returned: with O(migrations)
  type: dict
healthy:
  description: Whether the application answers as it should; null where nothing is live.
  returned: when the host answered
  type: bool
balancer_word:
  description: What the host tells its load balancers (V(ready), V(drain) or V(maint)), or null for an application without a port.
  returned: when the host answered
  type: str
drift:
  description: Where the host differs from its journal and manifest, in words (release, configuration, files, processes).
  returned: when the host answered
  type: list
  elements: str
"""
