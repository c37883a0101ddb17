# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What flags give to sample users, by the evaluator that applications have, OpenFeature's for Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

#: Where the inventory has no flag_samples: nobody known, and three users who differ in what rules usually ask.
USERS: tuple[dict[str, Any], ...] = (
    {},
    {"targetingKey": "user-1", "plan": "free", "country": "DE", "transaction_volume": 0},
    {"targetingKey": "user-2", "plan": "pro", "country": "FR", "transaction_volume": 5000},
    {"targetingKey": "user-3", "plan": "enterprise", "country": "US", "transaction_volume": 250000},
)


def lines(published: bytes, flags: Sequence[str], users: Sequence[Mapping[str, Any]] = USERS) -> list[str]:
    """A line for each flag and user with the value that the user gets; one line that says why where it cannot be told."""
    if not published or not flags:
        return []
    try:
        # Beside Ansible only for this: a switch must not wait for it.
        from openfeature.contrib.tools.flagd.core import FlagdCore
        from openfeature.evaluation_context import EvaluationContext
    except ImportError:
        return ["(what users get is not shown, because the Python library openfeature-flagd-core is not beside Ansible)"]
    core = FlagdCore()
    core.set_flags(published.decode())
    known = json.loads(published)["flags"]
    found = []
    for flag in flags:
        for user in users:
            name, attributes = str(user.get("targetingKey", "")), {key: value for key, value in user.items() if key != "targetingKey"}
            who = " ".join([name or "nobody known", *(f"{key}={value}" for key, value in attributes.items())])
            found.append(f"{flag} for {who}: {_value(core, flag, known.get(flag), EvaluationContext(name or None, attributes))}")
    return found


def _value(core: Any, key: str, flag: Mapping[str, Any] | None, context: Any) -> str:
    if flag is None:
        return "no such flag"
    example = next(iter(flag["variants"].values()))
    ask = {bool: core.resolve_boolean_value, str: core.resolve_string_value, int: core.resolve_float_value, float: core.resolve_float_value}
    try:
        answer = ask.get(type(example), core.resolve_object_value)(key, None, context)
    except Exception as error:  # Whatever the evaluator makes of it is what is to be shown.
        return f"error: {error}"
    return f"{json.dumps(answer.value)} ({answer.variant})"
