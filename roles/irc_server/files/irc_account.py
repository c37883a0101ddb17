# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asked by PAM for ngircd: the name is in PAM_USER, the password on standard input. Exit code 0 where they belong together."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

ACCOUNTS = Path("/etc/ngircd/tossable-accounts.json")


def right(accounts: Mapping[str, str], name: str, password: str) -> bool:
    """Whether this is the account's password."""
    given = hashlib.sha256(f"{name}:{password}".encode()).hexdigest()
    return hmac.compare_digest(given, accounts.get(name, ""))


if __name__ == "__main__":
    told = sys.stdin.read(1024).rstrip("\0\n")
    sys.exit(0 if right(json.loads(ACCOUNTS.read_text(encoding="utf-8")), os.environ.get("PAM_USER", ""), told) else 1)
