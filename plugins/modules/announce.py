#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: announce
short_description: Tell chat services what a deployment does, without waiting for any of them
description:
  - Writes one small file for each target into a folder on the controller and starts a process of its own, which sends it by the library apprise.
    A service that is slow, hangs or refuses delays nothing and fails nothing.
  - Every target gets its events in order. What a service does not take within 30 seconds, two tries at most, is given up, written down in
    C(unsent.jsonl) in that folder, and told in RV(unsent) and as a warning by the next call.
version_added: 0.1.0
options:
  announce:
    description:
      - Who is told, and what. Each is a dictionary of C(to), an address as apprise reads it, C(events), a list, and C(name), what the target is
        called where it has to be named. Without C(events) all of them.
      - The events are C(started), C(interrupted) (the run took the lock over from one that was), C(wave), C(gate), C(recovering),
        C(staged) (with C(--tags stage)), C(deployed), C(rolled_back), C(failed), C(flag) (feature flags were switched), C(unlock), C(maintenance)
        and C(toss).
      - An address may hold a secret. It is in no output; in the folder, which only the account of the controller can read, until it was used.
    type: list
    elements: raw
    required: true
  state:
    description: V(checked) only sees that it could be sent, and fails where not. V(handed_over) announces, and does not fail.
    type: str
    choices: [checked, handed_over]
    default: handed_over
  strict:
    description:
      - Whether V(checked) fails; else it warns. A rollback goes on without announcements, nobody who goes back is to be kept waiting by a chat.
    type: bool
    default: true
  folder:
    description: Where announcements wait. Default is C(tossable/announce) in C($XDG_STATE_HOME), which by default is C(~/.local/state).
    type: path
  story:
    description: What all events of a run share, namely C(kind), C(app), C(environment), C(version), C(run), C(by), C(on_behalf_of) and C(reason).
    type: dict
    default: {}
  events:
    description: What happened, each with its name in C(event) and its facts, as the role P(tossable.fleet.release#role) passes them.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Announces nothing; O(state=checked) is the same.
    support: full
  diff_mode:
    description: Nothing is changed on a host.
    support: none
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: See that announcements can be sent, before anything changes
  tossable.fleet.announce:
    announce:
      - to: ircs://robot@irc.example/#ops
      - to: "mailto://{{ vault_mail }}"
        events: [rolled_back, failed]
    state: checked
"""

RETURN = r"""
announced:
  description: The lines that were handed over.
  returned: always
  type: list
  elements: str
  sample: ["deploy storefront 1.4.2 in production deployed after 41 s, by ada@desk (run 20261125T101500Z-1a2b3c)"]
unsent:
  description: What could not be handed over now, and what could not be sent since somebody was last told, of this run and of earlier ones.
  returned: always
  type: list
  elements: str
"""
