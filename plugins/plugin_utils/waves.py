# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the words of `rollout_waves` to numbers of hosts. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_PERCENT = re.compile(r"(100|[1-9]?[0-9])%")


def sizes(waves: Sequence[int | str], hosts: int, name: str = "rollout_waves") -> list[int]:
    """Numbers of hosts, wave by wave, that together are all ``hosts``.

    A wave is a number of hosts, or a share of the whole fleet such as ``25%`` (rounded down, at least one host), as in Ansible's
    `serial`; the last one takes at most what is left. Raises ValueError, in words for an operator who set ``name``, where a wave is
    neither, or where hosts would be left over.
    """
    if not isinstance(waves, Sequence) or isinstance(waves, str) or not waves:
        raise ValueError(f"{name} is {waves!r}, expected a list such as [1, '25%', '100%']")
    left, found = hosts, []
    for wave in waves:
        size = min(_size(wave, hosts, name), left)
        if size:
            found.append(size)
        left -= size
    if left:
        raise ValueError(
            f"{name} {list(waves)!r} leaves {left} of {hosts} hosts on the old release. End the list with '100%', the hosts that are left by then"
        )
    return found


def failure_budget(words: int | str, hosts: int) -> int:
    """How many of the fleet's ``hosts`` may be dead without stopping a run: a number, or a share such as ``10%`` (rounded down).

    Raises ValueError, in words, where it is neither.
    """
    return _count(words, hosts, "rollout_failure_budget", "10%")


def spread(sizes: Sequence[int], hosts: Sequence[str], absent: Collection[str]) -> list[int]:
    """The same waves, of the hosts that take part, as numbers of all ``hosts`` in this order: those that are ``absent`` lie in between.

    Ansible cuts all hosts of a play into waves, also those that are left out.
    """
    found, left = [], list(sizes)
    size = taken = 0
    for host in hosts:
        if host not in absent:
            if taken == left[0]:
                found.append(size)
                left, size, taken = left[1:], 0, 0
            taken += 1
        size += 1
    return [*found, size] if size else found


def healthy(min_healthy: int | str, hosts: int) -> int:
    """How many of the fleet's ``hosts`` stay in service: a number, or a share such as ``50%`` (rounded down).

    Raises ValueError, in words, where it is neither.
    """
    return _count(min_healthy, hosts, "rollout_min_healthy", "50%")


def capacity(min_healthy: int | str, hosts: int, serving: int) -> int:
    """How many hosts may leave at a time, at least one, where ``serving`` of the fleet's ``hosts`` are in service now.

    ``min_healthy`` is the number that stay in service, or a share of the fleet such as ``50%`` (rounded down). A fleet where nothing is
    in service has nothing to lose. Raises ValueError, in words, where it is neither, or where no host may leave.
    """
    kept = healthy(min_healthy, hosts)
    if serving == 0:
        return hosts
    if kept >= serving:
        raise ValueError(
            f"{serving} of {hosts} hosts are in service, and rollout_min_healthy {min_healthy!r} keeps {kept} of them there, so none may switch. "
            "Bring hosts back or add some (status.yml shows them), or lower it"
        )
    return serving - kept


def split(sizes: Sequence[int], most: int) -> list[int]:
    """The same hosts in the same order, in waves of at most ``most``."""
    return [min(most, size - done) for size in sizes for done in range(0, size, most)]


def _count(words: int | str, hosts: int, name: str, example: str) -> int:
    """A number of hosts, or a share of them rounded down."""
    if isinstance(words, str) and words.isdigit():
        words = int(words)
    if isinstance(words, int) and not isinstance(words, bool) and words >= 0:
        return words
    if isinstance(words, str) and (found := _PERCENT.fullmatch(words.strip())):
        return hosts * int(found[1]) // 100
    raise ValueError(f"{name} is {words!r}, expected a number of hosts or a share such as '{example}'")


def _size(wave: int | str, hosts: int, name: str) -> int:
    if isinstance(wave, str) and wave.isdigit():
        wave = int(wave)
    if isinstance(wave, int) and not isinstance(wave, bool) and wave > 0:
        return wave
    if isinstance(wave, str) and (found := _PERCENT.fullmatch(wave.strip())) and found[1] != "0":
        return max(1, hosts * int(found[1]) // 100)
    raise ValueError(f"{name} holds {wave!r}, expected a number of hosts above 0 or a share such as '25%'")
