#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_watch
short_description: See whether a release stays healthy on a host
description:
  - Asks the application for its health twice a second, and systemd for its processes, by one call of the transaction program; changes nothing.
  - Two bad answers, or one process that is not as it should be, are trouble; then it returns at once.
  - Trouble is reported in RV(trouble), not failed, so that all hosts of a wave can fail together.
version_added: 0.1.0
options:
  app:
    description: Name of the application, as in C(/etc/tossable/<app>.json).
    type: str
    required: true
  release:
    description: Release that is expected to run, such as V(1.4.2-0f3a9c11).
    type: str
    required: true
  seconds:
    description: For how long; V(0) looks once.
    type: float
    default: 0
  switched:
    description:
      - Whether the release was started by this run.
      - Then a process that ended by itself and was started again by systemd is trouble, also where it is healthy now.
    type: bool
    default: true
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: See whether it stays healthy for five seconds
  tossable.fleet.release_watch:
    app: storefront
    release: 1.4.2-0f3a9c11
    seconds: 5
  register: release_watch
"""

RETURN = r"""
reachable:
  description: Whether the host answered.
  returned: always
  type: bool
trouble:
  description: What is wrong, or null.
  returned: always
  type: str
evidence:
  description: The application's last log lines where something is wrong, oldest first.
  returned: always
  type: list
  elements: str
"""
