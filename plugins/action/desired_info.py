# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action `desired_info`: which release is signed for hosts that come back later, read by the controller."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import desired_store, signers

_SPEC = {
    **{name: {"type": "str", "required": True} for name in ("app", "environment", "store_url")},
    "desired_signers": {**signers.OPTION, "required": True},
}


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return it, or why it cannot be read; never fails, so that a status shows the whole fleet."""
        _checked, given = self.validate_argument_spec(argument_spec=_SPEC)
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        try:
            found = desired_store.read(given["store_url"], given["app"], given["environment"], given["desired_signers"])
        except HostError as error:
            return {**result, "desired": None, "trouble": error.message}
        return {**result, "desired": found and found._asdict(), "trouble": None}
