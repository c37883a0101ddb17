# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A transaction: leave the load balancers, switch, restart, be healthy, return; or put back what was there.

Each step is journalled before it is done. Whoever finds the journal later (``mend``) finishes the transaction or takes it back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import balancer, configuration, fence, health, journal, plan, room, system
from .config import Config
from .errors import HostError
from .journal import HostState

#: Seconds that every load balancer has to take a word; it asks five times a second.
TAKEN_SECONDS = 5.0
#: Steps at which the processes that run are the right ones: before the switch, and once the new release, or the one put back, has proved healthy.
UNTOUCHED = ("begin", "drain", "maint", "ready")
#: Seconds that a transaction waits for another one on the same host to end.
LOCK_SECONDS = 120.0


class Request(NamedTuple):
    """What the controller asks for.

    ``kind`` is activate, rollback, restart or retire; ``release`` a release id (``<version>-<digest8>``) or, for a rollback,
    None for the last good one; ``run`` names the deployment, ``by`` who ordered it, ``reason`` why. ``blame`` is false where the
    release that is left is not the cause: then it stays one that may be deployed. ``token`` is the deployment lock's fencing token, None
    where the fleet has no lock. ``configuration`` is for a restart: ``wanted``, or ``kept`` for the one that the live release has. ``fall_back`` is
    false where a host may only serve with ``release``: if that fails it stays out of the load balancers, whatever is put back.
    """

    kind: str
    release: str | None
    run: str
    by: str
    reason: str
    blame: bool = True
    token: int | None = None
    configuration: str = "wanted"
    fall_back: bool = True


class Work:
    """One transaction under way: its record in the journal and its seconds, step by step.

    ``pair`` holds the configurations, by digest, of the release and of the one that was live before; None where there is none.
    """

    def __init__(
        self, config: Config, request: Request, release: str, previous: str | None, pair: tuple[str | None, str | None] = (None, None)
    ) -> None:
        self.config = config
        self.release = release
        self.previous = previous
        self.configuration, self.previous_configuration = pair
        self.fall_back = request.fall_back
        self.steps: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.began = time.time()
        self._base = {
            "transaction": f"{request.run}-{request.kind}-{release}",
            "kind": request.kind,
            "release": release,
            "previous": previous,
            "configuration": self.configuration,
            "previous_configuration": self.previous_configuration,
            "run": request.run,
            "by": request.by,
            "reason": request.reason,
            "blame": request.blame,
        }

    def record(self, step: str, **more: Any) -> None:
        """Journal a step that is about to be done, or the end."""
        journal.append(self.config.journal, {**self._base, "step": step, **more})

    @contextlib.contextmanager
    def step(self, name: str, **more: Any) -> Iterator[None]:
        """Journal the step, do it, take its seconds."""
        self.record(name, **more)
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps.append({"step": name, "seconds": round(time.monotonic() - began, 3)})

    def result(self, changed: bool) -> dict[str, Any]:
        """What the controller is told."""
        return {
            "changed": changed,
            "release": self.release,
            "previous": self.previous,
            "configuration": self.configuration,
            "steps": self.steps,
            "seconds": round(time.time() - self.began, 3),
            "notes": self.notes,
        }


def perform(config: Config, request: Request) -> dict[str, Any]:
    """Do what is asked, once: asked again after it was done, it changes nothing. Raises HostError with the evidence."""
    room.hold(config.state_dir)
    with system.host_lock(f"{config.state_dir}/lock", LOCK_SECONDS):
        fence.admit(config, request.token, request.run)
        state = settle(config)
        if request.kind == "retire" and state.live is None:
            return Work(config, request, "", None).result(changed=False)
        release = _wanted_release(config, state, request)
        wanted, before, notes = _configurations(config, state, request, release)
        if request.kind != "restart" and _holds(config, state, request.kind, release, wanted):
            return Work(config, request, release, state.previous, (wanted, before)).result(changed=False)
        work = Work(config, request, release, state.live, (wanted, before))
        work.notes += notes
        work.record("begin")
        _leave(work)
        if request.kind == "retire":
            return _retire(work)
        _switch(work)
        if config.etc:
            configuration.unmark(config, work.configuration, request.kind == "rollback", work.began)
        _prune(config)
        journal.rotate(config.journal)
        return work.result(changed=True)


