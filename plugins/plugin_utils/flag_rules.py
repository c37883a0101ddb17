# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of feature flags: text such as ``plan == "gold" and transaction_volume >= 100000``, compiled to flagd's JsonLogic. Pure functions.

The text has the syntax of a Python expression and is never run. JsonLogic takes a missing attribute for 0 and a text for a number, each language
in its own way, so a comparison is compiled with a look at the attribute's type: compared with a number only a number matches, with a
text only a text, and what is missing matches nothing. The operators are flagd's: https://flagd.dev/reference/flag-definitions/
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

#: A condition, as JsonLogic has it: true or false, or one operator with its arguments.
Logic = bool | dict[str, Any]
Value = str | int | float | bool

#: Parts of all users that a percentage is counted in: hundredths of a thousandth.
PARTS = 100_000
FUNCTIONS = ("starts_with", "ends_with", "semver", "semver_match", "percent")
_WORDS = {"true": True, "false": False}
_COMPARISONS: dict[type[ast.cmpop], str] = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_PART = r"(0|[1-9]\d{0,8})"
_LABEL = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(rf"[vV]?{_PART}(?:\.{_PART})?(?:\.{_PART})?(-{_LABEL}(?:\.{_LABEL})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII)


class RuleError(ValueError):
    """A rule that cannot be understood: why, and at which column of its text (from 1)."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} (column {column})")
        self.message = message
        self.column = column


def compile_rule(text: str, key: str) -> Logic:
    """The condition that ``text`` says, for the flag ``key`` (percentages of different flags are of different users); raises RuleError."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RuleError(f"not an expression: {getattr(error, 'msg', error)}", getattr(error, "offset", None) or 1) from None
    try:
        return _condition(tree.body, key)
    except RecursionError:
        raise RuleError("too deeply nested", 1) from None


def within_percent(percent: float | int, key: str, node: ast.AST | None = None) -> Logic:
    """True for so many of a hundred users, always the same ones; who is in at 10 is in at 20. Without a targetingKey nobody is."""
    parts = Fraction(str(percent)) * PARTS / 100
    if not 0 <= percent <= 100 or parts.denominator != 1:
        raise _error(f"a percentage is a number from 0 to 100 with three decimals at most, not {percent}", node)
    if parts in (0, PARTS):
        return bool(parts)
    user = {"var": "targetingKey"}
    inside, outside = ["in", int(parts)], ["out", PARTS - int(parts)]
    drawn = {"fractional": [{"cat": [key, ":", user]}, inside, outside]}
    return every([_is_text(user), {"!==": [user, ""]}, {"===": [drawn, "in"]}])


def every(conditions: list[Logic]) -> Logic:
    """All of them; what is true anyway is left out."""
    if False in conditions:
        return False
    left = [part for one in conditions if not isinstance(one, bool) for part in one.get("and", [one])]
    return left[0] if len(left) == 1 else {"and": left} if left else True


def some(conditions: list[Logic]) -> Logic:
    """At least one of them."""
    if True in conditions:
        return True
    left = [part for one in conditions if not isinstance(one, bool) for part in one.get("or", [one])]
    return left[0] if len(left) == 1 else {"or": left} if left else False


def negation(condition: Logic) -> Logic:
    """The opposite."""
    return not condition if isinstance(condition, bool) else {"!": [condition]}


def _error(message: str, node: ast.AST | None) -> RuleError:
    return RuleError(message, getattr(node, "col_offset", 0) + 1)


def _condition(node: ast.expr, key: str) -> Logic:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return every([_condition(one, key) for one in values])
        case ast.BoolOp(values=values):
            return some([_condition(one, key) for one in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return negation(_condition(operand, key))
        case ast.Compare():
            return _comparison(node)
        case ast.Call():
            return _call(node, key)
        case ast.Constant(value=bool(value)):
            return value
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
    raise _error("a condition is a comparison, `and`, `or`, `not`, or one of " + ", ".join(f"{name}()" for name in FUNCTIONS), node)


def _comparison(node: ast.Compare) -> Logic:
    sides = [node.left, *node.comparators]
    return every([_one_comparison(sides[at], op, sides[at + 1]) for at, op in enumerate(node.ops)])


def _one_comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> Logic:
    if isinstance(op, ast.In | ast.NotIn):
        return _membership(left, right, isinstance(op, ast.NotIn))
    sign = _COMPARISONS.get(type(op))
    if sign is None:
        raise _error("compare with ==, !=, <, <=, >, >=, `in` or `not in`", left)
    if _is_value(left):
        left, sign, right = right, _TURNED[sign], left
    if _is_value(left) or not _is_value(right):
        raise _error("one side of a comparison is an attribute, the other a value", right)
    value = _value(right)
    if isinstance(left, ast.Call):
        return _version_comparison(left, sign, value, right)
    return _typed_comparison(_attribute(left), sign, value, right)


def _typed_comparison(attribute: dict[str, Any], sign: str, value: Value, node: ast.expr) -> Logic:
    if isinstance(value, bool):
        if sign not in ("==", "!="):
            raise _error(f"{str(value).lower()} can be compared with == and != only", node)
        return _is_truth(attribute, value is (sign == "=="))
    if isinstance(value, str):
        if sign not in ("==", "!="):
            raise _error("texts can be compared with == and != only (versions: semver(app_version) >= ...)", node)
        return {"===": [attribute, value]} if sign == "==" else every([_is_text(attribute), {"!==": [attribute, value]}])
    return every([_is_number(attribute), {sign: [attribute, value]}])


def _membership(left: ast.expr, right: ast.expr, turned: bool) -> Logic:
    if not isinstance(right, ast.List | ast.Tuple | ast.Set):
        raise _error('`in` wants a list of values, such as ["gold", "silver"]', right)
    values = [_value(one) for one in right.elts]
    kinds: dict[type, Callable[[dict[str, Any]], Logic]] = {str: _is_text, int: _is_number, float: _is_number}
    checks = {kinds.get(type(value)) for value in values}
    check = checks.pop() if len(checks) == 1 else None
    if check is None:
        raise _error("a list after `in` holds texts, or numbers, at least one, and not both", right)
    attribute = _attribute(left)
    inside: Logic = {"in": [attribute, values]}
    return every([check(attribute), negation(inside) if turned else inside])


def _call(node: ast.Call, key: str) -> Logic:
    name, arguments = _function(node)
    if name == "percent":
        (share,) = _arguments(node, arguments, 1, "percent(10)")
        value = _value(share)
        if isinstance(value, str | bool):
            raise _error("percent() wants a number, such as percent(10)", share)
        return within_percent(value, key, share)
    if name == "semver":
        raise _error('compare semver(), such as semver(app_version) >= "1.2.0"', node)
    attribute, text = _arguments(node, arguments, 2, f'{name}(plan, "...")')
    value = _value(text)
    if not isinstance(value, str):
        raise _error(f"{name}() wants a text as its second argument", text)
    if name == "semver_match":
        version = _version(value[1:])
        if value[:1] not in ("^", "~") or version is None:
            raise _error('semver_match() wants "^1.2.0" (the same major version) or "~1.2.0" (the same minor version)', text)
        return every([_is_text(_attribute(attribute)), {"sem_ver": [_attribute(attribute), value[0], version]}])
    return {name: [_attribute(attribute), value]}


def _version_comparison(call: ast.Call, sign: str, value: Value, node: ast.expr) -> Logic:
    name, arguments = _function(call)
    if name != "semver":
        raise _error(f"{name}() is a condition by itself and is not compared", call)
    (argument,) = _arguments(call, arguments, 1, "semver(app_version)")
    version = _version(value) if isinstance(value, str) else None
    if version is None:
        raise _error(f'semver() is compared with a version such as "1.2.0", not {value!r}', node)
    attribute = _attribute(argument)
    return every([_is_text(attribute), {"sem_ver": [attribute, "=" if sign == "==" else sign, version]}])


def _version(text: str) -> str | None:
    """A version in its full form, which is the only one that flagd's schema takes; None where it is none."""
    found = _VERSION.fullmatch(text)
    return f"{found[1]}.{found[2] or 0}.{found[3] or 0}{found[4] or ''}" if found else None


def _function(node: ast.Call) -> tuple[str, list[ast.expr]]:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in FUNCTIONS:
        raise _error(f"there is no function {name}() (there are: {', '.join(FUNCTIONS)})", node)
    return name, node.args


def _arguments(node: ast.Call, arguments: list[ast.expr], count: int, example: str) -> list[ast.expr]:
    if len(arguments) != count or node.keywords:
        raise _error(f"write it as {example}", node)
    return arguments


def _attribute(node: ast.expr) -> dict[str, Any]:
    path, at = [], node
    while isinstance(at, ast.Attribute):
        path.append(at.attr)
        at = at.value
    if not isinstance(at, ast.Name) or at.id in _WORDS:
        raise _error("an attribute of the user is a name, such as plan or address.country", node)
    return {"var": ".".join([at.id, *reversed(path)])}


def _is_value(node: ast.expr) -> bool:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    return negative or isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in _WORDS)


def _value(node: ast.expr) -> Value:
    match node:
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.Constant(value=bool() | str() as value):
            return value
        case ast.Constant(value=int() | float() as value):
            return _number(value, node)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(value, bool):
            return -_number(value, node)
    raise _error("a value is a text in quotes, a number, true or false", node)


def _number(value: int | float, node: ast.expr) -> int | float:
    # Beyond this JavaScript does not tell one whole number from the next.
    if not abs(value) <= 2**53:
        raise _error(f"{value} is too large a number", node)
    return value


def _is_text(attribute: dict[str, Any]) -> Logic:
    """flagd's own operator is the only one that asks for a type: it is false for all but a text."""
    return {"starts_with": [attribute, ""]}


def _is_truth(attribute: dict[str, Any], wanted: bool) -> Logic:
    """Whether it is true, or false; Python's evaluator writes True where JavaScript's writes true."""
    words = [str(wanted).lower(), str(wanted)]
    return every([negation(_is_text(attribute)), {"in": [{"cat": [attribute]}, words]}])


def _is_number(attribute: dict[str, Any]) -> Logic:
    """Neither missing nor a text, a truth value, an object or a list, which JavaScript refuses to compare and Python takes for a number.

    To Python 1 and true are equal, so it is their names that are compared. Merged into a list, only a list is not an element of it any more.
    """
    others = ["true", "false", "True", "False", "[object Object]"]
    named = {"in": [{"cat": [attribute]}, others]}
    return every([{"!==": [attribute, None]}, negation(_is_text(attribute)), negation(named), {"in": [attribute, {"merge": [attribute]}]}])
