#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: health_check
short_description: Ask an application on its host whether it can serve
description:
  - Asks as a switch does. The address, the status and the number of answers in a row are those that the role C(tossable.fleet.app) has written on the
    host, and every process has to run the release that is live. No load balancer is asked, and nothing is changed.
  - An application that is not healthy is reported in RV(healthy) and RV(why), not failed, and so is a host that cannot answer.
version_added: 0.1.0
options:
  app:
    description: Name of the application, as in C(/etc/tossable/<app>.json).
    type: str
    required: true
  deadline_seconds:
    description:
      - Until when enough good answers in a row must have come, in seconds.
      - Without it, the application's own deadline, C(app_health_deadline_seconds).
    type: float
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Go on only where the storefront can serve
  tossable.fleet.health_check:
    app: storefront
    deadline_seconds: 5
  register: health
  failed_when: not health.healthy
"""

RETURN = r"""
reachable:
  description: Whether the host answered.
  returned: always
  type: bool
healthy:
  description: Whether the application can serve.
  returned: always
  type: bool
why:
  description: Why it cannot, in words, or null.
  returned: always
  type: str
  sample: "shop-web.service is failed; last answer: http://127.0.0.1:8000/readyz: [Errno 111] Connection refused"
release:
  description: The release that is live by the host's journal, or null.
  returned: when the host answered
  type: str
seconds:
  description: How long it took to know, in seconds.
  returned: when the host answered
  type: float
"""
