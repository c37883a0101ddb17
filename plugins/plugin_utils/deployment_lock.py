# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployment lock as the controller sees it: who this run is, whether a holder is dead, and what an operator is told.

A *lock* is what a run carries with it, a dict: ``app``, ``environment``, ``run``, ``token``, ``held``, ``deadline`` (seconds since the
controller's boot, `uptime`) and ``said``, why it is not held. An *answer* is what `module_utils/host/lease_file.perform` returned.
"""

from __future__ import annotations

import multiprocessing
import os
import pwd
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.tossable.fleet.plugins.module_utils.host.lease import Owner, same_place

#: Place of a process's start in /proc/<pid>/stat, counted after the command's closing parenthesis, where the state is 0 (proc(5): field 22).
_START_FIELD = 19


def new_run() -> str:
    """An id for a run, its time (UTC) first."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def uptime() -> float:
    """Seconds since the controller's boot, those that it slept counted: a closed lid prolongs no lease."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def account() -> str:
    """Login name of whoever runs Ansible, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def somebody(by: str | None) -> str:
    """Who orders the run: as told, else account and host name."""
    return by or f"{account()}@{socket.gethostname()}"


def owner(run: str, by: str | None, reason: str, what: str) -> Owner:
    """This run, as the lock names it; the process is ansible-playbook itself, not the worker that asks."""
    parent = multiprocessing.parent_process()
    pid = (parent.pid if parent else None) or os.getpid()
    boot, namespace = _text("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")
    return Owner(run, somebody(by), reason, what, account(), socket.gethostname(), boot, namespace, pid, process_start(pid) or 0)


def orphaned() -> bool:
    """Whether this is a worker whose ansible-playbook is gone: workers are sessions of their own and outlive it, up to the end of their task."""
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


def process_start(pid: int) -> int | None:
    """When the process started (clock ticks since boot), None where there is none or where it has ended and only waits to be reaped."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) <= _START_FIELD or fields[0] in "ZXx":
        return None
    return int(fields[_START_FIELD])


def is_dead(holder: Owner, me: Owner, started: int | None) -> bool:
    """Whether the holder's process is known to be gone; ``started`` is what `process_start` says of its pid now.

    Only the same account on the same controller can know: anybody else has to wait until the lease has run out.
    """
    return same_place(holder, me) and holder.started != 0 and started != holder.started


def carried(app: str, environment: str, run: str, answer: Mapping[str, Any], asked: float) -> dict[str, Any]:
    """The lock of this run, granted by ``answer``; ``asked`` is `uptime` before the question, so that the deadline is never too late."""
    deadline = asked + answer["lease"]["seconds"]
    return {"app": app, "environment": environment, "run": run, "token": answer["token"], "held": True, "deadline": deadline, "said": ""}


def took_over(answer: Mapping[str, Any]) -> str:
    """The dead run that ``answer`` took the lock over from, else empty."""
    last = answer["last"] or {}
    return str(last["from"]["run"]) if last.get("event") == "taken over" and last["token"] == answer["token"] else ""


def continues(answer: Mapping[str, Any], what: str) -> str:
    """The same, where that run was about the same (``what``): this one goes on with its work."""
    return took_over(answer) if ((answer["last"] or {}).get("from") or {}).get("what") == what else ""


def unfinished(answer: Mapping[str, Any], what: str) -> list[str]:
    """The runs that were cut short and were about the same (``what``), one after the other, the newest first: they died, or their lock was broken."""
    found, lost = [], answer["last"]["from"] if took_over(answer) or broken(answer) else None
    while lost and lost.get("what") == what:
        found.append(str(lost["run"]))
        lost = lost.get("from")
    return found


def broken(answer: Mapping[str, Any]) -> dict[str, str] | None:
    """Who broke the lock just before ``answer`` granted it, why, and whose run had it (``by``, ``reason``, ``run``); None where nobody did."""
    last = answer["last"] or {}
    if last.get("event") != "broken" or last["token"] != answer["token"] - 1:
        return None
    return {"by": str(last["by"]), "reason": str(last["reason"]), "run": str(last["from"]["run"])}


def lost(lock: Mapping[str, Any], said: str) -> dict[str, Any]:
    """The lock of this run once it has been lost."""
    return {**lock, "held": False, "said": said}


def trouble(lock: Mapping[str, Any], now: float) -> str | None:
    """Why nothing may be done under this lock at `uptime` ``now``; None while it holds."""
    if not lock["held"]:
        return str(lock["said"])
    if now < lock["deadline"]:
        return None
    return (
        f"The lease of this run ({lock['run']}) ran out {now - lock['deadline']:.0f} s ago: the controller slept, was stopped, or a step took longer "
        f"than rollout_lock_seconds. {_DECIDES}"
    )


_DECIDES = (
    "This run touches nothing any more and takes nothing back: see with playbooks/status.yml what is live where and who has the lock, "
    "and run deploy.yml or rollback.yml again."
)


def holder_words(lease: Mapping[str, Any]) -> str:
    """Who has the lock, since when and why, in one line."""
    one = lease["owner"]
    why = f", because: {one['reason']}" if one["reason"] else ", no reason given"
    place = f"{one['account']} on {one['controller']}, process {one['pid']}"
    return f"{one['by']} ({place}) since {lease['since']} for {one['what']}{why}; run {one['run']}, until {lease['until']} unless renewed"


def summary(app: str, environment: str, answer: Mapping[str, Any]) -> str:
    """The lock in one line, for the status."""
    head = f"lock of {app} in {environment}:"
    if not answer["lease"]:
        return f"{head} free"
    return f"{head} {holder_words(answer['lease'])}{' (' + answer['said'] + ')' if answer['said'] else ''}"


def refusal(app: str, environment: str, answer: Mapping[str, Any], waited_seconds: int) -> str:
    """Why the run does not get the lock, and what to do."""
    waited = f" Waited {waited_seconds} s." if waited_seconds else ""
    return (
        f"Nothing was changed: another run has the lock of {app} in {environment}: {holder_words(answer['lease'])}.{waited} "
        "Wait for it with -e lock_wait=600. Where that run is dead its lock becomes free by itself at the time named; to break it before: "
        f"ansible-playbook playbooks/unlock.yml -e \"reason='...'\" -e app={app}"
    )


def loss(lock: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """Why the renewal of ``lock`` was refused, who has it now, and what follows."""
    head = f"Run {lock['run']} has lost the lock of {lock['app']} in {lock['environment']}:"
    lease, last = answer["lease"], answer["last"]
    event = f"{last['event']} by {last['by']} at {last['at']}, because: {last['reason']}" if last and last["token"] > lock["token"] else ""
    if lease and answer["token"] != lock["token"]:
        after = f"run {lease['owner']['run']} decides what is live. See playbooks/status.yml."
        return (
            f"{head} {event and event + '. It is held by '}{holder_words(lease)}. This run touches nothing any more and takes nothing back: {after}"
        )
    return f"{head} {event or answer['said'] or 'another run had it since'}. {_DECIDES}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