def settle(config: Config) -> HostState:
    """Read the journal; a transaction that was cut short is finished or taken back, as far as the links go."""
    state = journal.fold(journal.read(config.journal))
    mend = plan.mend(state.flight)
    if mend is None or state.flight is None:
        return state
    if mend.release is None:
        system.remove_link(config.current)
    else:
        _point(config, mend.release, mend.configuration)
    last = [record for record in journal.read(config.journal) if record.get("transaction") == state.flight.transaction][-1]
    ended = {key: value for key, value in last.items() if key not in ("at", "step")}
    journal.append(config.journal, {**ended, "step": "done" if mend.forward else "reverted", "mended": True})
    return journal.fold(journal.read(config.journal))


def _wanted_release(config: Config, state: HostState, request: Request) -> str:
    release = request.release
    if request.kind == "rollback":
        release = plan.rollback_target(state, release)
    elif request.kind in ("restart", "retire"):
        release = state.live
    if release is None:
        raise HostError(
            f"No release of {config.app} is live on this host, so there is nothing to {request.kind}. Deploy one with deploy.yml -e version=..."
        )
    if not os.path.isfile(f"{config.releases}/{release}/.tossable/manifest.json"):
        raise HostError(
            f"{release} is not staged on this host ({config.releases}/{release} is missing or incomplete). Run deploy.yml with its version again."
        )
    return release


def _configurations(config: Config, state: HostState, request: Request, release: str) -> tuple[str | None, str | None, list[str]]:
    """The configuration that the release is to run with, the one to return to, and what there is to note.

    A rollback brings back what the release ran with; everything else goes forward to what the role wrote last.
    """
    if not config.etc or request.kind == "retire":
        return None, None, []
    configuration.take_over(config)
    before = state.configuration if state.configuration and configuration.there(config, state.configuration) else configuration.in_force(config)
    if request.kind != "rollback" and (request.kind, request.configuration) != ("restart", "kept"):
        return configuration.keep_wanted(config), before, []
    known = _left_in_this_run(state, request) or before if release == state.live else state.configurations.get(release)
    if known and configuration.there(config, known):
        return known, before, []
    why = f"its configuration {known} is gone from {config.configurations}" if known else "the journal does not say with which one it ran"
    return configuration.keep_wanted(config), before, [f"{release} runs with the configuration that is wanted now: {why}"]


def _left_in_this_run(state: HostState, request: Request) -> str | None:
    """The configuration that this run took the live release away from, where it changed nothing else: going back means going back to that."""
    last = state.live_record or {}
    took = last.get("kind") == "activate" and last.get("run") == request.run and last.get("previous") == last.get("release")
    return last.get("previous_configuration") if took else None


def _point(config: Config, release: str, name: str | None) -> None:
    """Both links, the configuration first. A kill between them is put right by `settle`, which finds both in the journal."""
    configuration.put(config, name)
    system.point_link(config.current, f"releases/{release}")


def _holds(config: Config, state: HostState, kind: str, release: str, wanted: str | None) -> bool:
    """Whether the host already is as asked: journal, links, processes and the word for the balancers."""
    if kind == "retire" or state.live != release or system.read_link(config.current) != release:
        return False
    if wanted and (configuration.in_force(config) != wanted or state.configuration not in (None, wanted)):
        return False
    if health.process_trouble(config, release):
        return False
    return config.drain is None or balancer.read_word(config.drain.state_file) == "ready"


def _leave(work: Work) -> None:
    """Out of every load balancer, and no request left that is being answered; raises, with the word from before, where that fails."""
    drain = work.config.drain
    if drain is None:
        return
    before = balancer.read_word(drain.state_file)
    try:
        with work.step("drain"):
            _tell("drain", drain)
            balancer.wait_quiet(drain, drain.timeout_seconds)
        # Looked at again after the last word: a balancer that reloaded in between may have forgotten the first one for a moment.
        with work.step("maint"):
            _tell("maint", drain)
            quiet = balancer.wait_quiet(drain, 1.0)
    except HostError as error:
        balancer.announce(before, drain)
        work.record("abandoned", error=error.message)
        raise
    if not quiet.complete:
        work.notes.append(f"connections from {_peers(quiet.left)} were still open after {drain.timeout_seconds:g} s of draining")


