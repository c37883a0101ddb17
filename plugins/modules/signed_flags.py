#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: signed_flags
short_description: Sign the feature flags that are live, for hosts that come back later
description:
  - Writes on the artifact store C(<root>/flags-<environment>.signed), the line of flags as hosts have it and its OpenSSH signature, by a key that
    the store has for flags alone; whichever controller switches needs none. An application host reads it when it boots, before it returns to the load
    balancers.
  - Replaces it by one rename, never by flags of an earlier generation. Never fails, because the hosts have the flags; O(ignore:summary) says what was
    not possible.
version_added: 0.1.0
options:
  root:
    description: Folder of the artifacts on the store.
    type: path
    required: true
  environment:
    description: Name of the environment, for example V(production).
    type: str
    required: true
  content:
    description: The line of flags as it was published. A newline at its end may be missing, because Ansible strips it from what a command prints.
    type: str
    required: true
  signing_key:
    description: Private key on the store, which the role P(tossable.fleet.feature_flags#role) makes. Where it is missing nothing is signed.
    type: path
    default: /var/lib/tossable/flags/signing_key
attributes:
  check_mode:
    description: Compares with what lies there, and writes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Sign which flags are live
  tossable.fleet.signed_flags:
    root: /srv/artifacts
    environment: production
    content: "{{ flag_decided.content }}"
  delegate_to: ops1
"""

RETURN = r"""
signed:
  description: Whether flags of this generation, or of a later one, lie there signed.
  returned: always
  type: bool
anew:
  description: Whether something else lay there, and was replaced, or would be in check mode.
  returned: always
  type: bool
summary:
  description: What was signed, or why nothing was, in one line.
  returned: always
  type: str
"""
