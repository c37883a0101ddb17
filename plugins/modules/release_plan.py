#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_plan
short_description: Decide what a deployment or a rollback does, and what stands in its way
description:
  - Runs on the controller only. Fetches the version's manifest from the artifact store, proves its signature, compares it with
    what every host and load balancer reported, and returns the plan.
  - Fails with everything that stands in the way, before anything has changed.
version_added: 0.1.0
options:
  app:
    description: Name of the application.
    type: str
    required: true
  kind:
    description: Whether to go forward to a version, or back to the last good one.
    type: str
    choices: [deploy, rollback]
    default: deploy
  version:
    description: The version. A rollback without it goes to the release that the hosts agree was the last good one.
    type: str
  store_url:
    description: Address of the artifact store, without a slash at its end.
    type: str
    required: true
  allowed_signers:
    description: Who may sign artifacts.
    type: list
    elements: dict
    required: true
    suboptions:
      principal:
        description: Name of the signer.
        type: str
      key:
        description: Public key in OpenSSH's format.
        type: str
  waves:
    description: Numbers of hosts or shares of the fleet, the last one V(100%).
    type: raw
    required: true
  min_healthy:
    description: How many hosts stay in service at any moment, a number or a share of the fleet; a wave that would break that is split.
    type: raw
    default: 0
  reports:
    description: What M(tossable.fleet.release_info) returned, by host, in the order of the waves.
    type: dict
    required: true
  balancers:
    description: What M(tossable.fleet.balancer_info) returned, by load balancer.
    type: dict
    required: true
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
  force:
    description: Why a release that failed or was rolled back before is to be tried again all the same. Without it, it is refused.
    type: str
    default: ''
  windows:
    description:
      - When deployments are wanted, each with C(from) and C(to) as times of day and, where not every day, C(days) out of
        C(mon) to C(sun). One that does not end after its beginning goes on past midnight. Empty for any time.
    type: list
    elements: dict
    default: []
  freezes:
    description: When nothing is deployed, each with C(from) and C(to) as dates or times, and a C(reason). A rollback is never held up.
    type: list
    elements: dict
    default: []
  timezone:
    description: The zone of these times, for example V(Europe/Berlin).
    type: str
    default: UTC
  override:
    description: Why it is deployed all the same outside of the windows or in a freeze.
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
  tossable.fleet.release_plan:
    app: storefront
    version: 1.4.2
    store_url: http://ops1:8080
    allowed_signers: "{{ app_allowed_signers }}"
    waves: [1, 25%, 100%]
    reports: "{{ reports }}"
    balancers: "{{ balancers }}"
  register: release_plan
"""

RETURN = r"""
release:
  description: Release id, version and the first 8 digits of the archive's sha256.
  returned: success
  type: str
digest:
  description: The archive's sha256, 64 hex digits.
  returned: success
  type: str
url:
  description: Folder of the version in the artifact store.
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
waves:
  description: Numbers of hosts, wave by wave.
  returned: success
  type: list
  elements: int
capacity:
  description: How many hosts may be out of service at a time.
  returned: success
  type: int
hosts:
  description: For each host the release it comes C(from), the one it goes C(to), and whether that C(changes) anything.
  returned: success
  type: dict
maintenance:
  description: Whether every load balancer answers for the application with the maintenance page, so that there is nothing to judge a release by.
  returned: success
  type: bool
summary:
  description: The plan as lines for the terminal.
  returned: success
  type: list
  elements: str
"""
