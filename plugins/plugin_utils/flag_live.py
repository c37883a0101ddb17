# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which flags are switched, by whom and until when: the live state on the ops host, as it is read, decided and written. Pure functions.

``state.json`` is the truth, with the sha256 of the line that belongs to it; ``flags.json`` is that line. A writer that is killed has either
left the line beside as ``.flags.json.next`` with its digest in the state already (then the next command of either kind puts it in
place), or not (then it takes the line away): nobody was told of it, because hosts get a line only once this has answered.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from . import flag_set, flag_steps
from .flag_publish import FOLDER, LOCK_SECONDS
from .flag_set import Flag, FlagError, State

SCHEMA = 1
_LINES = re.compile(r"tossable-live (\w+) (\d+) ([0-9a-f]{64}|-)\s*\Z")

_HEAD = """\
exec 2>&1
LC_ALL=C; export LC_ALL; umask 022
tell() {{ echo; echo "tossable-live $1 ${{2:-0}} ${{3:--}}"; exit 0; }}
"""
# `digest` and `generation` are the state's. Text in it cannot look like them: its quotes are escaped.
_LOOK = """\
exec 9>>lock
flock -w {seconds} 9 || tell busy
digest= generation=
[ ! -f state.json ] || read -r digest generation <<END
$(sed -n 's/.*"digest":"\\([0-9a-f]\\{{64\\}}\\)",.*"generation":\\([0-9]\\{{1,15\\}}\\),.*/\\1 \\2/p' state.json)
END
if [ -e .flags.json.next ]; then
    case "$(sha256sum <.flags.json.next)" in "$digest  -") mv -fT .flags.json.next flags.json;; *) rm -f .flags.json.next;; esac
fi
"""
_READ = """\
cd {folder} 2>/dev/null || tell read
{look}
for name in state flags; do
    echo "$name:"
    [ ! -f $name.json ] || cat $name.json || tell failed
done
tell read
"""
# All is read before the lock is taken: a controller that is stopped halfway, or whose line is cut, must not keep others from switching.
_SWAP = """\
state=$(head -c {state_length}) && line=$(cat) || tell failed
[ -d {folder} ] || mkdir -p {folder} || tell failed
cd {folder} || tell failed
{look}
[ "${{generation:-0}} ${{digest:--}}" = {expected} ] || tell moved "$generation" "$digest"
{{ printf '%s\\n' "$state" >.state.json.part && printf '%s\\n' "$line" >.flags.json.next; }} || tell failed
sha256sum --check --status <<END || tell failed
{state_digest}  .state.json.part
{flags_digest}  .flags.json.next
END
sync .state.json.part .flags.json.next || tell failed
mv -fT .state.json.part state.json || tell failed
mv -fT .flags.json.next flags.json || tell failed
sync . || tell failed
tell swapped {generation} {flags_digest}
"""


class Live(NamedTuple):
    """The live state. ``overrides``: flag -> ``state``, ``by``, ``at``, ``reason``, ``until``, ``on_behalf_of``, ``account``, and ``rollout``
    while one is under way (see flag_steps); ``changed``: flag -> ``at``, ``by``, ``reason``, ``on_behalf_of``, ``account``; ``digest``: sha256 of
    the published line, empty where nothing was published yet; ``declared``: the states that the flags in ``overrides`` have without their switch, for
    readers that do not see the declarations."""

    environment: str
    generation: int = 0
    overrides: Mapping[str, Mapping[str, Any]] = {}
    changed: Mapping[str, Mapping[str, Any]] = {}
    digest: str = ""
    declared: Mapping[str, State] = {}


class Order(NamedTuple):
    """Who wants it, for whom and why; ``at`` now and ``until`` when, as UTC text (None: for good). ``by`` and ``on_behalf_of`` are what was typed,
    ``account`` is whose controller it is (account@host), which nobody has typed."""

    by: str
    on_behalf_of: str | None
    reason: str
    at: str
    until: str | None = None
    account: str = ""


