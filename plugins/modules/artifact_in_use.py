#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: artifact_in_use
short_description: Tell the artifact store which versions an environment uses
description:
  - Writes C(<root>/<app>/.in-use/<environment>), which the store's pruning reads, one version a line.
  - Never fails, because the run has done its work by then; RV(said) tells what could not be noted.
version_added: 0.1.0
options:
  root:
    description: Folder of the artifacts on the store.
    type: path
    required: true
  app:
    description: Name of the application.
    type: str
    required: true
  environment:
    description: Name of the environment, for example V(production).
    type: str
    required: true
  versions:
    description: The versions that run there, and those it can go back to.
    type: list
    elements: str
    required: true
  keep:
    description:
      - Whether the versions stay that are noted already, because O(versions) comes from some hosts of the environment only (a run with
        C(--limit), or one that left dead hosts out). The next run of all hosts notes what is in use then.
    type: bool
    default: false
attributes:
  check_mode:
    description: Does nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Keep what production runs
  tossable.fleet.artifact_in_use:
    root: /srv/artifacts
    app: storefront
    environment: production
    versions: [1.4.1, 1.4.2]
"""

RETURN = r"""
said:
  description: What could not be noted, why, and what to do, in lines; empty where it was.
  returned: always
  type: list
  elements: str
"""