def _tell(word: str, drain: balancer.Drain) -> balancer.Taken:
    """Announce the word and wait until every load balancer that is alive has taken it."""
    taken = balancer.wait_taken(word, drain, balancer.announce(word, drain), TAKEN_SECONDS)
    if not taken.agent:
        raise HostError(
            f"The load balancer agent of this host does not answer on port {drain.agent_port}, so no load balancer can learn that the host leaves. "
            "Look at its unit (systemctl status <app>-agent.socket <app>-agent.service), or run site.yml for this host."
        )
    if taken.missing:
        raise HostError(
            f"Load balancer {', '.join(taken.missing)} asks this host's agent but did not take the word {word} within {TAKEN_SECONDS:g} s. "
            "Look at that load balancer (systemctl status haproxy) before you try again."
        )
    return taken


def _peers(left: dict[str, int]) -> str:
    return ", ".join(f"{peer} ({count})" for peer, count in sorted(left.items()))


def _return(work: Work) -> None:
    """Back into every load balancer; the release serves, so a balancer that is silent is a note, not a failure."""
    drain = work.config.drain
    if drain is None:
        return
    with work.step("ready"):
        try:
            _tell("ready", drain)
        except HostError as error:
            work.notes.append(error.message)


def _switch(work: Work) -> None:
    """Run the wanted release; where it does not become healthy, put the previous one back and raise."""
    try:
        _run_release(work)
    except HostError as error:
        _put_back(work, error)
    _return(work)
    work.record("done", seconds=round(time.time() - work.began, 3))


def _run_release(work: Work) -> None:
    config = work.config
    with work.step("switch"):
        _point(config, work.release, work.configuration)
    with work.step("restart"):
        _restart(config)
    with work.step("healthy"):
        trouble = _wait_fit(config, work.release, just_started=True)
    if trouble:
        raise HostError(trouble, system.last_log_lines(config.units, work.began))


def _wait_fit(config: Config, release: str, just_started: bool = False) -> str | None:
    def alive() -> str | None:
        return health.process_trouble(config, release, just_started)

    return health.wait_healthy(config.health, alive) if config.health else alive()


def _put_back(work: Work, error: HostError) -> None:
    """Return to the previous release and its configuration, or to nothing on a host that had none; always raises."""
    same, other = work.previous == work.release, work.previous_configuration not in (None, work.configuration)
    what = f"{work.release} did not become healthy{' with another configuration' if same and other else ''}: {error.message.rstrip('.')}"
    if work.previous is None or (same and not other):
        ended, evidence = "There is no previous release to put back: the application is stopped and out of the load balancers", error.evidence
        with work.step("revert", error=error.message):
            try:
                _stop(work.config, keep_link=work.previous is not None)
            except HostError as refused:
                ended = f"There is no previous release to put back, and this one is not stopped ({refused.message.rstrip('.')})"
                evidence = [*evidence, *refused.evidence]
        work.record("failed", error=error.message)
        raise HostError(f"{what}. {ended}.", evidence)
    with work.step("revert", error=error.message):
        _restore(work, work.previous, what, error)
    if work.fall_back:
        _return(work)
    work.record("reverted", error=error.message)
    if not work.fall_back:
        raise HostError(f"{what}. The previous release {work.previous} runs again, and the host stays out of the load balancers.", error.evidence)
    back = "The configuration that it had is back, and it is serving" if same else f"The previous release {work.previous} is back and serving"
    raise HostError(f"{what}. {back}.", error.evidence)


def _restore(work: Work, previous: str, what: str, error: HostError) -> None:
    config = work.config
    said: list[str] = []
    _point(config, previous, work.previous_configuration)
    try:
        _restart(config)
        trouble = _wait_fit(config, previous, just_started=True)
    except HostError as refused:
        trouble, said = refused.message.rstrip("."), refused.evidence
    if trouble:
        work.record("failed", error=error.message)
        raise HostError(
            f"{what}. The previous release {previous} was put back and is not healthy either ({trouble}): the host stays out of the load balancers.",
            [*error.evidence, *said, *system.last_log_lines(config.units, work.began)],
        )


def _restart(config: Config) -> None:
    system.systemctl("reset-failed", config.units)
    system.systemctl("restart", config.units, stop_seconds=config.stop_timeout_seconds)


def _retire(work: Work) -> dict[str, Any]:
    with work.step("switch"):
        _stop(work.config, keep_link=False)
    work.record("done")
    return work.result(changed=True)


def _stop(config: Config, keep_link: bool) -> None:
    system.systemctl("stop", config.units, stop_seconds=config.stop_timeout_seconds)
    if not keep_link:
        system.remove_link(config.current)