class Decision(NamedTuple):
    """What is to be live: the state, its line, a row for each flag that was asked for or differs (``flag``, ``before``, ``after``, ``changed``),
    whether anything changes, and why which flags were left as they are."""

    live: Live
    line: bytes
    rows: list[dict[str, Any]]
    changed: bool
    summary: str
    refused: Sequence[str] = ()


def read_command(folder: str = FOLDER) -> str:
    """Shell text that finishes what a killed writer has left, and prints the state and the line."""
    return _HEAD.format() + _READ.format(folder=shlex.quote(folder), look=_LOOK.format(seconds=LOCK_SECONDS))


def swap_command(before: Live, after: Live, line: bytes, folder: str = FOLDER) -> tuple[str, bytes]:
    """Shell text that replaces the live state where it is still ``before``, and what it reads from standard input."""
    state = encode(after)
    text = _SWAP.format(
        folder=shlex.quote(folder),
        look=_LOOK.format(seconds=LOCK_SECONDS),
        expected=shlex.quote(f"{before.generation} {before.digest or '-'}"),
        state_length=len(state),
        state_digest=hashlib.sha256(state).hexdigest(),
        flags_digest=hashlib.sha256(line).hexdigest(),
        generation=after.generation,
    )
    return _HEAD.format() + text, state + line


def encode(live: Live) -> bytes:
    """The bytes of ``state.json``: one line, its keys in order, as the shell looks for them."""
    fields = {"schema": SCHEMA, **live._asdict()}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def parse_read(stdout: str, environment: str) -> tuple[Live, bytes]:
    """The live state and the line as the ops host has them (empty where it has none); raises ValueError in words."""
    word, before = _answer(stdout)
    if word != "read":
        raise ValueError(_said(word, before))
    state, _separator, line = before.partition("flags:\n")
    state = state.partition("state:\n")[2].strip()
    data = line.strip().encode()
    line_found = data + b"\n" if data else b""
    if not state:
        return Live(environment), line_found
    try:
        # One that was kept before this was told of it has no `declared`.
        found = {"declared": {}, **json.loads(state)}
        live = Live(**{name: found[name] for name in Live._fields})
        if found["schema"] != SCHEMA or not isinstance(live.generation, int):
            raise ValueError(f"schema {found['schema']} is not {SCHEMA}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{FOLDER}/state.json is damaged ({type(error).__name__}: {error}): put it back from the backup of the ops host. "
            "Hosts keep the flags that they have"
        ) from None
    if live.environment != environment:
        raise ValueError(
            f"{FOLDER}/state.json is of the environment '{live.environment}', and this inventory is of '{environment}': "
            "check -i, or release_environment and release_store_hosts"
        )
    return live, line_found


def parse_swap(stdout: str) -> bool:
    """Whether the state was replaced; False where somebody else was quicker. Raises ValueError in words."""
    word, before = _answer(stdout)
    if word not in ("swapped", "moved"):
        raise ValueError(_said(word, before))
    return word == "swapped"


def holds(found: Live, decision: Decision) -> bool:
    """Whether a decision was kept: what is live is what was decided, or was made on top of it."""
    marks = {row["flag"]: decision.live.changed.get(row["flag"]) for row in decision.rows if row["changed"]}
    on_top = found.generation > decision.live.generation and all(found.changed.get(flag) == mark for flag, mark in marks.items())
    return found == decision.live or on_top


def _answer(stdout: str) -> tuple[str, str]:
    # A terminal, which ssh has where nothing is piped in, ends lines in its own way.
    stdout = stdout.replace("\r\n", "\n")
    match = _LINES.search(stdout)
    return (match[1], stdout[: match.start()]) if match else ("", stdout)


