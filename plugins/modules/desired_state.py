#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: desired_state
short_description: Sign which release a fleet runs, for hosts that come back later
description:
  - Signs on the controller, and writes on the artifact store, C(<root>/<app>/desired-<environment>.signed), a line of JSON and its
    OpenSSH signature. An application host reads it when it boots.
  - Replaces it by one rename. Never fails, because the deployment is done; O(ignore:summary) says what was not possible.
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
  kind:
    description: Whether the fleet went forward to the release or back to it.
    type: str
    choices: [deploy, rollback]
    default: deploy
  release:
    description: Release id, version and the first 8 digits of the archive's sha256, such as V(1.4.2-0f3a9c11).
    type: str
    required: true
  version:
    description: Its version.
    type: str
    required: true
  digest:
    description: The archive's sha256, 64 hex digits.
    type: str
    required: true
  url:
    description: Folder of the version in the artifact store.
    type: str
    required: true
  run:
    description: Id of the run that brought the fleet there.
    type: str
    required: true
  signing_key:
    description: Private key on the controller, or the public key of one in its ssh-agent. Without it nothing is signed.
    type: path
  lock:
    description:
      - The lock of the run, as M(tossable.fleet.deployment_lock) returned it last. Its token goes into what is signed, and hosts refuse
        one that is older than they have seen.
      - Without a lock, or once it is lost, nothing is signed.
    type: dict
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
- name: Sign which release the fleet runs
  tossable.fleet.desired_state:
    root: /srv/artifacts
    app: storefront
    environment: production
    release: "{{ release_plan.release }}"
    version: "{{ release_plan.version }}"
    digest: "{{ release_plan.digest }}"
    url: "{{ release_plan.url }}"
    run: "{{ release_plan.run }}"
    signing_key: ~/.ssh/artifact_signing_key
    lock: "{{ release_lease.lock }}"
  delegate_to: ops1
"""

RETURN = r"""
summary:
  description: What was signed, or why nothing was, in one line.
  returned: always
  type: str
"""
