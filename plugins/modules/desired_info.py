#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: desired_info
short_description: Tell which release is signed for hosts that come back later
description:
  - Reads what M(tossable.fleet.desired_state) signed from the artifact store, on the controller, proves its signature, and changes nothing.
  - What cannot be read is reported in RV(trouble), not failed, so that a status shows the whole fleet.
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
  store_url:
    description: Address of the artifact store, without a slash at its end.
    type: str
    required: true
  desired_signers:
    description: Who may sign it.
    type: list
    elements: dict
    required: true
    suboptions:
      principal:
        description: Name of the signer.
        type: str
      key:
        description: Public key in OpenSSH's form.
        type: str
extends_documentation_fragment:
  - tossable.fleet.reads_only
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Ask which release hosts that boot come to run
  tossable.fleet.desired_info:
    app: storefront
    environment: production
    store_url: http://10.77.10.11:8080
    desired_signers: "{{ app_desired_signers }}"
  register: signed
"""

RETURN = r"""
desired:
  description: What was signed, or null where nothing was, or where it cannot be read.
  returned: always
  type: dict
  sample: {release: 1.4.2-0f3a9c11, version: 1.4.2, kind: deploy, run: 20261125T101500Z-1a2b3c, token: 41, at: "2026-11-25T10:15:40Z"}
trouble:
  description: Why it cannot be read, or null.
  returned: always
  type: str
"""