def _said(word: str, before: str) -> str:
    if word == "busy":
        return f"another change of flags did not end within {LOCK_SECONDS} s (lock {FOLDER}/lock)"
    return f"{FOLDER} could not be read or written: {' '.join(before.split()[-40:]) or 'nothing was printed'}"


def until(text: str, now: datetime, begins: bool = True) -> str | None:
    """An end as typed, a time (UTC where it names no zone), a date, or a span from now such as V(2h), as UTC text; raises ValueError in words.

    One that is over is refused only where something ``begins``: it must not keep a rollout from going back.
    """
    text = text.strip()
    if not text:
        return None
    try:
        if (span := minutes(text)) is not None:
            end = now + timedelta(minutes=span)
        else:
            end = datetime.fromisoformat(text)
            end = end.replace(tzinfo=UTC) if end.tzinfo is None else end
        if end <= now and begins:
            raise ValueError(f"-e ends={text} is over already, it is {utc(now)}")
    except (ValueError, OverflowError) as error:
        if "over already" in str(error):
            raise
        raise ValueError(f"-e ends='{text}' is no time: write 2h, 7d, 2026-12-01 or 2026-12-01T18:00 (UTC)") from None
    return utc(end)


def minutes(text: str) -> int | None:
    """The minutes of a span such as V(90m), V(2h), V(7d) or V(1w); None where it is none."""
    span = re.fullmatch(r"(\d{1,6})\s*(m|min|h|d|w)", text)
    return int(span[1]) * {"m": 1, "min": 1, "h": 60, "d": 1440, "w": 10080}[span[2]] if span else None


