#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ledger
short_description: Who deployed what, when, why, and what came of it
description:
  - Writes a record into the ledger, or shows what it holds. It is kept as JSON lines in C(/var/lib/tossable/ledger/ledger.jsonl) on the host that
    the task is delegated to, the ops host; C(docs/ledger.schema.json) describes a record.
  - A record that cannot be written waits in a file in O(spool) on the controller, and never fails a task. The next call for the same ops host appends
    what waits, oldest first, and then removes it. A record that the ledger holds already is not written again.
  - One call of the transaction program there.
version_added: 0.1.0
options:
  state:
    description:
      - V(started) writes that a run begins, V(ended) what has become of it, V(noted) something else that somebody did.
      - V(shown) reads the runs that O(wanted) fits; it fails where the ledger cannot be read, or a filter can fit nothing.
      - V(last) tells in one line who changed last what is live; it never fails.
    type: str
    required: true
    choices: [started, ended, noted, shown, last]
  host:
    description: Name of the host that the task is delegated to; what waits, waits for this one.
    type: str
    required: true
  spool:
    description: Folder on the controller where records wait, each environment in a folder of its own.
    type: path
    required: true
  environment:
    description: Name of the environment, for example V(production).
    type: str
    required: true
  app:
    description: Name of the application; needed to write, and with O(state=last).
    type: str
    default: ''
  kind:
    description: What it is; needed to write. The first four are runs, the others are noted.
    type: str
    choices: [deploy, rollback, reconcile, contract, unlock, maintenance, flag, refused, toss]
  run:
    description: Id of the run. Default is that of O(plan), else a new one.
    type: str
  by:
    description: Who ordered it. Default is whoever ordered O(plan), else the account and host name of the controller.
    type: str
  on_behalf_of:
    description: For whom, where somebody or something else typed it.
    type: str
    default: ''
  reason:
    description: Why, as it was typed.
    type: str
    default: ''
  text:
    description: What was done, in one line, with O(state=noted).
    type: str
    default: ''
  flags:
    description: Feature flags that were switched, each with C(flag), C(before) and C(after), with O(state=noted).
    type: list
    elements: dict
    default: []
  plan:
    description: The plan of the run, as M(tossable.fleet.release_plan) or M(tossable.fleet.contract_plan) returned it.
    type: dict
  lock:
    description: The lock of the run, as M(tossable.fleet.deployment_lock) returned it.
    type: dict
    default: {}
  hosts:
    description: Names of the hosts of the run, where O(plan) does not name them.
    type: list
    elements: str
    default: []
  forced:
    description: Why a release that is known to be bad is tried all the same.
    type: str
    default: ''
  began:
    description: What RV(clock) was with O(state=started).
    type: dict
  results:
    description: For each host the results of its tasks (filter C(tossable.fleet.run_results)), with O(state=ended).
    type: dict
    default: {}
  aborted:
    description: Where and why the run was aborted (C(host), C(reason)); empty where it was not.
    type: dict
    default: {}
  lost:
    description: Hosts that were left out because they were dead, each with what was found.
    type: dict
    default: {}
  judged:
    description: What the gate said of each wave last (C(verdict), C(line), and the number of C(readings) by then), by a host of the wave.
    type: dict
    default: {}
  readings:
    description: The readings of the gate, as M(tossable.fleet.release_gate) returned them.
    type: list
    elements: dict
    default: []
  wanted:
    description:
      - Which runs are shown, those that fit all of C(since) (such as V(7d), V(12h) or V(2026-11-01)), C(by), C(app), C(outcome) and C(run).
        Without any the newest 20.
    type: dict
    default: {}
  locks_here:
    description: Whether the deployment locks can be looked at on that host, so that a run without an end is known to be under way or interrupted.
    type: bool
    default: false
  database:
    description: Where the locks are kept, if not in files, as for M(tossable.fleet.deployment_lock).
    type: str
    default: ''
attributes:
  check_mode:
    description: Writes nothing, and leaves what waits where it is.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Note that somebody was refused
  tossable.fleet.ledger:
    state: noted
    host: ops1
    spool: ~/.local/state/tossable/ledger
    environment: production
    app: storefront
    kind: refused
    by: mallory@chat.example
    text: deploy 1.4.2, because mallory is not on the list
  delegate_to: ops1
  run_once: true

- name: Read what was rolled back this week
  tossable.fleet.ledger:
    state: shown
    host: ops1
    spool: ~/.local/state/tossable/ledger
    environment: production
    wanted: {since: 7d, outcome: rolled_back}
  delegate_to: ops1
  run_once: true
  register: found
"""

RETURN = r"""
recorded:
  description: Whether the ledger holds all that there is to write.
  returned: when something was written
  type: bool
record:
  description: The record.
  returned: when something was written
  type: dict
clock:
  description: When the run C(began) and its plan was C(accepted), in seconds since the controller's boot.
  returned: when something was written
  type: dict
said:
  description: What could not be recorded and where it is kept, what has been brought up to date, what was mended; a line for each.
  returned: always, but not with O(state=last)
  type: list
  elements: str
runs:
  description:
    - The runs, oldest first, each with C(run), C(kind), C(environment), C(application), C(by), C(on_behalf_of), C(reason), C(at), C(from), C(to),
      C(version), C(outcome), C(cause), C(seconds) and C(continued_by); where one run was asked for also its records, C(started), C(ended)
      and C(noted).
    - C(outcome) is V(deployed), V(rolled_back), V(failed), V(interrupted), V(running) or V(noted).
  returned: with O(state=shown)
  type: list
  elements: dict
lines:
  description: The runs as lines for the terminal.
  returned: with O(state=shown)
  type: list
  elements: str
csv:
  description: The runs as CSV.
  returned: with O(state=shown)
  type: str
summary:
  description: Who changed last what is live, when, and how that ended, in one line.
  returned: with O(state=last)
  type: str
"""
