#!/usr/bin/python
# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Build and verify signed artifacts
version_added: 0.1.0
description:
  - Turns a source tree into one archive with a manifest of every file in it and a signature over the manifest.
  - Runs on the controller. The same commit gives the same bytes, wherever it is built (with the same C(zstd)).
  - An artifact lies in C(<path>/<app>/<version>/), three files, put in place by one rename.
options:
  state:
    description:
      - V(built) makes the artifact unless it is there with the same bytes, and signs it.
      - V(verified) checks signature, manifest and every byte of the archive, and changes nothing.
    type: str
    choices: [built, verified]
    default: built
  app:
    description: Name of the application, for example V(storefront).
    type: str
    required: true
  version:
    description: Name of the version, for example V(1.4.2).
    type: str
    required: true
  path:
    description: Folder of all artifacts, for example V(build/artifacts).
    type: path
    required: true
  source:
    description:
      - Folder with the source tree.
      - In a git checkout without uncommitted changes the checked-out commit is exported; a folder with changes, or
        outside git, is copied as it is (without what git ignores).
    type: path
  commit:
    description: The git commit, tag or branch to build instead of what is checked out in O(source).
    type: str
  commands:
    description:
      - Lines run one after the other by C(sh -eu) in the clean export, before packing.
      - They see E(VERSION), E(APP), E(COMMIT), E(SOURCE_DATE_EPOCH), E(PYTHON) (the interpreter of Ansible, which has pip)
        and the environment of the caller.
    type: list
    elements: str
    default: []
  output:
    description: The folder to pack, relative to the source.
    type: str
    default: "."
  exclude:
    description:
      - Patterns of what is not packed. Without a slash a pattern fits a name at any depth, with one a path from the top.
    type: list
    elements: str
    default: []
  hooks:
    description: Commands by name, each a list of words. C(install) runs on each host, in the unpacked release, as the application's user.
    type: dict
    default: {}
  migrations:
    description:
      - All migrations of what outlives a release that there have been up to this version, in the order in which they run.
      - Each has an C(id) of its own (a name in quotes where it is a number), a C(phase) (V(expand) or V(contract)), a C(class) (V(reversible) or
        V(forward-only)) and a C(command), a list of words, which is run once for the fleet, in the release's folder, as the application's user.
    type: list
    elements: dict
    default: []
  processes:
    description: Names of the process types that the application has, for example V([web, mail_out]).
    type: list
    elements: str
  built_by:
    description: Who builds, as the manifest shows it.
    type: str
  signing_key:
    description: The OpenSSH private key that signs (or the public key of one in an ssh-agent).
    type: path
  log:
    description: File for the output of the build commands. Without it the output is dropped, except on failure.
    type: path
  allowed_signers:
    description: Whose signature counts for O(state=verified).
    type: list
    elements: dict
    suboptions:
      principal:
        description: Name of the signer, for example V(builder@lab).
        type: str
        required: true
      key:
        description: The public key, one line as in a C(.pub) file.
        type: str
        required: true
  manifest_only:
    description: With O(state=verified), check signature and manifest and leave the archive unread (it may be elsewhere).
    type: bool
    default: false
attributes:
  check_mode:
    description: The artifact is built and compared in a temporary folder; nothing is put in place.
    support: full
  diff_mode:
    description: Shows the artifact that would appear.
    support: full
requirements:
  - git, zstd and OpenSSH's ssh-keygen on the controller
author:
  - Tossable Fleet maintainers (@tossable)
"""

EXAMPLES = r"""
- name: Build version 1.4.2 of the storefront
  tossable.fleet.artifact:
    app: storefront
    version: 1.4.2
    path: build/artifacts
    source: examples/storefront
    commands:
      - python3 -m pip install --target vendor --no-compile --require-hashes -r requirements.txt
    hooks:
      install: [python3, -m, compileall, -q, .]
    processes: [web, worker]
    migrations:
      - id: 0001-prices
        phase: expand
        class: reversible
        command: [python3, -m, storefront.migrations, prices]
    signing_key: ~/.ssh/signing_key

- name: Check it
  tossable.fleet.artifact:
    state: verified
    app: storefront
    version: 1.4.2
    path: build/artifacts
    allowed_signers:
      - principal: builder@lab
        key: "{{ lookup('ansible.builtin.file', '~/.ssh/signing_key.pub') }}"
