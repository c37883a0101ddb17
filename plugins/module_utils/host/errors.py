# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one error that the program reports to the controller instead of a traceback."""

from __future__ import annotations

from collections.abc import Sequence


class HostError(Exception):
    """Something an operator can act on.

    ``message`` says what was found, what was expected and what to do; ``evidence`` holds the lines that show it (log lines,
    an answer), oldest first.
    """

    def __init__(self, message: str, evidence: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.evidence = list(evidence)
