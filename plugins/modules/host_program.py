#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_program
short_description: Put the transaction program, or another one, on a host
description:
  - The transaction program does every switch on the host itself, repairs what was cut short at boot, and answers the load balancers.
  - It lies in a folder named after its digest, with a link C(current) beside it; every call checks each byte first.
  - Another program is placed the same way, all of its files in one step, with a link of its own name.
version_added: 0.1.0
options:
  source:
    description: Folder on the controller with another program and its C(__main__.py); without it the transaction program is meant.
    type: path
  name:
    description: Name of the link to that other program, in C(/usr/local/lib/tossable).
    type: str
attributes:
  check_mode:
    description: Says whether the program would be put in place.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Install the transaction program
  tossable.fleet.host_program:

- name: Install the program that draws the status page
  tossable.fleet.host_program:
    source: "{{ role_path }}/files/program"
    name: status_page
"""

RETURN = r"""
folder:
  description: Where this version lies on the host.
  returned: success
  type: str
"""
