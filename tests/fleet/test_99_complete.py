"""Nothing was left out: as many cases ran as the code lists."""

from __future__ import annotations

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal
from conftest import RAN, TORTURE
from test_07_killed import BACK, FORWARD, moments
from test_20_bad_releases import BAD, HELD
from test_21_scenes import SCENES


@pytest.mark.skipif(not TORTURE, reason="a sample was asked for: make torture-release runs all")
def test_as_many_cases_ran_as_the_code_lists() -> None:
    listed = len(moments(FORWARD[0])) + len(moments(BACK[0])) + 2 * len(journal.STEPS) + len(BAD) + len(HELD) + len(SCENES)
    assert len(set(RAN)) == len(RAN) == listed
    assert listed > 80
