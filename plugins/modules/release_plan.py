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
    what every host and load balancer reported, and with the release that is live, and returns the plan.
  - Fails with everything that stands in the way, before anything has changed. Also then the result holds the plan, as far as it could be computed.
version_added: 0.1.0
options:
  app:
    description: Name of the application.
    type: str
    required: true
  kind:
    description: Whether to go forward to a version, back to the last good one, or to bring hosts that differ to what the fleet runs.
    type: str
    choices: [deploy, rollback, reconcile]
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
  failure_budget:
    description: How many hosts that cannot be reached the run leaves out, a number or a share of the fleet.
    type: raw
    default: 0
  environment:
    description: Name of the environment, which belongs to the plan's name and names the desired state in the store.
    type: str
    default: ''
  desired_signers:
    description: Who may sign the desired state, which tells where V(reconcile) goes.
    type: list
    elements: dict
    default: []
    suboptions:
      principal:
        description: Name of the signer.
        type: str
      key:
        description: Public key in OpenSSH's format.
        type: str
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
  unfinished:
    description:
      - Ids of the runs about the same that were cut short just before, as M(tossable.fleet.deployment_lock) returned them. A rollback without a
        version goes on to where they went; a deployment that fails brings back also what they have switched.
    type: list
    elements: str
    default: []
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
      - Only a deployment looks at them, and at O(freezes) and O(timezone). What makes no sense stands in its way.
    type: raw
    default: []
  freezes:
    description: When nothing is deployed, each with C(from) and C(to) as dates or times, and a C(reason). A rollback is never held up.
    type: raw
    default: []
  timezone:
    description: The zone of these times, for example V(Europe/Berlin).
    type: str
    default: UTC
  override:
    description: Why it is deployed all the same outside of the windows or in a freeze.
    type: str
    default: ''
  migrations:
    description:
      - What M(tossable.fleet.migration_record) returned, empty where nothing keeps the record. Without it migrations are not looked at.
      - A release that does not know a forward-only migration which has run is refused, whatever O(force) says.
    type: dict
  migration_seconds:
    description: Seconds that a migration may take.
    type: int
    default: 600
  lock_seconds:
    description: Seconds that the deployment lock lasts without being renewed.
    type: int
    default: 900
  source:
    description: Folder of the application's source in a git checkout on the controller, for the commits between two releases, or empty.
    type: str
    default: ''
  gate:
    description: >-
      What the inventory says of the gate of a deployment, by its names there (C(rollout_bake_seconds) and so on). What cannot be meant stands in the
      way; how long a wave bakes at most is part of the estimate.
    type: dict
    default: {}
  confirm:
    description: The RV(id) of the plan that is meant. It stands in the way where the plan is another one by now.
    type: str
    default: ''
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: The plan itself tells what changes, in RV(summary), in any mode.
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
id:
  description:
    - Name of the plan, C(plan-) and 8 hex digits over all that decides what will happen. The application, kind and environment; version, release
      and digest; each host's wave, live release and wanted configuration; the capacity; the pending migrations.
    - Null where a host or a load balancer did not report, or where there are no waves.
  returned: always
  type: str
confirmed:
  description: Whether O(confirm) names this plan.
  returned: when the version is known
  type: bool
command:
  description: What to type to apply exactly this plan. Extra variables that look like secrets are left out of it. Null where RV(id) is.
  returned: when the version is known
  type: str
obstacles:
  description: What stands in the way, in words. Where it is not empty the result is a failed one, and RV(ignore:msg) holds them all.
  returned: always
  type: list
  elements: str
nothing_known:
  description: Whether nothing tells which release the fleet runs, because no host runs one and none was ever signed (O(kind=reconcile)).
  returned: always
  type: bool
app:
  description: Name of the application.
  returned: always
  type: str
kind:
  description: As in O(kind).
  returned: always
  type: str
environment:
  description: As in O(environment).
  returned: always
  type: str
version:
  description: The version.
  returned: when the version is known
  type: str
release:
  description: Release id, version and the first 8 digits of the archive's sha256.
  returned: when the version is known
  type: str
digest:
  description: The archive's sha256, 64 hex digits.
  returned: when the version is known
  type: str
