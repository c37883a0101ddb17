# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that was healthy once is looked at again: what counts as staying so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host.watch import BETWEEN_SECONDS, hold


class Host:
    """An application whose health is a function of the seconds since the first look, on a clock of its own."""

    def __init__(self, good: Callable[[float], bool], dead: Callable[[float], str | None] = lambda _: None) -> None:
        self.now = 1000.0
        self.asked: list[float] = []
        self.good = good
        self.dead = dead

    def hold(self, seconds: float) -> str | None:
        """Watch it."""

        def ask() -> tuple[bool, str]:
            self.asked.append(self.now - 1000.0)
            good = self.good(self.now - 1000.0)
            return good, "200 ready" if good else "503 not ready"

        def pause(length: float) -> None:
            assert length > 0
            self.now += length

        return hold(ask, lambda: self.dead(self.now - 1000.0), seconds, lambda: self.now, pause)


def test_a_healthy_release_is_watched_to_the_end_and_not_longer() -> None:
    host = Host(lambda _: True)
    assert host.hold(5) is None
    assert host.now == 1005.0
    assert len(host.asked) == 5 / BETWEEN_SECONDS + 1


def test_no_seconds_are_one_look() -> None:
    host = Host(lambda _: True)
    assert host.hold(0) is None
    assert host.asked == [0.0]


def test_health_that_holds_for_three_seconds_only_is_refused_soon_after() -> None:
    host = Host(lambda at: at < 3)
    trouble = host.hold(5)
    assert trouble is not None
    assert "503 not ready" in trouble
    assert host.asked[-1] <= 3 + 2 * BETWEEN_SECONDS


@pytest.mark.parametrize("period", [0.5, 1.0, 2.0])
def test_health_that_flaps_is_refused(period: float) -> None:
    assert Host(lambda at: at % (2 * period) < period).hold(5)


def test_one_bad_answer_is_a_busy_host_only() -> None:
    assert Host(lambda at: at != 2.0).hold(5) is None


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_a_bad_answer_at_the_end_is_asked_for_again(seconds: float) -> None:
    assert Host(lambda at: at != seconds).hold(seconds) is None
    assert Host(lambda at: at < seconds).hold(seconds)


def test_a_process_that_ended_is_named_at_once() -> None:
    host = Host(lambda _: True, lambda at: "web.service ended by itself" if at >= 2 else None)
    assert host.hold(5) == "web.service ended by itself"
    assert host.now == 1002.0
