# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that could not be asked, in words: what ssh said tells one that is down from one that answers and is not let in, or not believed."""

from __future__ import annotations

import re

#: What ssh says where a host shows another key than the one that is known (OpenSSH, sshconnect.c), and the file that holds the one known.
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_OFFENDING = re.compile(r"Offending \S+ key in (\S+?):?(\d*)\s*$", re.MULTILINE)
_UNKNOWN = "Host key verification failed"
_DENIED = "Permission denied ("

_FILE = "the known_hosts file (UserKnownHostsFile in ansible_ssh_common_args of the inventory, else ~/.ssh/known_hosts)"
_HEALTHY = "Do not toss it for that: it may be healthy, and in service."


def refused(host: str, trouble: str) -> str:
    """Why ssh and ``host`` do not come together though it answers, and what to do about it; empty where ``trouble`` says nothing of that kind.

    Such a host may be healthy: advice to toss it would be advice to destroy what serves.
    """
    if _CHANGED in trouble:
        found = _OFFENDING.search(trouble)
        where = f"line {found[2]} of {found[1]}" if found and found[2] else found[1] if found else _FILE
        return (
            f"{host} answers with another host key than the one that is known for it ({where}). Where the machine was made anew, remove that line "
            "(ssh-keygen -R) and put the new key in, once its fingerprint is the one that the machine's console shows; where it was not, find out "
            f"who answers in its place. {_HEALTHY}"
        )
    if _UNKNOWN in trouble:
        return (
            f"{host} was not asked, because its host key is not known here: {trouble} Put it into {_FILE}, once its fingerprint is the one that the "
            f"machine's console shows (for a lab playbooks/lab.yml writes it). {_HEALTHY}"
        )
    if _DENIED in trouble:
        return (
            f"{host} answers, and does not let this account in: {trouble} Look at ansible_user and ansible_ssh_private_key_file of the inventory, at "
            f"ssh-add -l where the key is in an agent, and at the ssh_keys of that account in baseline_accounts. {_HEALTHY}"
        )
    return ""
