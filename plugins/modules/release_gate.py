#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_gate
short_description: Judge a new release against the old one by what load balancers counted
description:
  - Runs on the controller only and changes nothing. Each call takes one reading, compares hosts of the new release with those of the old one over
    the same seconds, and returns the verdict with one line that says why.
  - The tests are sequential, one may look as often as one likes; a release that is no worse than tolerated is stopped in at most one of a hundred
    rollouts.
version_added: 0.1.0
options:
  app:
    description: Name of the application, and of its backend.
    type: str
    required: true
  balancers:
    description: What M(tossable.fleet.balancer_info) returned just now, by load balancer. One that did not answer counts again when it does.
    type: dict
    required: true
  hosts:
    description: All hosts of the rollout.
    type: list
    elements: str
    required: true
  new:
    description: Those of them that run the new release by now.
    type: list
    elements: str
    required: true
  lost:
    description: Those of them that are dead by now, and run neither release.
    type: list
    elements: str
    default: []
  readings:
    description: RV(readings) of the call before; empty at the first call, which is made before the first host switches.
    type: list
    elements: dict
    default: []
  final:
    description: Whether the time to bake is over, so that a release without a sign of harm passes.
    type: bool
    default: false
  error_tolerance:
    description: By how many percentage points of requests more may fail than on the old side.
    type: float
    default: 0.2
  error_harm:
    description: So many percentage points more are harm; a release passes early when that is excluded.
    type: float
    default: 2.0
  latency_tolerance:
    description: How much slower answers may be, in percent of time, compared around the 95th percentile.
    type: float
    default: 10.0
  latency_harm:
    description: So much slower is harm, in percent; a release passes early when that is excluded.
    type: float
    default: 50.0
  min_requests:
    description: >-
      Requests needed since the wave switched, by the hosts that switched with it and by those of the old side; with fewer the verdict is
      inconclusive.
    type: int
    default: 100
  measures:
    description: Further measures, each a share of something, from counters of each host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in the line.
        type: str
        required: true
      command:
        description: 'Program and arguments, run on the controller; prints C({"app1": [events, total], ...}), counters since whenever they began.'
        type: list
        elements: str
      prometheus:
        description: Address of a Prometheus server, for example V(http://ops1:9090).
        type: str
      events:
        description:
          - Query for the counter of events of each host, for example V(shop_payments_failed_total).
          - A host may have several series, each is counted by itself. A query must not sum over what comes and goes, such as processes or load
            balancers, since a sum that falls looks like a counter that began anew. Sum away other labels (paths, say) to keep readings small.
        type: str
      total:
        description: Query for the counter of occasions of each host, for example V(shop_payments_total).
        type: str
      label:
        description: Label that names the host; a port at its end is cut off.
        type: str
        default: instance
      tolerance:
        description: By how many percentage points more events are tolerated.
        type: float
        default: 0.2
      harm:
        description: So many percentage points more are harm. Defaults to 2, or to what is tolerated where that is more.
        type: float
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Judge
  tossable.fleet.release_gate:
    app: storefront
    balancers: "{{ balancers }}"
    hosts: [app1, app2, app3, app4]
    new: [app1]
    readings: "{{ before.readings }}"
  register: release_gate
"""

RETURN = r"""
verdict:
  description: V(pass), V(fail) or V(inconclusive).
  returned: success
  type: str
line:
  description: Why, in one line, with the measure, both sides, their sample sizes, what is tolerated, the evidence with its threshold, and the hosts.
  returned: success
  type: str
decided:
  description: Whether further looks are not needed.
  returned: success
  type: bool
measures:
  description: The figures of each measure. Shares are fractions of 1, latency is in ms (upper bound of the bucket of the 95th percentile).
  returned: success
  type: list
  elements: dict
readings:
  description: All readings so far, for the next call.
  returned: success
  type: list
  elements: dict
"""
