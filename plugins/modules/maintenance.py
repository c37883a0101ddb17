#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: maintenance
short_description: Let a load balancer answer for an application with a maintenance page
description:
  - Answers new requests for one application with 503 and a page, on one load balancer that the role P(tossable.fleet.load_balancer#role) has set
    up; requests that a server works on are answered by it. Other applications are not touched, and health checks and agents go on.
  - Changes HAProxy's processes through the master's socket, without a reload, and a file that the next ones read, by one call of the
    transaction program. It lasts over reloads, restarts and reboots, and roles leave it alone.
version_added: 0.1.0
options:
  app:
    description: Name of the application, which is the name of its backend.
    type: str
    required: true
  state:
    description:
      - V(present) shows the page, V(absent) lets the application answer.
      - V(drained) waits until no server works on a request for the application, O(deadline_seconds) at most, and says in
        RV(in_flight) what is left then.
      - V(shown) only looks.
    type: str
    required: true
    choices: [present, absent, drained, shown]
  message:
    description: What the page says, as plain text; line breaks are kept.
    type: str
    default: We are working on it. Please try again in a few minutes.
  reason:
    description: Why, for colleagues; clients do not see it.
    type: str
    default: ''
  by:
    description: Who orders it. Default is the account and host name of the controller.
    type: str
  retry_after:
    description: Seconds after which clients are told to try again (C(Retry-After)).
    type: int
    default: 300
  deadline_seconds:
    description: How long V(drained) waits.
    type: int
    default: 60
  entry:
    description: With O(state=present), what this module returned as RV(before), to put it back as it was; instead of the other words.
    type: dict
attributes:
  check_mode:
    description: Tells what would change; does not wait.
    support: full
  diff_mode:
    description: Shows the maintenance before and after.
    support: full
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Show the page
  tossable.fleet.maintenance:
    app: storefront
    state: present
    message: The shop is back at six.
    reason: the database moves
  become: true

- name: Wait until the last request is answered
  tossable.fleet.maintenance:
    app: storefront
    state: drained
  become: true
  register: drained
  failed_when: drained.in_flight | length > 0
"""

RETURN = r"""
before:
  description: The maintenance as it was, or null.
  returned: with O(state=present), O(state=absent) and O(state=shown)
  type: dict
  sample: {since: "2026-11-25T18:00:00Z", by: ada@desk, reason: the database moves, message: The shop is back at six., retry_after: 300}
entry:
  description: The maintenance as it is now (in check mode, as it would be), or null where the application is served.
  returned: with O(state=present), O(state=absent) and O(state=shown)
  type: dict
in_flight:
  description: Requests that servers still work on, by server; C(queue) are those that wait for one. Empty when it is drained.
  returned: with O(state=drained)
  type: dict
seconds:
  description: How long it waited.
  returned: with O(state=drained)
  type: float
"""
