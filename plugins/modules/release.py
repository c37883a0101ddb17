#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release
short_description: Stage, switch or take back a release on a host
description:
  - Brings an application host into the wanted state by one call of the transaction program that lies on the host.
  - A switch leaves every load balancer, waits for the last request, replaces the link, restarts the units, waits until the
    application is healthy and returns. Where it does not become healthy, the previous release and its configuration are put back
    and the task fails with the evidence.
  - The switch runs as a systemd unit of its own, so that a dropped connection does not stop it half-way.
version_added: 0.1.0
options:
  app:
    description: Name of the application, as in C(/etc/tossable/<app>.json).
    type: str
    required: true
  state:
    description:
      - V(staged) fetches, verifies and unpacks the artifact beside the live release.
      - V(active) makes a staged release the live one.
      - V(rolled_back) makes O(release), or without it the last good release, the live one and marks what it leaves as bad.
      - V(restarted) restarts the live release the same careful way.
      - V(retired) stops the application and leaves nothing live.
      - V(pruned) removes releases beyond the number to keep; the live one and the one before it always stay.
      - V(given_up) removes O(release), so that nobody goes back to it any more, and keeps O(reason) in the journal; the live one is refused.
      - V(drained) takes the host out of the load balancers, V(ready) puts it back.
    type: str
    required: true
    choices: [staged, active, rolled_back, restarted, retired, pruned, given_up, drained, ready]
  release:
    description: Release id, version and the first 8 digits of the archive's sha256, such as V(1.4.2-0f3a9c11).
    type: str
  version:
    description: Version to stage.
    type: str
  digest:
    description: The sha256 of the archive to stage, 64 hex digits.
    type: str
  url:
    description: Folder of the version in the artifact store.
    type: str
  run:
    description: Id of the deployment, kept in the host's journal.
    type: str
    default: by-hand
  by:
    description: Who ordered it, kept in the host's journal.
    type: str
    default: unknown
  reason:
    description: Why, kept in the host's journal.
    type: str
    default: ''
  blame:
    description: Whether the release that V(rolled_back) or V(retired) leaves is the cause, and therefore refused from then on.
    type: bool
    default: true
  configuration:
    description:
      - Which configuration (environment and secrets) the live release runs with after O(state=restarted), V(wanted) for the one that the
        role C(tossable.fleet.app) wrote last, V(kept) for the one it has.
      - O(state=active) takes the wanted one, O(state=rolled_back) the one that the release ran with before.
    type: str
    choices: [wanted, kept]
    default: wanted
  lock:
    description:
      - The lock under which this is done, as M(tossable.fleet.deployment_lock) returned it last.
      - Nothing is done once it is lost or its lease has run out, and the host refuses a token older than the newest it has seen.
    type: dict
attributes:
  check_mode:
    description: Says what would change, from what the host reports.
    support: full
  diff_mode:
    description: Shows the live release before and after.
    support: full
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Make a staged release the live one
  tossable.fleet.release:
    app: storefront
    state: active
    release: 1.4.2-0f3a9c11

- name: Restart what is live without losing a request
  tossable.fleet.release:
    app: storefront
    state: restarted
    reason: The environment file changed
"""

RETURN = r"""
release:
  description: The release that is live now; with O(state=staged) the one that was staged.
  returned: success
  type: str
previous:
  description: The release that was live before.
  returned: success
  type: str
configuration:
  description:
    - The configuration that the release runs with, by the first 16 hex digits of its sha256; null where there is none, or on a host that
      was provisioned before configurations were kept.
  returned: when something was switched or already as asked
  type: str
steps:
  description: What was done, in order, each with its seconds.
  returned: when something was switched
  type: list
  elements: dict
  sample: [{step: drain, seconds: 0.18}, {step: maint, seconds: 0.11}, {step: switch, seconds: 0.002}]
clock:
  description: When the call C(began) and C(ended), in seconds since the controller's boot.
  returned: always, but not in check mode
  type: dict
notes:
  description: What was noticed on the way, such as connections that outlived the drain, or a configuration that could not be brought back.
  returned: when something was switched
  type: list
  elements: str
evidence:
  description: The application's last log lines, oldest first.
  returned: failure
  type: list
  elements: str
"""
