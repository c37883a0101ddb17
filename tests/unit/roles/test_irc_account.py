"""A password belongs to one account of the lab's IRC server."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "irc_server" / "files" / "irc_account.py"


def test_a_password_belongs_to_its_account() -> None:
    spec = importlib.util.spec_from_file_location("irc_account", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    accounts = {"ada": hashlib.sha256(b"ada:correct horse").hexdigest()}
    assert program.right(accounts, "ada", "correct horse")
    for name, password in (("ada", "wrong"), ("ada", ""), ("lin", "correct horse"), ("", "")):
        assert not program.right(accounts, name, password)
