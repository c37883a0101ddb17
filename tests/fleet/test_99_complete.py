"""Nothing was left out: every case that was collected ran, and none of those that the code lists was lost on the way there."""

from __future__ import annotations

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import journal
from conftest import RAN, TORTURE
from test_07_killed import BACK, FORWARD, going_back, moments
from test_11_migrations import migrating
from test_20_bad_releases import BAD, HELD
from test_21_scenes import SCENES

#: The cases that are functions of their own (test_22_two_balancers.py).
SINGLE = 3


@pytest.mark.complete
@pytest.mark.skipif(not TORTURE, reason="a sample was asked for: make torture-release runs all")
def test_as_many_cases_ran_as_the_code_lists() -> None:
    killed = [*moments(FORWARD[0]), *moments(BACK[0]), *going_back(), *migrating()]
    listed = len(killed) + 2 * len(journal.STEPS) + len(journal.BACK_STEPS) + len(BAD) + len(HELD) + len(SCENES) + SINGLE
    assert len(set(RAN)) == len(RAN) == listed
    assert listed > 170
