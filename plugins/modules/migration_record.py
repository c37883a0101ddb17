#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: migration_record
short_description: Which migrations an environment has seen
description:
  - Reads the record of migrations, or adds an event to it. It is kept for a whole environment, as JSON lines in
    C(/var/lib/tossable/migrations/<environment>/<app>.jsonl) on the host that the task is delegated to, the ops host.
  - One call of the transaction program there.
version_added: 0.1.0
options:
  app:
    description: Name of the application.
    type: str
    required: true
  environment:
    description: Name of the environment, for example V(production).
    type: str
    required: true
  state:
    description:
      - V(shown) only reads.
      - V(begun), V(done) and V(failed) note that O(migration) is about to run, or how it ended.
      - V(undone) notes that what the migration O(id) did is no longer there, because a backup was restored; needs O(reason). It is pending again.
    type: str
    choices: [shown, begun, done, failed, undone]
    default: shown
  migration:
    description: The migration (C(id), C(phase) and C(class)), as M(tossable.fleet.release_plan) returned it.
    type: dict
  id:
    description: Id of the migration that was undone.
    type: str
  release:
    description: Release that it is run for.
    type: str
  host:
    description: Host that runs it.
    type: str
  deadline_seconds:
    description: How long it may take; after that it cannot be running any more.
    type: int
  seconds:
    description: How long it took.
    type: float
  error:
    description: How it failed.
    type: str
  run:
    description: Id of the run.
    type: str
    default: by-hand
  by:
    description: Who ordered it. Default is the account and host name of the controller.
    type: str
  reason:
    description: Why.
    type: str
    default: ''
  lock:
    description: >-
      The deployment lock, as M(tossable.fleet.deployment_lock) returned it. With O(state=begun) nothing is noted once it is lost, and the task fails.
    type: dict
attributes:
  check_mode:
    description: Adds nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Read what has been migrated
  tossable.fleet.migration_record:
    app: storefront
    environment: production
  delegate_to: ops1
  run_once: true
  register: seen

- name: Note that a backup was restored
  tossable.fleet.migration_record:
    state: undone
    app: storefront
    environment: production
    id: 0002-drop-old-prices
    reason: restored the backup of 3 o'clock
  delegate_to: ops1
  run_once: true
"""

RETURN = r"""
migrations:
  description:
    - For each migration, by its id, the record that counts. C(event) is V(begun) (it runs, or was interrupted), V(done), V(failed) or V(undone); with
      it C(at) (UTC, ISO 8601), C(phase), C(class), C(release), C(host), C(run), C(by), and C(seconds) once it has ended.
  returned: success
  type: dict
now:
  description: The time on that host (UTC, ISO 8601).
  returned: success
  type: str
summary:
  description: The record as lines for the terminal.
  returned: success
  type: list
  elements: str
"""
