# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do, decided apart from doing it: state and wish in, plan out. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .errors import HostError
from .journal import Flight, HostState


class Mend(NamedTuple):
    """What a transaction that was cut short needs: ``forward`` to be finished, else the host goes back to ``release``.

    ``release`` is None when there is nothing to go back to: the application is then stopped. ``configuration`` is the one that the
    release runs with, None where the journal does not know.
    """

    forward: bool
    release: str | None
    configuration: str | None = None


def mend(flight: Flight | None) -> Mend | None:
    """A release that had proved healthy is kept; anything earlier is taken back, and so is what was on its way back already."""
    if flight is None:
        return None
    if flight.step == "ready" and not flight.reverting:
        return Mend(True, flight.release, flight.configuration)
    return Mend(False, flight.previous, flight.previous_configuration)


def rollback_target(state: HostState, wanted: str | None) -> str:
    """The release a rollback goes to: the one named, else the last good one before the live one."""
    if wanted is None:
        if state.previous is None:
            raise HostError(
                f"There is no release to go back to: {state.live or 'nothing'} is the only one this host ever ran well. "
                "Deploy the wanted version with deploy.yml -e version=... instead."
            )
        return state.previous
    if wanted not in state.staged:
        raise HostError(
            f"{wanted} is not on this host (there are: {', '.join(state.staged) or 'none'}). Deploy it with deploy.yml -e version=... instead."
        )
    return wanted


def to_prune(state: HostState, keep: int) -> list[str]:
    """Releases to remove so that ``keep`` stay, bad ones before good ones, oldest first; the live one and the one before it always stay.

    Age is the order in which they were last staged or became live, as the journal tells it, never a file's time.
    """
    protected = {state.live, state.previous}
    if state.flight:
        protected |= {state.flight.release, state.flight.previous}
    candidates = sorted((name for name in state.staged if name not in protected), key=lambda name: name not in state.bad)
    surplus = len(state.staged) - max(keep, 1)
    return candidates[: max(surplus, 0)]


def configurations_to_prune(state: HostState, kept: Iterable[str], in_force: str | None) -> list[str]:
    """Of the configurations that are kept those that no release on the host ran with, that are not in force, and that were not the last before."""
    needed = {in_force, *state.configurations.values(), (state.live_record or {}).get("previous_configuration")}
    if state.flight:
        needed |= {state.flight.configuration, state.flight.previous_configuration}
    return sorted(name for name in kept if name not in needed)


def drift(state: HostState, link: str | None, broken: Sequence[str], units: Sequence[str]) -> list[str]:
    """Where the host differs from what its journal says, in words; empty when it does not.

    ``link`` is what `current` points to, ``broken`` the files that differ from the manifest, ``units`` troubles of the processes.
    """
    found = []
    if link != state.live:
        found.append(f"current points to {link or 'nothing'}, the journal says {state.live or 'nothing'}")
    if state.flight:
        found.append(f"an unfinished {state.flight.transaction} stopped before {state.flight.step}")
    if broken:
        found.append(f"{len(broken)} files differ from the manifest, first {broken[0]}")
    return [*found, *units]


def configuration_drift(recorded: str | None, in_force: str | None) -> list[str]:
    """Whether the configuration in force is another one than the journal says, in words; nothing where the journal does not know."""
    if recorded is None or recorded == in_force:
        return []
    return [f"the environment in force is {in_force or 'missing'}, the journal says {recorded}"]
