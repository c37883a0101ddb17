#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: declared_flags
short_description: Have the feature flags that are live follow what is declared, and keep every switch
description:
  - Runs on the host that keeps the live state. Where there is none yet, it is made from what is declared; where a declaration has changed since, a
    new generation is made. Switches stay as they are, also those of flags that are not declared any more; these have no effect.
  - Writes C(/var/lib/tossable/flags/state.json) and C(flags.json), only over the state that was read, so that a switch that comes in between is not
    lost. Brings them to no other host.
version_added: 0.1.0
options:
  folder:
    description: Folder on the controller with the declarations. Where it is missing no flag is declared.
    type: path
    required: true
  environment:
    description: Name of the environment, for example V(production).
    type: str
    required: true
  root:
    description: Folder of the artifacts on the host. What was signed there last tells which generation hosts may have, should the state be lost.
    type: path
    required: true
  by:
    description: Who is noted of flags whose declaration has changed. Default is the account and host name of the controller.
    type: str
  reason:
    description: Why, for the same place.
    type: str
    default: ''
attributes:
  check_mode:
    description: Reads and decides, and writes nothing.
    support: full
  diff_mode:
    description: Shows the line of flags before and after, a flag a line.
    support: full
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Follow what is declared
  tossable.fleet.declared_flags:
    folder: "{{ inventory_dir }}/flags"
    environment: production
    root: /srv/artifacts
"""

RETURN = r"""
generation:
  description: Generation of the flags that are live.
  returned: success
  type: int
content:
  description: The line of flags that is live, with its newline.
  returned: success
  type: str
gone:
  description: Flags that are switched and not declared any more.
  returned: success
  type: list
  elements: str
"""
