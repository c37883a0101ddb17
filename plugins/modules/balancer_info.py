#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: balancer_info
short_description: Tell to whom a load balancer sends requests
description:
  - Asks HAProxy through its admin socket, by one call of C(socat) on the host, and changes nothing.
  - A load balancer that cannot answer is reported in RV(trouble), not failed, so that a status shows the whole fleet.
version_added: 0.1.0
options:
  socket:
    description: HAProxy's admin socket on the host, as the role P(tossable.fleet.load_balancer#role) makes it.
    type: path
    default: /run/haproxy/admin.sock
  timeout:
    description: How long to wait for the answer, in seconds.
    type: int
    default: 5
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Ask the load balancer to whom it sends requests
  tossable.fleet.balancer_info:
  become: true
  register: balancer

- name: Show those that are out of service
  ansible.builtin.debug:
    msg: "{{ balancer.backends.storefront | dict2items | rejectattr('value.status', 'match', 'UP') | map(attribute='key') }}"
"""

RETURN = r"""
reachable:
  description: Whether the host answered.
  returned: always
  type: bool
trouble:
  description: Why HAProxy gave no answer, with what was found on the host, or null.
  returned: always
  type: str
process:
  description: The process that answered, with its version, pid, uptime and connections; empty where RV(trouble) is not null.
  returned: always
  type: dict
  sample: {version: 3.0.11, pid: 812, node: lb1, uptime_seconds: 3600, connections_current: 4, connections_limit: 9971}
backends:
  description:
    - For each backend its servers, by name; empty where RV(trouble) is not null.
    - C(latency) holds the answers by the time they took, as a bucket's upper bound in ms to the count in that bucket alone (not cumulative);
      empty buckets are left out.
  returned: always
  type: dict
  sample:
    storefront:
      app1:
        status: UP
        admin_state: ready
        operational_state: running
        weight: 100
        address: 10.77.10.21:8000
        check_status: L7OK
        check_code: 200
        check_description: OK
        checks_failed: 0
        agent_status: CHECKED
        agent_description: No status change
        times_down: 0
        seconds_since_change: 3600
        queue_current: 0
        connection_time_ms: 0
        response_time_ms: 4
        sessions_current: 1
        sessions_total: 9000
        requests_total: 9000
        responses: {1xx: 0, 2xx: 9000, 3xx: 0, 4xx: 0, 5xx: 0, other: 0}
        errors: {request: null, connection: 0, response: 0}
        retries: 0
        redispatches: 0
        latency: {"40": 8100, "50": 880, inf: 20}
frontends:
  description: For each frontend its status and the same counters as for a server; empty where RV(trouble) is not null.
  returned: always
  type: dict
maintenance:
  description: The backends that are answered for with the maintenance page, each with who has ordered it, since when and why.
  returned: always
  type: dict
  sample:
    storefront: {since: "2026-11-25T18:00:00Z", by: ada@desk, reason: the database moves, message: Back at six., retry_after: 300}
"""
