# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The feature flags of an environment: read from their declarations, switched, and rendered to the line that hosts read.

A declaration stands in ``inventories/<environment>/flags/*.yml`` and says what rests; a switch is a live state that is kept elsewhere
and laid over it. Whatever cannot be evaluated is refused here, with its place, before anything is published. What is rendered is
flagd's format (https://flagd.dev/reference/flag-definitions/), in which prerequisites are unknown: they are compiled into the rule.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from . import flag_rules
from .flag_rules import Logic, RuleError

SCHEMA = "https://flagd.dev/schema/v0/flags.json"
#: What a flag is for; those of the first two kinds are meant to go away again.
KINDS = ("release", "experiment", "ops", "permission")
PASSING = ("release", "experiment")
WORDS = ("purpose", "owner", "kind", "expires", "variants", "on", "off", "state", "requires", "may_change", "groups")
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

#: ``{"to": variant}``, ``{"percent": number}``, ``{"rule": text}``, or ``{"rules": [{"when": text, "percent": number, "give": variant}, ...]}``.
State = dict[str, Any]


class FlagError(ValueError):
    """Flags that cannot be published, or a switch that cannot be meant: one fault a line, each with its place."""


class Flag(NamedTuple):
    """A flag as it is declared. ``where`` is the file and line; ``groups`` are names under which panic.yml finds it."""

    key: str
    purpose: str
    owner: str
    kind: str
    expires: date | None
    variants: dict[str, Any]
    on: str
    off: str
    state: State
    requires: tuple[str, ...]
    may_change: tuple[str, ...]
    groups: tuple[str, ...]
    where: str

    def expired(self, today: date) -> bool:
        """Whether its last day has passed."""
        return self.expires is not None and today > self.expires


def load(folder: Path) -> dict[str, Flag]:
    """All flags that the files ``*.yml`` of a folder declare; raises FlagError with every fault that was found.

    A file whose name only nearly ends so is a fault: whoever wrote it takes its flags for declared.
    """
    unread = sorted(path for path in folder.glob("[!.]*.[yY]*") if path.suffix != ".yml" and path.suffix.lower() in (".yml", ".yaml"))
    faults = [f"{folder.name}/{path.name}: only files *.yml are read: rename it to {path.stem}.yml" for path in unread]
    flags: dict[str, Flag] = {}
    for path in sorted(folder.glob("*.yml")):
        name = f"{folder.name}/{path.name}"
        text = ""
        try:
            text = path.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{name}: cannot be read: {error}")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            faults.append(f"{name}:{mark.line + 1 if mark else 1}: no YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            faults.append(f"{name}:{line}: no YAML: a character that YAML does not allow: U+{error.character:04X}")
        else:
            for flag in _File(name, faults).flags(root):
                if flag.key in flags:
                    faults.append(f"{flag.where}: the flag {flag.key} is declared twice, first at {flags[flag.key].where}")
                else:
                    flags[flag.key] = flag
    if not faults:
        faults += _across(flags)
    if faults:
        raise FlagError("\n".join(faults))
    return flags


def absent(folder: Path) -> str:
    """Why a folder declares nothing at all, also not that there are no flags; empty where it does."""
    if not folder.is_dir():
        return "is no folder"
    return "" if any(folder.glob("*.yml")) else "holds no file *.yml"


def asked(flag: Flag, words: Mapping[str, Any], today: date) -> State | None:
    """The state that an operator's words mean (one of ``state``, ``percent``, ``rule``), None for the declared one (``state`` reset).

    Raises FlagError, with the declaration's place, where they mean none, and for a flag that has expired where they do anything but switch it off.
    """
    given = {name: value for name, value in words.items() if name in ("state", "percent", "rule") and value not in (None, "")}
    if len(given) != 1:
        said = " and ".join(given) or "nothing"
        raise FlagError(f"{flag.where}: {flag.key}: say one of state=on, state=off, state=reset, percent=10, rule='...' (found: {said})")
    ((name, value),) = given.items()
    if name == "state" and value == "reset":
        return None
    try:
        state = _state(flag, _word(value) if name == "state" else {name: value})
    except ValueError as error:
        raise FlagError(f"{flag.where}: {flag.key}: {error}") from None
    if flag.expired(today) and state != {"to": flag.off}:
        what = f"{flag.key} expired on {flag.expires} ({flag.where})"
        raise FlagError(f"{what}: it can be switched {flag.off} or reset. Take it out of the code, or give it a new date.")
    return state


def may(flag: Flag, who: str, groups: Mapping[str, Sequence[str]]) -> bool:
    """Whether ``who`` may switch the flag: anybody where it names nobody, else those named and the members of ``@groups`` that are."""
    named = [one for entry in flag.may_change for one in (groups.get(entry[1:], ()) if entry.startswith("@") else (entry,))]
    return not flag.may_change or who in named


def told(state: State) -> str:
    """A state in words: off, 10 %, the text of its rule."""
    if "to" in state:
        return str(state["to"])
    if "percent" in state:
        return f"{state['percent']:g} %"
    return str(state["rule"]) if "rule" in state else "; ".join(_clause(one) for one in state["rules"])


def render(flags: Mapping[str, Flag], live: Mapping[str, State], environment: str, generation: int) -> bytes:
    """The line that hosts read: the same flags give the same bytes. Raises FlagError where a live state does not fit its declaration any more."""
    unfit = {key: why for key, state in live.items() if key in flags and (why := misfit(flags[key], state))}
    if unfit:
        said = (f"{flags[key].where}: the live state of {key} does not fit its declaration any more: {why}" for key, why in unfit.items())
        raise FlagError("\n".join(f"{line}. Switch it, or reset it: -e state=reset" for line in said))
    states = {key: live.get(key, flag.state) for key, flag in flags.items()}
    published = {
        "$schema": SCHEMA,
        "flags": {key: _rendered(flags, states, flag) for key, flag in flags.items()},
        "metadata": {"environment": environment, "generation": generation},
    }
    return json.dumps(published, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _rendered(flags: Mapping[str, Flag], states: Mapping[str, State], flag: Flag) -> dict[str, Any]:
    given = variant(flags, states, flag.key)
    about = {"kind": flag.kind, "owner": flag.owner, **({"expires": flag.expires.isoformat()} if flag.expires else {})}
    fixed = isinstance(given, str)
    return {
        "state": "ENABLED",
        "variants": flag.variants,
        "defaultVariant": given if fixed else flag.off,
        **({} if fixed else {"targeting": given}),
        "metadata": about,
    }


def variant(flags: Mapping[str, Flag], states: Mapping[str, State], key: str) -> str | dict[str, Any]:
    """Which variant the flag gives: its name where it is the same for everybody, else the JsonLogic that says it."""
    flag, state = flags[key], states[key]
    needed = flag_rules.every([_gives(_variant(flags[other], states[other]), flags[other].on) for other in _required(flags, key)])
    own = _variant(flag, state)
    if needed is False or own == flag.off:
        return flag.off
    return own if needed is True else {"if": [needed, own, flag.off]}


def _required(flags: Mapping[str, Flag], key: str) -> list[str]:
    """Every flag that must give its on variant, each once: nested as they are required, they would make a line that grows with every path."""
    found: set[str] = set()
    waiting = list(flags[key].requires)
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += flags[other].requires
    return sorted(found)


def _gives(given: str | dict[str, Any], wanted: str) -> Logic:
    return given == wanted if isinstance(given, str) else {"===": [given, wanted]}


def _variant(flag: Flag, state: State) -> str | dict[str, Any]:
    if "to" in state:
        return str(state["to"])
    branches: list[Any] = []
    for clause in clauses(flag, state):
        condition = _condition(flag, clause)
        if condition is True:
            return {"if": [*branches, clause["give"]]} if branches else str(clause["give"])
        if condition is not False:
            branches += [condition, clause["give"]]
    return {"if": [*branches, flag.off]} if branches else flag.off


def clauses(flag: Flag, state: State) -> list[dict[str, Any]]:
    """A state that is not the same for everybody, as clauses that are tried in order."""
    if "percent" in state:
        return [{"percent": state["percent"], "give": flag.on}]
    return [{"when": state["rule"], "give": flag.on}] if "rule" in state else list(state["rules"])


def _condition(flag: Flag, clause: Mapping[str, Any]) -> Logic:
    """Both, where a clause has both: so many per cent of those for whom the rule holds."""
    rule = flag_rules.compile_rule(clause["when"], flag.key) if "when" in clause else True
    share = flag_rules.within_percent(clause["percent"], flag.key) if "percent" in clause else True
    return flag_rules.every([rule, share])


def _clause(clause: Mapping[str, Any]) -> str:
    share = f"{clause['percent']:g} % " if "percent" in clause else ""
    return f"{clause['give']}: {share}{'of ' if share and 'when' in clause else ''}{clause.get('when', '')}".strip()


def misfit(flag: Flag, state: State) -> str:
    """Why a live state does not fit its flag's declaration, in words; empty where it does."""
    try:
        if _state(flag, state if "to" not in state else str(state["to"])) != state:
            return f"{state!r} is no state of a flag"
    except ValueError as error:
        return str(error)
    return ""


def _state(flag: Flag, given: Any) -> State:
    """A state as it is kept; raises ValueError in words."""
    if isinstance(given, str):
        to = {"on": flag.on, "off": flag.off}.get(given, given)
        if to not in flag.variants:
            raise ValueError(f"there is no variant {to!r} (there are: {', '.join(flag.variants)})")
        return {"to": to}
    if not isinstance(given, Mapping) or len(given) != 1 or not {"percent", "rule", "rules"} & set(given):
        raise ValueError("a state is on, off, the name of a variant, {percent: 10}, {rule: '...'} or {rules: [...]}")
    if "rules" not in given:
        if "rule" in given and not isinstance(given["rule"], str):
            raise ValueError("a rule is a text")
        state = {"percent": _figure(given["percent"])} if "percent" in given else dict(given)
    else:
        if not isinstance(given["rules"], list) or not given["rules"]:
            raise ValueError("rules is a list of clauses such as {when: 'plan == \"gold\"', give: on}")
        state = {"rules": [_clause_state(flag, one) for one in given["rules"]]}
    try:
        for clause in clauses(flag, state):
            _condition(flag, clause)
    except RuleError as error:
        raise ValueError(f"rule: {error}") from None
    return state


def _clause_state(flag: Flag, clause: Any) -> dict[str, Any]:
    if not isinstance(clause, Mapping) or not set(clause) <= {"when", "percent", "give"} or not {"when", "percent"} & set(clause):
        raise ValueError("a clause has `when` or `percent` or both, and `give`")
    give = _state(flag, _word(clause.get("give", "on")))
    if not isinstance(clause.get("when", ""), str):
        raise ValueError("when is a text")
    share = {"percent": _figure(clause["percent"])} if "percent" in clause else {}
    return {**({"when": clause["when"]} if "when" in clause else {}), **share, "give": give["to"]}


def _word(value: Any) -> Any:
    """YAML takes a bare on and off for truth values."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _figure(value: Any) -> int | float:
    """A number, from the command line as text; a whole one without its fraction. Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError(f"percent is a number from 0 to 100, not {value}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 100:
        raise ValueError(f"percent is a number from 0 to 100, not {value!r}")
    return int(number) if number.is_integer() else number


def _across(flags: Mapping[str, Flag]) -> list[str]:
    """Faults that only show when all flags are known."""
    unknown = [
        f"{flag.where}: {flag.key} requires {other}, which is not declared (there are: {', '.join(sorted(flags))})"
        for flag in flags.values()
        for other in flag.requires
        if other not in flags
    ]
    return unknown or [f"{flags[path[0]].where}: {path[0]} requires itself: {' -> '.join(path)}" for path in _cycles(flags)]


def _cycles(flags: Mapping[str, Flag]) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()

    def follow(key: str, path: list[str]) -> None:
        if key in path:
            found.append([*path[path.index(key) :], key])
        elif key not in done:
            for other in flags[key].requires:
                follow(other, [*path, key])
            done.add(key)

    for key in flags:
        follow(key, [])
    return found


class _File:
    """Reads the nodes of one file; what is wrong is noted with its line, and the rest goes on."""

    def __init__(self, name: str, faults: list[str]) -> None:
        self.name = name
        self.faults = faults

    def fault(self, node: yaml.Node, message: str) -> None:
        self.faults.append(f"{self.where(node)}: {message}")

    def where(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def flags(self, root: yaml.Node | None) -> Iterator[Flag]:
        """The flags of the file that have no fault in themselves."""
        if root is None:
            return
        top = self.mapping(root, "the file", ("flags",))
        for key, node in self.entries(top["flags"], "flags") if "flags" in top else ():
            if not _KEY.fullmatch(key.value):
                self.fault(key, f"{key.value!r} is no name of a flag: small letters, digits, _ and -, beginning with a letter")
            else:
                before = len(self.faults)
                flag = self.flag(key, self.mapping(node, f"the flag {key.value}", WORDS))
                if flag and len(self.faults) == before:
                    yield flag

    def flag(self, key: yaml.ScalarNode, nodes: dict[str, yaml.Node]) -> Flag | None:
        """One flag, None where it has no meaning without what is missing."""
        for word in ("purpose", "owner", "kind", "state"):
            if word not in nodes:
                self.fault(key, f"the flag {key.value} has no {word}")
        texts = {word: self.text(nodes[word], word) for word in ("purpose", "owner", "kind") if word in nodes}
        if (kind := texts.get("kind")) is not None and kind not in KINDS:
            self.fault(nodes["kind"], f"kind is one of {', '.join(KINDS)}, not {kind!r}")
        variants = self.variants(nodes.get("variants"))
        flag = Flag(
            key=key.value,
            purpose=texts.get("purpose", ""),
            owner=texts.get("owner", ""),
            kind=texts.get("kind", ""),
            expires=self.expires(nodes.get("expires"), key, texts.get("kind", "")),
            variants=variants,
            on=self.one_of("on", nodes, variants),
            off=self.one_of("off", nodes, variants),
            state={},
            requires=self.names(nodes.get("requires"), "requires"),
            may_change=self.names(nodes.get("may_change"), "may_change"),
            groups=self.names(nodes.get("groups"), "groups"),
            where=self.where(key),
        )
        if "state" not in nodes or {flag.on, flag.off} - set(variants):
            return None
        try:
            return flag._replace(state=_state(flag, self.state(nodes["state"])))
        except ValueError as error:
            self.fault(nodes["state"], f"state of {flag.key}: {error}")
            return None

    def mapping(self, node: yaml.Node, what: str, known: Sequence[str]) -> dict[str, yaml.Node]:
        """The entries of a mapping, of known names and each once."""
        found: dict[str, yaml.Node] = {}
        for key, value in self.entries(node, what):
            if key.value not in known:
                self.fault(key, f"{what} has {key.value!r}, which is none of {', '.join(known)}")
            found[key.value] = value
        return found

    def entries(self, node: yaml.Node, what: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, f"{what} is no mapping")
            return []
        seen: set[str] = set()
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                self.fault(key, f"{what} has a key that is no plain word")
                return []
            if key.value in seen:
                self.fault(key, f"{what} has {key.value!r} twice")
            seen.add(key.value)
        return list(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip() or node.tag == "tag:yaml.org,2002:null":
            self.fault(node, f"{what} is a text")
            return ""
        return str(node.value)

    def names(self, node: yaml.Node | None, what: str) -> tuple[str, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, f"{what} is a list of names")
            return ()
        return tuple(self.text(one, f"a name in {what}") for one in node.value)

    def expires(self, node: yaml.Node | None, key: yaml.ScalarNode, kind: str) -> date | None:
        value = self.plain(node) if node is not None else None
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if value is not None:
            self.fault(node or key, "expires is a date such as 2027-03-31")
        elif kind in PASSING:
            self.fault(node or key, f"the flag {key.value} is of kind {kind} and has no expires: the day by which it is gone from the code")
        return None

    def variants(self, node: yaml.Node | None) -> dict[str, Any]:
        if node is None:
            return {"on": True, "off": False}
        found: dict[str, Any] = {}
        for key, value in self.entries(node, "variants"):
            if not _VARIANT.fullmatch(key.value):
                self.fault(key, f"{key.value!r} is no name of a variant")
            found[key.value] = self.plain(value)
            if not _in_json(found[key.value]):
                self.fault(value, f"the variant {key.value} holds .inf, .nan or itself, which JSON cannot")
        kinds = {_kind(value) for value in found.values()}
        if "" in kinds or len(kinds) != 1:
            self.fault(node, "the values of all variants are of one type: true and false, texts, numbers, or mappings")
        return found

    def one_of(self, word: str, nodes: Mapping[str, yaml.Node], variants: Mapping[str, Any]) -> str:
        name = self.text(nodes[word], word) if word in nodes else word
        if name not in variants:
            place = nodes.get(word) or nodes.get("variants")
            if place is not None:
                self.fault(place, f"the variant {name!r} ({word}) is not among the variants ({', '.join(variants)}): name another by `{word}:`")
        return name

    def state(self, node: yaml.Node) -> Any:
        """The state as it is written: a bare on or off is that word."""
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        return self.plain(node)

    def plain(self, node: yaml.Node) -> Any:
        try:
            return _construct(node)
        except (yaml.YAMLError, ValueError) as error:
            self.fault(node, f"no plain value: {getattr(error, 'problem', error)}")
            return None


def _construct(node: yaml.Node) -> Any:
    """What YAML's safe loader makes of a node."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _kind(value: Any) -> str:
    """The type of a variant's value; empty where it can be none."""
    checks: list[tuple[str, Callable[[Any], bool]]] = [
        ("boolean", lambda one: isinstance(one, bool)),
        ("string", lambda one: isinstance(one, str)),
        ("number", lambda one: isinstance(one, int | float)),
        ("object", _is_object),
    ]
    return next((name for name, check in checks if check(value)), "")


def _is_object(value: Any) -> bool:
    with_json = functools.partial(json.dumps, allow_nan=False)
    try:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value) and bool(with_json(value))
    except (TypeError, ValueError):
        return False


def _in_json(value: Any) -> bool:
    """Whether strict JSON can hold a value, as far as its numbers and its depth go."""
    try:
        return bool(json.dumps(value, allow_nan=False, default=str, skipkeys=True))
    except ValueError:
        return False
