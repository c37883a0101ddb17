# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw the status page: `python3 <this folder> --ledger ... --folder ... --state ...`."""

import sys

from status_page.command import main

sys.exit(main())