def utc(moment: datetime) -> str:
    """A moment as UTC text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def person(order: Order) -> str:
    """Whose permission counts: for whom it is done, else who does it, without the machine. Both were typed: this keeps from mistakes only."""
    return (order.on_behalf_of or order.by).partition("@")[0]


def keep_from_loss(folder: str, absent: str, live: Live, line: bytes) -> None:
    """Raises FlagError where a folder declares nothing (``absent`` says why) while flags are live: it is the wrong one, or not all of it is there."""
    known = sorted({*(_published(line) or {}), *live.overrides})
    if absent and known:
        raise FlagError(
            f"the flags are declared in {folder}, which {absent}, while {', '.join(known)} are live: hosts would lose them. Check -i and "
            "feature_flags_declared, and that this checkout is whole. Where no flag is to be declared any more, write a file there with `flags: {}`"
        )


def decide(
    flags: Mapping[str, Flag],
    live: Live,
    line: bytes,
    changes: Mapping[str, Mapping[str, Any]],
    order: Order,
    groups: Mapping[str, Sequence[str]],
    today: date,
    above: int = 0,
    what_may: bool = False,
    follow: bool = True,
) -> Decision:
    """What is live once ``changes`` are made, all in one generation; without any, what is declared by now with every switch kept.

    ``line`` is what was published last. ``above``: a generation that hosts have seen, where the live state was lost. The generation grows only
    where the state or the line changes. ``what_may``: flags that the person may not change are left as they are, and the others are changed, if there
    are any. Without ``follow``, and without changes, what is live stays as it is, whatever is declared. A standing switch that does not fit its
    declaration any more is named, and its flag gives what was published of it: nobody is kept from switching others, and no user gets anything else
    by a command that is about another flag. Raises FlagError with everything that stands in the way.
    """
    if what_may and (forbidden := _forbidden(flags, changes, order, groups)).keys() < changes.keys():
        allowed = {key: words for key, words in changes.items() if key not in forbidden}
        decision = decide(flags, live, line, allowed, order, groups, today, above)
        said = f"{decision.summary}; NOT {', '.join(forbidden)}: '{person(order)}' may not" if forbidden else decision.summary
        return decision._replace(summary=said, refused=list(forbidden.values()))
    overrides = _overrides(flags, live, changes, order, groups, today)
    declared = {key: flags[key].state for key in overrides if key in flags}
    published = _published(line) if hashlib.sha256(line).hexdigest() == live.digest else None
    if not changes and not follow and published is not None and live.generation >= above:
        return Decision(live, line, [], False, summary([], live.generation))
    as_it_was = _rendered(flags, live, live.overrides, published or {})
    if overrides == live.overrides and live.generation >= above and hashlib.sha256(as_it_was.data).hexdigest() == live.digest:
        rows = [_row(flags, live, live, key) for key in changes]
        kept = live._replace(declared=declared)
        return Decision(kept, as_it_was.data, rows, line != as_it_was.data or kept != live, summary(rows, live.generation, as_it_was.unfit))
    after = live._replace(generation=max(live.generation, above) + 1, overrides=overrides, declared=declared)
    standing = {key: override for key, override in overrides.items() if override == live.overrides.get(key)}
    made = _rendered(flags, after, standing, published or {})
    redeclared = _redeclared(line, as_it_was.data)
    moved = {*redeclared, *(key for key in {*overrides, *live.overrides} if overrides.get(key) != live.overrides.get(key))}
    who = {name: getattr(order, name) for name in ("at", "by", "on_behalf_of", "account")}
    marks = {key: {**who, "reason": order.reason if key in changes else "its declaration changed"} for key in moved}
    after = after._replace(changed={**live.changed, **marks}, digest=hashlib.sha256(made.data).hexdigest())
    rows = [{**_row(flags, live, after, key), "changed": key in moved} for key in sorted({*changes, *moved})]
    # Seen where somebody switches one flag from a checkout in which others are declared otherwise.
    rows = [{**row, "before": "declared otherwise"} if row["flag"] in redeclared - {*changes} else row for row in rows]
    rows = [{**row, "after": flags[row["flag"]].off} if row["flag"] in made.off else row for row in rows]
    return Decision(after, made.data, rows, True, summary(rows, after.generation, made.unfit))


class _Rendered(NamedTuple):
    """A line, what becomes of flags whose standing switch does not fit them any more, a sentence each, and which of them are off."""

    data: bytes
    unfit: list[str]
    off: set[str]


def _rendered(flags: Mapping[str, Flag], live: Live, standing: Mapping[str, Mapping[str, Any]], published: Mapping[str, Any]) -> _Rendered:
    """The state as hosts get it by what is declared now; switches of flags that are not declared have no effect.

    A ``standing`` switch that does not fit keeps the variants that were ``published`` of its flag, and what the flag requires counts as ever; where
    it does not fit those either the flag is off. Raises FlagError where another switch does not fit.
    """
    states = {key: override["state"] for key, override in live.overrides.items() if key in flags}
    unfit = {key: why for key, state in states.items() if key in standing and (why := flag_set.misfit(flags[key], state))}
    as_before = {key: flags[key]._replace(variants={**flags[key].variants, **published[key]["variants"]}) for key in unfit if key in published}
    off = {key for key in unfit if key not in as_before or flag_set.misfit(as_before[key], states[key])}
    given = {**flags, **{key: flag for key, flag in as_before.items() if key not in off}}
    data = flag_set.render(given, {**states, **{key: {"to": flags[key].off} for key in off}}, live.environment, live.generation)
    return _Rendered(data, [_misfit(flags[key], states[key], why, key not in off) for key, why in unfit.items()], off)


def _misfit(flag: Flag, state: State, why: str, kept: bool) -> str:
    becomes = "stays as it was published" if kept else "is off"
    return (
        f"{flag.key} {becomes}, because its switch to {flag_set.told(state)} does not fit {flag.where} any more ({why}): "
        f"playbooks/flag.yml -e flag={flag.key} -e state=reset"
    )


def summary(rows: Sequence[Mapping[str, Any]], generation: int, unfit: Iterable[str] = ()) -> str:
    """What was switched, and which switches do not fit any more, in one line."""
    said = [
        f"{row['flag']}: {row['after']} (was {row['before']})"
        if row["before"] != row["after"]
        else f"{row['flag']}: {row['after']}{'' if row['changed'] else ' already'}"
        for row in rows
    ]
    return "; ".join([f"{'; '.join(said) or 'no flag has changed'}, generation {generation}", *unfit])


def _overrides(
    flags: Mapping[str, Flag],
    live: Live,
    changes: Mapping[str, Mapping[str, Any]],
    order: Order,
    groups: Mapping[str, Sequence[str]],
    today: date,
) -> dict[str, Mapping[str, Any]]:
    """The switches once the changes are made; one that asks for what is there already stays as it was made. Raises FlagError with every fault."""
    found, wrong = dict(live.overrides), []
    forbidden = _forbidden(flags, changes, order, groups)
    by = {name: getattr(order, name) for name in ("by", "at", "reason", "until", "on_behalf_of", "account")}
    for key, words in changes.items():
        flag = flags.get(key)
        rolls = words.get("rollout") if flag else None
        try:
            state = None if rolls else _asked(flags, live, key, words, today)
            rolled = flag_steps.after(flag, live.overrides.get(key), rolls, by, today) if flag and rolls else None
        except FlagError as error:
            wrong.append(str(error))
            continue
        if key in forbidden:
            wrong.append(forbidden[key])
        elif rolled:
            found[key] = rolled
        elif state is None:
            found.pop(key, None)
        elif flag_steps.mark(found.get(key)) or (found.get(key, {}).get("state"), found.get(key, {}).get("until")) != (state, order.until):
            # Also where a rollout stands at that state just now: whoever asks for it wants it to stay there.
            found[key] = {"state": state, **by}
    if wrong:
        raise FlagError("\n".join(wrong))
    return found


def _forbidden(
    flags: Mapping[str, Flag], changes: Mapping[str, Mapping[str, Any]], order: Order, groups: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Which of these flags the person may not change so, with the place and who may. Going back from a rollout asks for nothing."""
    who = person(order)
    asked = [flags[key] for key, words in changes.items() if key in flags and (words.get("rollout") or {}).get("do", "step") == "step"]
    help_words = "ask one of them, or change may_change there"
    return {
        flag.key: f"{flag.where}: '{who}' may not change {flag.key} (may_change: {', '.join(flag.may_change)}): {help_words}"
        for flag in asked
        if not flag_set.may(flag, who, groups)
    }


