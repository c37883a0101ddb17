#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: flag_rollout
short_description: Plan a feature flag's rollout in steps, and judge each of them
description:
  - Runs on the controller only and changes nothing. What it plans is done with M(tossable.fleet.feature_flag), as in
    C(playbooks/roll_out_flag.yml).
  - Users with the on variant are compared with those who have the off variant, over the same seconds, by the errors that applications count; where
    nobody has the off variant any more, with what that did before. The judge is that of M(tossable.fleet.release_gate).
version_added: 0.1.0
options:
  state:
    description:
      - V(planned) makes the plan, or fails in words with everything that stands in the way.
      - V(judged) takes what was counted just now, and tells where the rollout stands.
      - V(ended) tells how it ended, and fails unless it ended well.
    type: str
    required: true
    choices: [planned, judged, ended]
  flag:
    description: Name of the flag.
    type: str
    default: ''
  steps:
    description:
      - Shares of users in per cent, rising, above 0 and at most 100; a list, or a text such as V(1,10,50,100). Steps below what is live are left out.
    type: raw
    default: 1,10,50,100
  environment:
    description: Name of the environment; needed with O(state=planned).
    type: str
  declared:
    description: Folder with the declarations on the controller; needed with O(state=planned).
    type: path
  live:
    description: What M(tossable.fleet.feature_flag) returned with C(state=live) just now; needed with O(state=planned) and O(state=judged).
    type: dict
  counted:
    description:
      - By host, what M(tossable.fleet.feature_flag) returned with C(state=counted) just now; needed with O(state=planned) and O(state=judged).
    type: dict
  groups:
    description: Lists of accounts by name, which declarations may use as C(@name) in C(may_change).
    type: dict
    default: {}
  by:
    description: Who orders it. Default is the account and host name of the controller.
    type: str
  on_behalf_of:
    description: For whom, where somebody or something else types it.
    type: str
    default: ''
  reason:
    description: Why.
    type: str
    default: ''
  bake_seconds:
    description: For how long each step is watched unless there is a verdict before.
    type: int
    default: 60
  look_seconds:
    description: Time between two looks, in seconds.
    type: int
    default: 5
  wait_seconds:
    description: For how long it waits in addition for enough requests, with O(on_inconclusive=wait).
    type: int
    default: 600
  on_inconclusive:
    description:
      - What follows where there are too few requests for a verdict. V(wait) waits, then goes back; V(proceed) takes the next step; V(stop) goes back.
    type: str
    choices: [wait, proceed, stop]
    default: proceed
  error_tolerance:
    description: By how many percentage points of requests more may fail than with the off variant.
    type: float
    default: 0.2
  error_harm:
    description: So many percentage points more are harm; a step passes early when that is excluded.
    type: float
    default: 2.0
  min_requests:
    description: Requests needed on each side since the step began; with fewer the verdict is inconclusive.
    type: int
    default: 100
  plan:
    description: What was returned with O(state=planned); needed with O(state=judged) and O(state=ended).
    type: dict
  now:
    description: RV(now) of the call before; needed with O(state=judged) and O(state=ended).
    type: dict
  step:
    description: The one of RV(steps) that was taken; needed with O(state=judged).
    type: dict
  look:
    description: Number of the look at this step, from 0.
    type: int
    default: 0
  summary:
    description: What was said of the last switch; for O(state=ended).
    type: str
    default: ''
  missed:
    description: Who did not get the last switch, in words; for O(state=ended).
    type: str
    default: ''
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Plan the steps
  tossable.fleet.flag_rollout:
    state: planned
    flag: checkout
    steps: [10, 50, 100]
    environment: production
    declared: inventories/production/flags
    live: "{{ flag_live }}"
    counted: "{{ flag_counts }}"
  run_once: true
  register: flag_plan
"""

RETURN = r"""
steps:
  description: >-
    The steps that are left, each with C(number), C(said) (in words), C(reason), C(changes) (for M(tossable.fleet.feature_flag)) and C(alone) (whether
    nobody has the off variant then).
  returned: with O(state=planned)
  type: list
  elements: dict
lines:
  description: The plan in words.
  returned: with O(state=planned)
  type: list
  elements: str
dozens:
  description: Numbers of the looks at each step, by the dozen; after C(bake_looks) of them a step without a sign of harm passes.
  returned: with O(state=planned)
  type: list
  elements: list
now:
  description: >-
    Where the rollout stands; C(goes_on), C(step) (number of the one that was looked at), C(passed) (of the last one that is done with), C(verdict),
    C(line) (why, with both sides' figures), C(readings), and C(changes) and C(reason) of the switch that ends it.
  returned: with O(state=planned) and O(state=judged)
  type: dict
msg:
  description: How it ended, and why.
  returned: with O(state=ended)
  type: str
"""
