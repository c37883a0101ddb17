# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The signed desired state as it lies in the artifact store, read by the controller, and what a status says of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url
from ansible_collections.tossable.fleet.plugins.module_utils.host import signature
from ansible_collections.tossable.fleet.plugins.module_utils.host.desired import MAX_BYTES, NAMESPACE, Desired, file_name, parse
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.module_utils.host.signed import split
from ansible_collections.tossable.fleet.plugins.plugin_utils import planning, signers


def read(store_url: str, app: str, environment: str, allowed_signers: Sequence[Mapping[str, str]]) -> Desired | None:
    """The desired state of an application, whose signature is proved; None where there is none.

    ``allowed_signers``: who may sign one, each with C(principal) and C(key). Raises HostError in words.
    """
    url = f"{store_url}/{app}/{file_name(environment)}"
    try:
        line, signed = split(bytes(open_url(url, timeout=10, http_agent="tossable").read(MAX_BYTES)))
    except HTTPError as error:
        if error.code in (404, 410):
            return None
        raise HostError(f"{url}: {error.code} {error.reason}. Look at nginx on the ops host.") from None
    except OSError as error:
        raise HostError(f"The artifact store does not answer ({url}: {error}). Look at nginx on the ops host, and at its firewall.") from None
    try:
        with tempfile.TemporaryDirectory(prefix="tossable-") as folder:
            signature_file = Path(folder, "signature")
            signature_file.write_bytes(signed)
            signature.verify_signature(line, signature_file, signers.written(allowed_signers, folder, NAMESPACE), NAMESPACE)
        return parse(line, app, environment)
    except HostError as error:
        raise HostError(f"The desired state at {url} is not to be trusted: {error.message}. Find out who wrote it.") from None


def lines(answer: Mapping[str, Any], reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a status says of it: what hosts that boot come back to, and that this is not what most hosts run.

    ``answer``: what `desired_info` returned; ``reports``: what `release_info` did of each host.
    """
    if trouble := answer.get("trouble"):
        return [f"hosts that boot keep what they run: {' '.join(str(trouble).split())}"]
    signed = answer.get("desired")
    most = planning.common_release(reports)
    if not signed:
        return ["hosts that boot keep what they run: no release was signed for them; a deployment of the whole fleet does that"] if most else []
    said = f"hosts that boot come to run {signed['release']}, signed {signed['at']} by run {signed['run']}"
    if most in (None, signed["release"]):
        return [said]
    help_words = "a deployment of the whole fleet, without --limit, signs what it brings; playbooks/reconcile.yml brings what was signed"
    return [f"{said}, BUT most hosts run {most}: {help_words}"]
