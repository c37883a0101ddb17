"""A host that answers is never called down, and nobody is told to toss it."""

from __future__ import annotations

import pytest
from ansible_collections.tossable.fleet.plugins.plugin_utils import planning, reaching

ANSIBLE = "The host cannot be reached: Failed to connect to the host via ssh: "
UNKNOWN = "No ED25519 host key is known for 10.0.0.1 and you have requested strict checking.\r\nHost key verification failed."
CHANGED = f"""@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
The fingerprint for the ED25519 key sent by the remote host is
SHA256:0000.
Add correct host key in /home/ada/.ssh/known_hosts to get rid of this message.
Offending ED25519 key in /home/ada/.ssh/known_hosts:7\r
{UNKNOWN}"""
DENIED = "ops@10.0.0.1: Permission denied (publickey)."


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (UNKNOWN, ["its host key is not known here", "UserKnownHostsFile in ansible_ssh_common_args", "~/.ssh/known_hosts", "fingerprint"]),
        ("Host key verification failed.", ["its host key is not known here"]),
        (CHANGED, ["another host key", "line 7 of /home/ada/.ssh/known_hosts", "ssh-keygen -R"]),
        ("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", ["another host key", "UserKnownHostsFile"]),
        (DENIED, ["does not let this account in", "ansible_user", "ansible_ssh_private_key_file", "baseline_accounts"]),
        ("ops@10.0.0.1: Permission denied (publickey,password).", ["does not let this account in"]),
    ],
)
def test_what_ssh_refuses_is_no_dead_host(said: str, told: list[str]) -> None:
    (line,) = planning.host_obstacles("app1", {"reachable": False, "trouble": ANSIBLE + said})
    (of_balancer,) = planning.balancer_obstacles("lb1", {"trouble": ANSIBLE + said}, "shop", [], {"lb2": {}})
    for text in (line, of_balancer):
        assert "is down" not in text
        assert "Mend" not in text
        assert "Do not toss it" in text
        assert [words for words in told if words not in text] == []
    assert line.startswith("app1 ")
    assert line.endswith("--limit '!app1'.")
    assert of_balancer.startswith("Load balancer lb1 ")
    assert "release_balancers" in of_balancer


@pytest.mark.parametrize("said", ["Connection timed out", "Connection refused", "No route to host", "the disk: Permission denied"])
def test_every_other_host_is_down(said: str) -> None:
    assert reaching.refused("app1", ANSIBLE + said) == ""
