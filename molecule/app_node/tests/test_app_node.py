# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""serve, a Node.js program that knows nothing of us, released by variables: the same bytes on Debian 12's and 13's Node.js."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from pathlib import Path

from testinfra.host import Host

#: Version of Debian to that of its Node.js.
NODE_JS = {"12": "v18.", "13": "v20."}


def test_it_answers_from_outside_on_the_port_it_was_given(host: Host) -> None:
    with urllib.request.urlopen(f"http://{host.backend.host.name}:8020/", timeout=10) as answer:
        assert b"serve 14.2.7" in answer.read()


def test_the_same_bytes_run_on_the_node_js_of_this_debian(host: Host) -> None:
    (built,) = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "artifacts", "serve", "14.2.7").glob("*.manifest.json")
    wanted = json.loads(built.read_text(encoding="utf-8"))
    found = json.loads(host.file("/srv/serve/current/.tossable/manifest.json").content_string)
    assert found["archive"]["sha256"] == wanted["archive"]["sha256"]
    (process,) = host.process.filter(user="serve")
    assert host.check_output(f"readlink /proc/{process.pid}/exe") == host.check_output("readlink --canonicalize /usr/bin/node")
    assert host.check_output("node --version").startswith(NODE_JS[host.system_info.release.split(".")[0]])


def test_it_runs_as_its_own_user_and_can_make_code_while_it_runs(host: Host) -> None:
    (process,) = host.process.filter(user="serve")
    assert process.comm.startswith(("node", "MainThread"))
    assert host.run("su -s /bin/sh serve -c 'touch /srv/serve/current/x'").rc != 0


def test_load_balancers_are_told_that_it_is_ready(host: Host) -> None:
    with socket.create_connection((host.backend.host.name, 8021), timeout=5) as agent:
        assert agent.recv(100) == b"ready\n"


def test_asked_to_stop_it_stops_at_once(host: Host) -> None:
    """Well before systemd would kill it: it understood the signal."""
    host.check_output("systemctl stop serve-web.service")
    result = host.check_output("systemctl show serve-web.service --property=Result --value")
    host.check_output("systemctl start serve-web.service")
    assert result == "success"