"""

RETURN = r"""
artifact:
  description: What was built or verified, with the paths of its three files; sizes in bytes.
  returned: success
  type: dict
  sample:
    app: storefront
    version: 1.4.2
    release: 1.4.2-0a1b2c3d
    commit: null
    built_at: "2026-11-20T20:00:00Z"
    built_by: builder@lab
    sha256: 0a1b2c3d00000000000000000000000000000000000000000000000000000000
    size: 700000
    total: 3000000
    files: 400
    hooks: {install: [python3, -m, compileall, -q, .]}
    processes: [web, worker]
    migrations: [{id: 0001-prices, phase: expand, class: reversible}]
    folder: build/artifacts/storefront/1.4.2
    archive: build/artifacts/storefront/1.4.2/storefront-1.4.2.tar.zst
    manifest: build/artifacts/storefront/1.4.2/storefront-1.4.2.manifest.json
    signature: build/artifacts/storefront/1.4.2/storefront-1.4.2.manifest.json.sig
    signer: builder@lab
existed:
  description: Whether the version was there before with the same bytes.
  returned: O(state=built)
  type: bool
checksums:
  description: The sha256 of each of the three files by its name, for who uploads them.
  returned: O(state=built)
  type: dict
log:
  description: Where the output of the build commands is.
  returned: O(state=built)
  type: str
seconds:
  description: Seconds of each step.
  returned: success
  type: dict
  sample: {export: 0.02, build: 4.1, pack: 0.3, sign: 0.01}
evidence:
  description: The last lines of what failed, oldest first.
  returned: failure
  type: list
  elements: str
"""

import getpass
import os
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tossable.fleet.plugins.module_utils import artifact_build
from ansible_collections.tossable.fleet.plugins.module_utils.artifact import Request
from ansible_collections.tossable.fleet.plugins.module_utils.host.manifest import ArtifactError, parse_migrations

SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": ["built", "verified"], "default": "built"},
    "app": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "source": {"type": "path"},
    "commit": {"type": "str"},
    "commands": {"type": "list", "elements": "str", "default": []},
    "output": {"type": "str", "default": "."},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "hooks": {"type": "dict", "default": {}},
    "migrations": {"type": "list", "elements": "dict", "default": []},
    "processes": {"type": "list", "elements": "str"},
    "built_by": {"type": "str"},
    "signing_key": {"type": "path", "no_log": False},
    "log": {"type": "path"},
    "allowed_signers": {
        "type": "list",
        "elements": "dict",
        "options": {
            "principal": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": False},
        },
    },
    "manifest_only": {"type": "bool", "default": False},
}


def request_from(params: dict[str, Any]) -> Request:
    """The build request that the module's parameters ask for; raises ArtifactError."""
    hooks = {}
    for name, argv in params["hooks"].items():
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ArtifactError(f"the hook {name} is {argv!r}, expected a list of words like [python3, -m, compileall, -q, .]")
        hooks[name] = tuple(argv)
    return Request(
        app=params["app"],
        version=params["version"],
        source=params["source"],
        processes=tuple(params["processes"]),
        commit=params["commit"] or None,
        commands=tuple(params["commands"]),
        output=params["output"],
        hooks=hooks,
        migrations=parse_migrations(params["migrations"]),
        exclude=tuple(params["exclude"]),
        built_by=params["built_by"] or f"{getpass.getuser()}@{socket.gethostname()}",
    )


def diff_of(result: dict[str, Any]) -> dict[str, Any]:
    """What --diff shows: the artifact as it appears, or its new signature."""
    if not result["changed"]:
        return {"before": {}, "after": {}}
    if result["existed"]:
        return {"before": {"signature": "by another key, or none"}, "after": {"signature": "by the signing key"}}
    return {"before": {}, "after": result["artifact"]}


def main() -> None:
    """Build or verify."""
    module = AnsibleModule(
        argument_spec=SPEC,
        supports_check_mode=True,
        required_if=[
            ("state", "built", ("source", "processes", "signing_key")),
            ("state", "verified", ("allowed_signers",)),
        ],
    )
    params = module.params
    try:
        if params["state"] == "built":
            request = request_from(params)
            result = artifact_build.build(request, params["path"], params["signing_key"], params["log"], module.check_mode)
            result["diff"] = diff_of(result)
        else:
            app, version, signers = params["app"], params["version"], params["allowed_signers"]
            result = artifact_build.verify(params["path"], app, version, signers, params["manifest_only"])
    except ArtifactError as error:
        module.fail_json(msg=error.message, evidence=error.evidence)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or os.path.abspath(params['path'])}: {error.strerror}")
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
