# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may sign what the controller reads: the option that names them, and the file that ssh-keygen wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.tossable.fleet.plugins.module_utils.artifact import allowed_signers_file

#: An option of an action: a list of C(principal) and C(key).
OPTION = {"type": "list", "elements": "dict", "options": {"principal": {"type": "str"}, "key": {"type": "str", "no_log": False}}}


def written(signers: Sequence[Mapping[str, str]], folder: str, namespace: str) -> Path:
    """Write them as OpenSSH's allowed_signers into a folder, for what is signed in one namespace; returns the file. Raises ArtifactError."""
    file = Path(folder, "allowed_signers")
    file.write_text(allowed_signers_file(signers, namespace))
    return file
