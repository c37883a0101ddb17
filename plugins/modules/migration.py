#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: migration
short_description: Run one migration of a staged release on one host
description:
  - Runs the command that the release's signed manifest names, as the application's user in the release's folder, with the application's
    environment and E(MIGRATION_ID) and E(VERSION). One call of the transaction program that lies on the host.
  - The command is a systemd unit that a dropped connection does not stop, and of which a host runs one at a time.
  - Whether it is to run is for M(tossable.fleet.release_plan) to say; that it ran is noted by M(tossable.fleet.migration_record).
version_added: 0.1.0
options:
  app:
    description: Name of the application, as in C(/etc/tossable/<app>.json).
    type: str
    required: true
  release:
    description: Release id, version and the first 8 digits of the archive's sha256; it has to be staged on the host.
    type: str
    required: true
  id:
    description: Id of the migration in the release's manifest.
    type: str
    required: true
  deadline_seconds:
    description: Seconds after which the command is stopped, which counts as failed. The task's C(timeout) has to be longer.
    type: int
    default: 600
  run:
    description: Id of the run.
    type: str
    default: by-hand
  lock:
    description:
      - The lock under which this is done, as M(tossable.fleet.deployment_lock) returned it last.
      - Nothing is done once it is lost or its lease has run out, and the host refuses a token older than the newest it has seen.
    type: dict
attributes:
  check_mode:
    description: Says that it would run, and runs nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Run it
  tossable.fleet.migration:
    app: storefront
    release: 1.4.2-0f3a9c11
    id: 0001-prices
  timeout: 720
"""

RETURN = r"""
clock:
  description: When the call C(began) and C(ended), in seconds since the controller's boot.
  returned: always, but not in check mode
  type: dict
ended:
  description: Whether the command is known to have run and ended, well or not.
  returned: when the host answered
  type: bool
seconds:
  description: How long the command took.
  returned: when it ended
  type: float
evidence:
  description: The command's last lines, oldest first.
  returned: failure
  type: list
  elements: str
"""
