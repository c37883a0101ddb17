"""Feature flags, by OpenFeature: read from the file that the fleet keeps on every host, evaluated here, counted by flag and variant.

The evaluator is flagd's own. Its provider for Python brings gRPC along, 17 MB for each version of Python and not needed for a file, so
the small provider around the evaluator is ours; what it does is flagd's FILE mode, by the same variable of the environment.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import prometheus_client
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagResolutionDetails, FlagValueType
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import AbstractProvider
from openfeature.provider.metadata import Metadata

log = logging.getLogger(__name__)

#: What the shop asks, and what holds where nobody answers: the shop as it is without any flag.
DEFAULTS: dict[str, bool] = {"checkout": False, "recommendations": False, "bulk_prices": False, "reviews": False}

EVALUATIONS = prometheus_client.Counter("feature_flag_evaluations", "Flags that were evaluated.", ["flag", "variant", "reason"])
REQUESTS = prometheus_client.Counter("feature_flag_requests", "Requests that a flag had a say in.", ["flag", "variant", "outcome"])
FILE_ERRORS = prometheus_client.Counter("feature_flag_file_errors", "Files of flags that could not be read: the flags stayed as they were.")
GENERATION = prometheus_client.Gauge("feature_flag_generation", "Generation of the set of flags that is in force.")

#: What the flags gave to the request that is being answered: flag to variant.
_given: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("given", default=None)


class FileProvider(AbstractProvider):
    """Answers from a file in flagd's format, which it reads again when the file's time is greater. Needs no thread, so it lives through a fork.

    A file that is missing, broken, or no set of flags is told and counted once, and what was read before stays in force.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.core = FlagdCore()
        self.read = -1
        self.told = -1

    def get_metadata(self) -> Metadata:
        """Its name."""
        return Metadata(name="file")

    def generation(self) -> int:
        """The generation of the flags in force, 0 for none."""
        self.refresh()
        found = self.core.get_flag_set_metadata().get("generation", 0)
        return found if isinstance(found, int) else 0

    def refresh(self) -> None:
        """Take over what the file says, where it is newer and whole."""
        try:
            time = os.stat(self.path).st_mtime_ns
        except OSError:
            time = 0
        if time <= self.read or time == self.told:
            return
        try:
            self.core.set_flags(flag_set(self.path.read_text(encoding="utf-8")))
        except Exception as error:
            self.told = time
            FILE_ERRORS.inc()
            log.error("%s cannot be read (%s: %s): the flags stay as they were", self.path, type(error).__name__, error)
            return
        self.read = time
        GENERATION.set(self.generation())

    def resolve_boolean_details(self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None) -> Any:
        """A flag that is true or false."""
        self.refresh()
        return self.core.resolve_boolean_value(flag_key, default_value, evaluation_context)

    def resolve_string_details(self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None) -> Any:
        """A flag that is a text."""
        self.refresh()
        return self.core.resolve_string_value(flag_key, default_value, evaluation_context)

    def resolve_integer_details(self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None) -> Any:
        """A flag that is a whole number."""
        self.refresh()
        return self.core.resolve_integer_value(flag_key, default_value, evaluation_context)

    def resolve_float_details(self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None) -> Any:
        """A flag that is a number."""
        self.refresh()
        return self.core.resolve_float_value(flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: Any, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Any]:
        """A flag that is a mapping or a list."""
        self.refresh()
        return self.core.resolve_object_value(flag_key, default_value, evaluation_context)


def flag_set(text: str) -> dict[str, Any]:
    """The set of flags that a file holds; raises ValueError for anything else, which the evaluator would take for a set without flags.

    One that really has none says so by the generation that the fleet writes into it.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("flags"), dict):
        raise ValueError("it is no set of flags: `flags`, a mapping, is missing")
    metadata = found.get("metadata")
    if not found["flags"] and not (isinstance(metadata, dict) and isinstance(metadata.get("generation"), int)):
        raise ValueError("it holds no flag, and no generation that says that there is none")
    return found


class Counted(Hook):
    """Counts every evaluation, and notes for the request what it was given."""

    def finally_after(self, hook_context: HookContext, details: FlagEvaluationDetails[FlagValueType], hints: HookHints) -> None:  # noqa: ARG002 - called by name
        """After each evaluation, also one that failed."""
        variant = details.variant or "default"
        EVALUATIONS.labels(hook_context.flag_key, variant, str(details.reason or "UNKNOWN").lower()).inc()
        if (given := _given.get()) is not None:
            given[hook_context.flag_key] = variant


class Flags:
    """The shop's flags: made once in each process, after it was started."""

    def __init__(self, path: Path | None) -> None:
        self.provider = FileProvider(path) if path else None
        if self.provider:
            api.set_provider_and_wait(self.provider)
            self.provider.refresh()
        self.client: OpenFeatureClient = api.get_client()
        self.client.add_hooks([Counted()])

    def generation(self) -> int:
        """The generation in force, 0 for none."""
        return self.provider.generation() if self.provider else 0

    def details(self, user: EvaluationContext) -> dict[str, FlagEvaluationDetails[bool]]:
        """What this user gets of each flag."""
        return {key: self.client.get_boolean_details(key, default, user) for key, default in DEFAULTS.items()}

    def preview(self, user: EvaluationContext) -> dict[str, FlagEvaluationDetails[bool]]:
        """The same for whoever only looks: not noted for the request, which would make a variant that fails seem better than it is."""
        token = _given.set(None)
        try:
            return self.details(user)
        finally:
            _given.reset(token)

    def value(self, key: str, user: EvaluationContext) -> bool:
        """What this user gets of one flag."""
        return self.client.get_boolean_value(key, DEFAULTS[key], user)

    def values(self, user: EvaluationContext) -> dict[str, bool]:
        """The same, the values alone."""
        return {key: details.value for key, details in self.details(user).items()}


def user(asked: Mapping[str, str], visitor: str) -> EvaluationContext:
    """Who is asking, as rules see it: the attributes come from the query in this example, where a real shop knows its customers."""
    attributes: dict[str, Any] = {name: asked[name] for name in ("plan", "country", "app_version") if name in asked}
    with contextlib.suppress(KeyError, ValueError):
        attributes["transaction_volume"] = float(asked["transaction_volume"])
    return EvaluationContext(asked.get("targetingKey") or visitor, attributes)


def begin() -> contextvars.Token[dict[str, str] | None]:
    """A request begins: what flags give from here on is noted for it."""
    return _given.set({})


def end(token: contextvars.Token[dict[str, str] | None], failed: bool) -> None:
    """It has been answered: counted for each variant that it was given."""
    for flag, variant in (_given.get() or {}).items():
        REQUESTS.labels(flag, variant, "error" if failed else "ok").inc()
    _given.reset(token)
