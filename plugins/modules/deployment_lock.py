#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: deployment_lock
short_description: One run at a time for an application in an environment
description:
  - A lock with a lease and a fencing token, kept in C(/var/lib/tossable/locks/<environment>/<app>.json) on the host that the task is
    delegated to, the ops host. Each operation is one call of the transaction program there.
  - With O(database) it is a row of the table C(tossable_lock) there, and the clock that counts is the database server's.
  - The lease runs by the clock of that host alone. Its holder renews it; once it has run out the lock is free to be taken.
  - A holder of the same account on the same controller whose process is gone loses the lock at once.
  - Breaks and take-overs are kept in C(<app>.history.jsonl) beside it.
version_added: 0.1.0
options:
  app:
    description: Name of the application; not needed with O(lock).
    type: str
  environment:
    description: Name of the environment, for example V(production); not needed with O(lock).
    type: str
  database:
    description:
      - Where the lock is kept in PostgreSQL, the database as the host of the task reaches it, by the name of a service in its
        C(pg_service.conf), or by a libpq connection string. Empty for a file.
      - A password in it is refused, because it would be shown; keep it on that host in C(~/.pgpass) of root, or use peer authentication.
    type: str
    default: ''
  state:
    description:
      - V(held) takes the lock, or fails and says who has it, since when and why.
      - V(renewed) lets the lease of O(lock) begin anew. It does not fail where the lock is lost, because a task that runs once and fails
        takes hosts of other waves out of the run; M(tossable.fleet.release) refuses to work under a lock that is lost.
      - V(free) gives O(lock) back; a lock that is no longer ours stays as it is.
      - V(broken) takes it from whoever has it; needs O(reason).
      - V(shown) only looks.
    type: str
    required: true
    choices: [held, renewed, free, broken, shown]
  what:
    description: What is done under the lock, such as V(deploy 1.4.2), told to others.
    type: str
    default: a deployment
  by:
    description: Who orders it. Default is the account and host name of the controller.
    type: str
  reason:
    description: Why.
    type: str
    default: ''
  lease_seconds:
    description: Seconds after which the lock is free unless it was renewed.
    type: int
    default: 900
  wait_seconds:
    description: Seconds to wait while another run has the lock. The task's C(timeout) has to be longer.
    type: int
    default: 0
  above:
    description:
      - The highest token that a host of the fleet has seen. Where it is not below ours, the record was lost (the ops host was made anew)
        and the token is raised above it; only with O(state=renewed).
    type: int
    default: 0
  lock:
    description: What this module returned last as RV(lock); needed with O(state=renewed) and O(state=free).
    type: dict
attributes:
  check_mode:
    description: Only shows who has the lock.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Take the lock, and wait ten minutes for it at most
  tossable.fleet.deployment_lock:
    state: held
    app: storefront
    environment: production
    what: deploy 1.4.2
    wait_seconds: 600
  delegate_to: ops1
  run_once: true
  timeout: 660
  register: taken

- name: Give it back
  tossable.fleet.deployment_lock:
    state: free
    lock: "{{ taken.lock }}"
  delegate_to: ops1
  run_once: true
"""

RETURN = r"""
lock:
  description: The lock as this run carries it; empty where it only looked.
  returned: with O(state=held), O(state=renewed) and O(state=shown)
  type: dict
  contains:
    app:
      description: Name of the application.
      type: str
    environment:
      description: Name of the environment.
      type: str
    database:
      description: Where it is kept, if not in a file.
      type: str
    run:
      description: Id of the run, its time (UTC) first.
      type: str
    took_over:
      description: The dead run that the lock was taken over from; empty where it was free. With O(state=held) only.
      type: str
    continues:
      description: The same, where that run was about the same (O(what)); else empty. With O(state=held) only.
      type: str
    unfinished:
      description:
        - The runs about the same (O(what)) that were cut short just before, one after the other, the newest first. Their lock was taken over, or
          broken. With O(state=held) only.
      type: list
      elements: str
    since:
      description: When it was asked for, in seconds since the controller's boot. With O(state=held) only.
      type: float
    broken:
      description: Where the lock was broken just before, C(by) whom, for which C(reason) and whose C(run) had it; else null. With O(state=held) only.
      type: dict
    token:
      description: The fencing token, greater than any before it.
      type: int
    held:
      description: Whether the run still has the lock.
      type: bool
    deadline:
      description: When the lease runs out, in seconds since the controller's boot.
      type: float
    said:
      description: Why it is not held.
      type: str
summary:
  description: The lock in one line, or what was noticed when it was taken.
  returned: success
  type: str
broken:
  description: Whose lock was broken (C(run), C(by), C(what), C(since), C(until)), or null where it was free.
  returned: with O(state=broken)
  type: dict
holder:
  description: Who has the lock since when and until when, or null.
  returned: with O(state=shown)
  type: dict
"""