url:
  description: Folder of the version in the artifact store.
  returned: when the version is known
  type: str
run:
  description: Id of this run, its time (UTC) first.
  returned: always
  type: str
by:
  description: Who orders it.
  returned: always
  type: str
ordered:
  description: Who ordered it, and the reason that was given, in one line, as plan and end of the run show it.
  returned: always
  type: str
  sample: "ada@desk, because: faster checkout"
reason:
  description: Why, with the reasons of O(force) and O(override) and with the plan that was confirmed; hosts keep it in their journals.
  returned: always
  type: str
token:
  description: The newest fencing token of the deployment lock that a host has seen from another run, 0 for none.
  returned: always
  type: int
waves:
  description: Numbers of hosts, wave by wave.
  returned: always
  type: list
  elements: int
capacity:
  description: How many hosts may be out of service at a time, 0 where that could not be told.
  returned: always
  type: int
budget:
  description: How many hosts that cannot be reached the run may leave out, those that die on the way included.
  returned: always
  type: int
absent:
  description: The hosts that cannot be reached and are left out, each with what was found. Empty where they are too many, which stands in the way.
  returned: always
  type: dict
back:
  description: Whether V(reconcile) goes to a release that the fleet has rolled back to.
  returned: always
  type: bool
hosts:
  description:
    - For each host the release it comes C(from), the one it goes C(to), whether that C(changes) anything, and its C(wave), from 1.
    - C(origin) is the release that it goes back to where the deployment fails. That is what it runs, or what it ran before, where a deployment
      that is known to be unfinished has brought it the wanted one already. It is one of O(unfinished), or has left a host of its own on the release
      before and nothing was signed since.
  returned: when the version is known
  type: dict
changes:
  description: What changes against each release that is live now.
  returned: when the version is known
  type: list
  elements: dict
  contains:
    from:
      description: The live release.
      type: str
    hosts:
      description: The hosts that run it.
      type: list
      elements: str
    unknown:
      description: Why nothing can be compared, for example that the version is no longer in the store; else null.
      type: str
    commits:
      description:
        - The commits C(from) and C(to), and those between. C(added) come with the wanted release, C(removed) go with the live one, both with
          C(count) and the C(first) 20 as lines, newest first; and as C(list) the first 200 with C(commit), C(author), C(at) and C(subject).
        - Both are null where O(source) cannot tell, and C(unknown) says why.
      type: dict
    files:
      description: Files and links that are C(added), C(changed) and C(removed), each with C(count) and the C(first) ten paths.
      type: dict
first_on:
  description: The hosts on which nothing is live yet.
  returned: when the version is known
  type: list
  elements: str
files:
  description: How many files and links the wanted release has.
  returned: when the version is known
  type: int
fetch:
  description: The C(bytes) that each host has to fetch, and the C(hosts) that do not have the release yet.
  returned: when the version is known
  type: dict
configuration:
  description:
    - Names of the environment variables that a deployment changes, as C(changes) with a sign in front (C(+) new, C(~) other value, C(-) gone),
      and the C(hosts) that agree in it.
    - Empty where hosts report no configuration, and for a rollback, which brings back what that release ran with.
  returned: when the version is known
  type: list
  elements: dict
estimate:
  description:
    - How long the run will take on the hosts, by what their last switches took. C(seconds), null where there is no history, made of C(switching),
      C(staging) and, at most, C(baking).
    - C(fewest) and C(most) are how many switches a host's figure is made of, C(without_history) names the hosts that have none.
    - Null where RV(id) is.
  returned: when the version is known
  type: dict
migrations:
  description: The C(pending) expand migrations of the release in their order (each with C(id), C(phase), C(class)), and the C(host) that runs them.
  returned: success
  type: dict
maintenance:
  description: Whether every load balancer answers for the application with the maintenance page, so that there is nothing to judge a release by.
  returned: always
  type: bool
summary:
  description: The plan as lines for the terminal.
  returned: always
  type: list
  elements: str
closing:
  description: Of these the last ones, the plan's name and in check mode the command that applies it.
  returned: always
  type: list
  elements: str
"""