def _prune(config: Config) -> list[str]:
    """Remove the releases that are too many, and configurations that none needs; journalled first, so that a half-removed one is never a target."""
    surplus = plan.to_prune(journal.fold(journal.read(config.journal)), config.keep_releases)
    for release in surplus:
        _remove(config, release)
    if config.etc:
        configuration.prune(config, journal.fold(journal.read(config.journal)))
    return surplus


def _remove(config: Config, release: str, **why: str) -> None:
    journal.append(config.journal, {"kind": "prune", "step": "remove", "release": release, **why})
    shutil.rmtree(f"{config.releases}/{release}", ignore_errors=True)


def give_up(config: Config, release: str, run: str, by: str, reason: str, token: int | None = None) -> dict[str, Any]:
    """Remove a release that nobody is to go back to any more, whatever the number to keep; the live one stays."""
    with system.host_lock(f"{config.state_dir}/lock", LOCK_SECONDS):
        fence.admit(config, token, run)
        state = settle(config)
        if release == state.live:
            raise HostError(f"{release} is live on this host, so it cannot be given up. Deploy another version first.")
        there = release in state.staged
        if there:
            _remove(config, release, run=run, by=by, reason=reason)
    return {"changed": there, "removed": [release] if there else []}


def prune(config: Config) -> dict[str, Any]:
    """Remove the releases that are too many, outside of a deployment."""
    with system.host_lock(f"{config.state_dir}/lock", LOCK_SECONDS):
        removed = _prune(config)
    return {"changed": bool(removed), "removed": removed}


def leave(config: Config) -> dict[str, Any]:
    """Take the host out of the load balancers and keep it out until `enter` or a reboot (the machine is about to go).

    Raises, with everything as it was before, where that fails.
    """
    with system.host_lock(f"{config.state_dir}/lock", LOCK_SECONDS):
        returning = [f"{config.app}-return.service"]
        going = any(status.active == "activating" for status in system.unit_status(returning).values())
        system.systemctl("stop", returning)
        if config.drain is None or (before := balancer.read_word(config.drain.state_file)) == "maint":
            return {"changed": False}
        try:
            _tell("drain", config.drain)
            balancer.wait_quiet(config.drain, config.drain.timeout_seconds)
            _tell("maint", config.drain)
            quiet = balancer.wait_quiet(config.drain, 1.0)
        except HostError:
            balancer.announce(before, config.drain)
            if going:
                system.systemctl("start", returning, "--no-block")
            raise
        notes = [] if quiet.complete else [f"connections from {_peers(quiet.left)} were still open"]
        return {"changed": True, "notes": notes}


def enter(config: Config) -> dict[str, Any]:
    """Put the host into the load balancers once its live release answers; used at boot and after `leave`."""
    with system.host_lock(f"{config.state_dir}/lock", LOCK_SECONDS):
        state = settle(config)
        if state.live is None:
            return {"changed": False, "notes": [f"no release of {config.app} is live on this host yet"]}
        if trouble := _wait_fit(config, state.live):
            raise HostError(f"{state.live} is not fit to serve: {trouble}", system.last_log_lines(config.units, time.time() - 300))
        if config.drain is None or balancer.read_word(config.drain.state_file) == "ready":
            return {"changed": False}
        _tell("ready", config.drain)
        return {"changed": True}


def repair(config: Config) -> dict[str, Any]:
    """Finish or take back what was cut short, then have systemd bring the processes up and the host back.

    Runs before the processes at boot, and whenever a transaction's own unit failed. Where another transaction is at work there is
    nothing to wait for: it has settled what it found, and systemd starts the processes that it restarts only after this unit.
    """
    with contextlib.suppress(system.LockedError), system.host_lock(f"{config.state_dir}/lock", 0):
        flight = journal.fold(journal.read(config.journal)).flight
        if flight is None:
            return {"changed": False}
        state = settle(config)
        if state.live is None:
            system.systemctl("stop", config.units, "--no-block")
        else:
            # Processes that the transaction had not touched, or had proved healthy, go on: they may still be answering requests.
            units = () if flight.step in UNTOUCHED else config.units
            system.systemctl("restart", [*units, f"{config.app}-return.service"], "--no-block")
        return {"changed": True, "release": state.live, "stopped_before": flight.step}
    return {"changed": False, "notes": ["another transaction works on this host"]}
