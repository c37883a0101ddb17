#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: contract_plan
short_description: Decide which contract migrations run, once no host can go back past them
description:
  - Runs on the controller only. Takes what every host and the record of migrations say, and fails with everything that stands in the way, before
    anything has changed. Hosts have to run one release, and none may hold a release that does not know a contract migration which is due.
version_added: 0.1.0
options:
  app:
    description: Name of the application.
    type: str
    required: true
  version:
    description: The version that is to be live; without it, whichever is.
    type: str
  reports:
    description: What M(tossable.fleet.release_info) with C(migrations) returned, by host.
    type: dict
    required: true
  migrations:
    description: What M(tossable.fleet.migration_record) returned, empty where nothing keeps the record.
    type: dict
    required: true
  give_up:
    description: Versions that nobody is to go back to any more; needs O(reason).
    type: list
    elements: str
    default: []
  limited:
    description: Whether hosts were left out of the run, which is refused.
    type: bool
    default: false
  migration_seconds:
    description: Seconds that a migration may take.
    type: int
    default: 600
  lock_seconds:
    description: Seconds that the deployment lock lasts without being renewed.
    type: int
    default: 900
  run:
    description: Id of this run, as M(tossable.fleet.deployment_lock) returned it. Default is a new one.
    type: str
  by:
    description: Who orders it. Default is the account and host name of the controller.
    type: str
  reason:
    description: Why.
    type: str
    default: ''
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Decide
  tossable.fleet.contract_plan:
    app: storefront
    reports: "{{ reports }}"
    migrations: "{{ seen }}"
  register: contract
"""

RETURN = r"""
release:
  description: The live release.
  returned: success
  type: str
run:
  description: Id of this run, its time (UTC) first.
  returned: success
  type: str
token:
  description: The newest fencing token of the deployment lock that a host has seen from another run, 0 for none.
  returned: success
  type: int
migrations:
  description: The C(pending) contract migrations of the live release in their order, and the C(host) that runs them.
  returned: success
  type: dict
give_up:
  description: For each host the releases to remove before.
  returned: success
  type: dict
summary:
  description: The plan as lines for the terminal.
  returned: success
  type: list
  elements: str
"""
