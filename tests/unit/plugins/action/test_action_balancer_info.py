"""A load balancer that gives no whole answer is reported, not failed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.tossable.fleet.plugins.action import balancer_info as action


class Balancer(action.ActionModule):
    """The action without Ansible around it, on a host whose HAProxy says this."""

    def __init__(self, said: str) -> None:
        self.said = said

    def validate_argument_spec(self, *_given: Any, **_more: Any) -> Any:
        return None, {"socket": "/s", "timeout": 1}

    def _low_level_execute_command(self, _command: str) -> dict[str, Any]:
        return {"rc": 0, "stdout": self.said, "stderr": ""}


def test_an_answer_that_breaks_off_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    found = Balancer("Name: HAProxy\n\n# pxname,svname,status,\napp,BACKEND,UP,\napp,app1").run()
    assert "breaks off" in found["trouble"]
    assert (found["reachable"], found["backends"], found["changed"]) == (True, {}, False)