def _asked(flags: Mapping[str, Flag], live: Live, key: str, words: Mapping[str, Any], today: date) -> State | None:
    if key in flags:
        return flag_set.asked(flags[key], words, today)
    if key in live.overrides and dict(words) == {"state": "reset"}:
        return None
    raise unknown(flags, key)


def unknown(flags: Mapping[str, Flag], key: str) -> FlagError:
    """What is said of a flag that is not declared."""
    near = difflib.get_close_matches(key, flags, n=1)
    known = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(flags)) or 'none'}"
    return FlagError(f"there is no flag '{key}' in the folder flags beside the inventory ({known})")


def _row(flags: Mapping[str, Flag], before: Live, after: Live, key: str) -> dict[str, Any]:
    return {"flag": key, "before": _state_words(flags, before, key), "after": _state_words(flags, after, key), "changed": False}


def _state_words(flags: Mapping[str, Flag], live: Live, key: str) -> str:
    if key not in flags:
        return "not declared"
    return flag_set.told(live.overrides[key]["state"] if key in live.overrides else flags[key].state)


def _redeclared(line: bytes, made: bytes) -> set[str]:
    """The flags that applications see with another definition; none where the line before cannot be read."""
    old, new = _published(line), _published(made)
    return set() if old is None or new is None else {key for key in {*old, *new} if old.get(key) != new.get(key)}


def _published(line: bytes) -> dict[str, Any] | None:
    """The definitions in a line, by flag; None where it cannot be read."""
    try:
        found = json.loads(line)["flags"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None
