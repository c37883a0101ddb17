#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: feature_flag
short_description: Switch feature flags, and bring them to hosts
description:
  - Which flags are live is decided and kept on the ops host, in C(/var/lib/tossable/flags/), by what is declared in the repository and by the
    switches that people have made; O(state=decided) does that in two short shell commands there. Whoever else changes flags meanwhile is not
    overwritten, the decision is made again by what is live then.
  - O(state=published) brings the line to a host, in one shell command. A host refuses an earlier generation than it has, and other bytes of the same
    one; applications that read the file never see half of it, and see each change.
  - No lock of a deployment is taken or looked at, so that a flag can be switched while one runs.
version_added: 0.1.0
options:
  state:
    description:
      - V(decided) makes the O(changes), all in one generation, on the host that keeps the live state; without any it follows what is declared by
        now and keeps every switch. It fails in words, with nothing changed, where a flag or a variant is not known, a rule is broken, or somebody
        may not. A switch of another flag that does not fit its declaration any more stays, with the variants that were published, and RV(summary)
        names it.
        Where the answer of the ops host is lost while it switches, what is live by then tells whether it was done; where that cannot be read, it
        fails and says that it is not known.
      - V(published) brings O(content) to the host of the task. A host that cannot be reached, or refuses, is a result with RV(trouble), not a
        failure.
      - V(read) looks what the host of the task holds.
      - V(counted) asks the applications of the host of the task what they have counted by flag and variant, at O(addresses). One that does not
        answer is a result with RV(trouble), not a failure.
      - V(live) tells of each flag what is live, declared and switched, of the host that keeps the live state.
    type: str
    required: true
    choices: [decided, published, read, live, counted]
  environment:
    description: Name of the environment, for example V(production); needed with O(state=decided) and O(state=live).
    type: str
  declared:
    description: Folder with the declarations on the controller; needed with O(state=decided) and O(state=live).
    type: path
  changes:
    description:
      - For each flag that is to be switched, its name, and how in a dictionary with one of C(state) (V(on), V(off), a variant, or V(reset) for
        what is declared), C(percent) and C(rule); or with C(rollout), a step that M(tossable.fleet.flag_rollout) has planned.
    type: dict
    default: {}
  groups:
    description: Lists of accounts by name, which declarations may use as C(@name) in C(may_change).
    type: dict
    default: {}
  by:
    description:
      - Who orders it. Default is the account and host name of the controller, which is kept beside another name.
    type: str
  on_behalf_of:
    description:
      - For whom, where somebody or something else types it. Then it is this account that has to be in C(may_change).
      - Neither name is proved, so that C(may_change) keeps from mistakes and from nobody who means it.
    type: str
    default: ''
  reason:
    description: Why.
    type: str
    default: ''
  until:
    description:
      - Until when it is meant, a time (UTC where it names no zone), a date or a span such as V(2h). Nothing is undone then; it is shown that the
        end has passed. Operators say it with C(-e ends=...), because C(until) is a word of Ansible itself.
    type: str
    default: ''
  above:
    description: A generation that hosts have seen, where the live state was lost; the next one is above it.
    type: int
    default: 0
  what_may:
    description:
      - Make those of the O(changes) that the person may make, and leave the other flags as they are, named in RV(refused). Where none may be made it
        fails, as it does without this where a single one may not.
    type: bool
    default: false
  follow:
    description:
      - Whether what is declared by now is followed where there are no O(changes). With V(false) what is live stays as it is, for runs to whose other
        effects nobody has agreed; a line that is lost is made of what is declared either way.
    type: bool
    default: true
  samples:
    description:
      - Users for whom C(--diff) shows what they would get, each with C(targetingKey) and what rules ask of. Default is nobody known and three users.
      - It needs the Python library openfeature-flagd-core beside Ansible.
    type: list
    elements: dict
  content:
    description: The line of flags, as this module has returned it; needed with O(state=published).
    type: str
  addresses:
    description:
      - Where applications show their counters in Prometheus' text format, as the host itself reaches them, for example
        V(http://127.0.0.1:8000/metrics); used with O(state=counted).
    type: list
    elements: str
    default: []
  requests_metric:
    description: Name of the counter of requests, with the labels C(flag), C(variant) and C(outcome) (C(ok) or C(error)).
    type: str
    default: feature_flag_requests_total
  evaluations_metric:
    description: Name of the counter of evaluations, with the label C(flag).
    type: str
    default: feature_flag_evaluations_total
attributes:
  check_mode:
    description: Says what would be changed.
    support: full
  diff_mode:
    description: Shows states and what sample users get, before and after, with O(state=decided).
    support: full
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Switch the checkout off
  tossable.fleet.feature_flag:
    state: decided
    environment: production
    declared: inventories/production/flags
    changes:
      checkout: {state: "off"}
    reason: nobody can pay
    until: 2h
  delegate_to: ops1
  run_once: true
  register: decided

- name: Bring it to every host
  tossable.fleet.feature_flag:
    state: published
    content: "{{ decided.content }}"
"""

RETURN = r"""
generation:
  description: The generation that is live, or that the host holds; 0 for none.
  returned: success
  type: int
digest:
  description: The sha256 of the line.
  returned: success
  type: str
content:
  description: The line of flags as it is published, with a newline at its end.
  returned: with O(state=decided) and O(state=live)
  type: str
summary:
  description: What was switched, in one line.
  returned: with O(state=decided)
  type: str
  sample: "checkout: off (was 10 %), generation 8"
flags:
  description: >-
    With O(state=decided), for each flag that was asked for or has changed, C(flag), C(before), C(after) and C(changed). With O(state=live), for
    each flag C(kind), C(owner), C(groups), C(state), C(off), C(declared), C(switched), C(unfit) (why its switch does not fit its declaration any
    more, empty where it does), C(differs), C(since), C(by), C(reason), C(until), C(over) (that end has passed), C(expires), C(expired), C(rollout)
    (C(run), C(step) and C(of) while one is under way), and the seconds since it was switched (C(age_seconds)) or changed at all
    (C(changed_seconds)).
  returned: with O(state=decided) and O(state=live)
  type: list
  elements: dict
overrides:
  description: The switches, by flag.
  returned: with O(state=live)
  type: dict
refused:
  description: With O(what_may), why flags were left as they are, a line for each, with its place and who may change it.
  returned: with O(state=decided)
  type: list
  elements: str
run:
  description: Id of this run, for the ledger.
  returned: with O(state=decided)
  type: str
by:
  description: Who has ordered it.
  returned: with O(state=decided)
  type: str
reachable:
  description: Whether the host could be reached.
  returned: with O(state=published), O(state=read) and O(state=counted)
  type: bool
trouble:
  description: Why the host does not hold what it should; empty where it does.
  returned: with O(state=published), O(state=read) and O(state=counted)
  type: str
counted:
  description: >-
    By address, C(requests) (for each flag and variant the numbers of errors and of all requests) and C(evaluations) (a number for each flag), since
    its process started (C(began), seconds since the epoch, 0 where it does not say); C(counts_requests) and C(counts_evaluations) say whether it has
    these counters at all.
  returned: with O(state=counted)
  type: dict
"""
