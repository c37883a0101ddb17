"""What a host believes of the desired state, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import desired, signed
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from hypothesis import given
from hypothesis import strategies as st

DIGEST = "ab" * 32
GOOD = desired.Desired("shop", "lab", "deploy", "2-abababab", "2", DIGEST, "http://ops:8080/shop/2", "run-2", 7, "2026-01-01T00:00:00Z")


def test_what_was_written_is_read_again() -> None:
    line, signature = signed.split(desired.encode(GOOD) + b"-----BEGIN\nx\n")
    assert desired.parse(line, "shop", "lab") == GOOD
    assert signature == b"-----BEGIN\nx\n"
    assert desired.file_name("lab") == "desired-lab.signed"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("app", "blog", "of the app 'blog', and here it is 'shop'"),
        ("environment", "production", "of the environment 'production'"),
        ("schema", 2, "schema 2"),
        ("kind", "sideways", "sideways"),
        ("release", "3-abababab", "is not version"),
        ("digest", "ab", "is not version"),
        ("version", "../etc", "version"),
        ("url", "file:///etc", "url"),
        ("token", -1, "token"),
        ("token", True, "token"),
        ("token", "7", "token"),
        ("run", None, "no text"),
    ],
)
def test_one_wrong_field_is_enough_to_refuse_it(field: str, value: object, told: str) -> None:
    data = {**json.loads(desired.encode(GOOD)), field: value}
    with pytest.raises(HostError, match=told):
        desired.parse(json.dumps(data).encode(), "shop", "lab")


@pytest.mark.parametrize("field", ["schema", *desired.Desired._fields])
def test_a_missing_field_is_enough_to_refuse_it(field: str) -> None:
    data = {name: value for name, value in json.loads(desired.encode(GOOD)).items() if name != field}
    with pytest.raises(HostError, match=field):
        desired.parse(json.dumps(data).encode(), "shop", "lab")


@given(st.one_of(st.binary(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())))
def test_whatever_lies_there_it_is_refused_in_words(raw: bytes) -> None:
    with pytest.raises(HostError, match="no desired state"):
        desired.parse(signed.split(raw)[0], "shop", "lab")


@pytest.mark.parametrize("live", [None, "1-aa", GOOD.release])
@pytest.mark.parametrize("seen", [6, 7, 8])
def test_a_host_moves_only_to_another_release_and_never_for_an_older_run(live: str | None, seen: int) -> None:
    what = desired.decide(GOOD, live, seen)
    wanted: dict[Any, str] = {(False, False): "move", (False, True): "older"}
    assert what == wanted.get((live in (None, GOOD.release), seen > GOOD.token), "stay")
