"""Whoever has an account is shown with it; nobody else can be."""

from __future__ import annotations

from typing import Any

import pytest
from irc_client import Client


def shown(address: str, nick: str, user: str, password: str = "") -> str:
    with Client(address, nick, user, password) as somebody:
        somebody.join("#ops")
        somebody.send(f"WHO {nick}")
        # :server 352 asker channel user host server nick ...
        return somebody.wait(r" 352 ").split()[4]


@pytest.fixture
def address(host: Any) -> str:
    return str(host.backend.hostname)


def test_an_account_is_shown_by_its_name(address: str) -> None:
    assert shown(address, "somenick", "ada", "correct-horse") == "ada"


def test_who_does_not_log_in_has_a_tilde(address: str) -> None:
    assert shown(address, "ada", "ada") == "~ada"


def test_a_wrong_password_is_refused(address: str) -> None:
    with pytest.raises(AssertionError, match=r"closed the connection|Bad password"), Client(address, "wrong", "ada", "wrong") as somebody:
        somebody.wait(r" 001 ")


def test_passwords_are_nowhere_in_the_clear(host: Any) -> None:
    assert host.file("/etc/ngircd/tossable-accounts.json").mode == 0o640
    assert host.run("grep -r 'correct-horse' /etc").rc == 1
