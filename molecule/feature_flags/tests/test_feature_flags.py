"""What is declared is live from the first run on, readable for applications and writable for nobody but root, and signed for hosts that come back."""

from __future__ import annotations

import json
from typing import Any

from testinfra.host import Host

FOLDER = "/var/lib/tossable/flags"
SIGNED = "/srv/artifacts/flags-lab.signed"


def read(host: Host, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output(f"cat {FOLDER}/{name}"))
    return found


def test_what_is_declared_is_live(host: Host) -> None:
    published = read(host, "flags.json")
    assert published["metadata"] == {"environment": "lab", "generation": 1}
    assert {name: flag["defaultVariant"] for name, flag in published["flags"].items()} == {"checkout": "off", "search": "on"}
    state = read(host, "state.json")
    assert (state["generation"], state["overrides"]) == (1, {})
    assert state["digest"] == host.check_output(f"sha256sum {FOLDER}/flags.json").split()[0]


def test_any_application_may_read_it_and_none_may_write_it(host: Host) -> None:
    for command, code in (
        (f"cat {FOLDER}/flags.json", 0),
        (f"test -w {FOLDER}/flags.json", 1),
        (f"touch {FOLDER}/x", 1),
        (f"cat {FOLDER}/signing_key", 1),
    ):
        assert host.run(f"setpriv --reuid=nobody --clear-groups {command}").rc == code, command


def test_what_lies_beside_the_artifacts_is_what_is_live_and_rightly_signed(host: Host) -> None:
    assert host.run(f"head -n 1 {SIGNED} | cmp - {FOLDER}/flags.json").rc == 0
    host.check_output(f"tail -n +2 {SIGNED} > /run/signature")
    (signer,) = {line.split()[0] for line in host.check_output("grep -v '^#' /etc/tossable/flags/allowed_signers").splitlines()}
    assert signer.startswith("flags@")
    by = f"-f /etc/tossable/flags/allowed_signers -I {signer} -s /run/signature < {FOLDER}/flags.json"
    # ssh-keygen ends with 255 where a signature does not count, which looks like a connection that broke.
    found = {purpose: host.run(f"ssh-keygen -Y verify -n {purpose} {by} || exit 1").rc for purpose in ("flags@tossable", "desired@tossable")}
    assert found == {"flags@tossable": 0, "desired@tossable": 1}


def test_the_host_knows_where_to_ask_when_it_boots(host: Host) -> None:
    source = json.loads(host.check_output("cat /etc/tossable/flags/source.json"))
    assert source["url"] == "http://127.0.0.1:8080/flags-lab.signed"
    assert host.file(source["allowed_signers"]).mode == 0o644
