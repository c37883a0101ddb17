# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking the signature of a manifest with OpenSSH, with a message of its own for each way to fail.

Standard library only: this runs on the hosts, too. The format of a signature is OpenSSH's PROTOCOL.sshsig.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
from typing import NamedTuple

from .manifest import NAMESPACE, ArtifactError

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MAGIC = b"SSHSIG\x00\x00\x00\x01"
MAX_SIGNATURE_BYTES = 16 * 1024


class SignatureError(ArtifactError):
    """Nobody who may sign artifacts has signed this manifest as it is."""


class Signature(NamedTuple):
    """What a signature says of itself, before anything is proved: `fingerprint` like ssh-keygen -l prints it."""

    fingerprint: str
    namespace: str


def parse_signature(raw: bytes) -> Signature:
    """Read the armoured signature; raises SignatureError where it is none."""
    try:
        lines = raw.decode("ascii").split("\n")
        if lines[0] != BEGIN or END not in lines:
            raise ValueError
        blob = base64.b64decode("".join(lines[1 : lines.index(END)]), validate=True)
        if not blob.startswith(MAGIC):
            raise ValueError
        key, rest = _string(blob[len(MAGIC) :])
        namespace, _rest = _string(rest)
        told = namespace.decode("utf-8")
    except (ValueError, binascii.Error):
        raise SignatureError("the signature file holds no OpenSSH signature") from None
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")
    return Signature(f"SHA256:{digest}", told)


def verify_signature(
    manifest: bytes,
    signature_path: str | os.PathLike[str],
    allowed_signers: str | os.PathLike[str],
    namespace: str = NAMESPACE,
) -> str:
    """The principal who signed these bytes, by a key in `allowed_signers`; raises SignatureError otherwise."""
    path = os.fspath(signature_path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        raise SignatureError(f"the artifact is not signed: there is no {path}") from None
    if not os.path.isfile(allowed_signers):
        raise SignatureError(f"there is no file of allowed signers at {os.fspath(allowed_signers)}")
    signature = parse_signature(raw)
    if signature.namespace != namespace:
        raise SignatureError(
            f"{path} was made for the namespace {signature.namespace!r}, expected {namespace!r}: a signature for another purpose does not count"
        )
    found = _ssh_keygen("find-principals", "-s", path, "-f", os.fspath(allowed_signers))
    principals = found.stdout.decode("utf-8", "replace").split("\n")
    if found.returncode != 0 or not principals[0]:
        raise SignatureError(f"{path} was made with the key {signature.fingerprint}, which {os.fspath(allowed_signers)} does not list")
    checked = _ssh_keygen("verify", "-f", os.fspath(allowed_signers), "-I", principals[0], "-n", namespace, "-s", path, given=manifest)
    if checked.returncode != 0:
        evidence = (checked.stdout + checked.stderr).decode("utf-8", "replace").strip()
        raise SignatureError(
            f"the signature by {principals[0]} does not fit the manifest: it was altered after it was signed",
            evidence.splitlines(),
        )
    return principals[0]


def _string(blob: bytes) -> tuple[bytes, bytes]:
    """Split an SSH string (length, then bytes) off the front of the blob."""
    length = int.from_bytes(blob[:4], "big")
    if len(blob) < 4 + length:
        raise ValueError("truncated")
    return blob[4 : 4 + length], blob[4 + length :]


def _ssh_keygen(action: str, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", "-Y", action, *words], input=given, capture_output=True, check=False)
