"""Names of the values that a collection gives: flat, unique, and known before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from syncmetrics.metric.metric import Metric

__all__ = ["Member", "check_affix", "check_unique", "flatten", "keyword_names"]


@dataclass(frozen=True, slots=True)
class Member:
    """How the values of one metric are named, before the prefix and postfix of the whole collection.

    Attributes:
        name: Name of its one value.
        prefix: In front of each name, if it gives several.
        postfix: Behind each of them.
        takes: The keyword arguments that its `update` takes; None for all.
    """

    name: str
    prefix: str
    postfix: str
    takes: frozenset[str] | None

    def output_names(self, metric: Metric) -> tuple[str, ...]:
        """Give the names of the values of this metric."""
        names = metric.output_names
        return (self.name,) if names is None else tuple(self.affixed(name) for name in names)

    def affixed(self, name: str) -> str:
        """Give the name of one of several values."""
        return f"{self.prefix}{name}{self.postfix}"


def check_unique(output_names: Mapping[str, Sequence[str]]) -> None:
    """Check that no two metrics give a value of the same name.

    Args:
        output_names: Names of the values of each metric.

    Raises:
        ValueError: Two of them are equal.
    """
    seen: dict[str, str] = {}
    for base, names in output_names.items():
        for name in names:
            if name in seen:
                raise ValueError(
                    f"`{seen[name]}` and `{base}` would both give a value named `{name}`; name one of them otherwise,"
                    " with a key of the mapping or with prefix= of the wrapper."
                )
            seen[name] = base


def flatten(members: Mapping[str, Member], values: Mapping[str, Any], prefix: str, postfix: str) -> dict[str, Any]:
    """Name every value, those inside a metric's dict too.

    Raises:
        ValueError: A metric that did not declare its `output_names` gives a name that is taken.
    """
    flat: dict[str, Any] = {}
    for base, value in values.items():
        member = members[base]
        if isinstance(value, Tensor) or not isinstance(value, Mapping):
            pairs: Iterable[tuple[str, Any]] = ((member.name, value),)
        else:
            pairs = [(member.affixed(str(key)), item) for key, item in value.items()]
        for name, item in pairs:
            full = f"{prefix}{name}{postfix}"
            if full in flat:
                raise ValueError(
                    f"`{base}` gives a second value named `{full}`; declare `output_names`, or give it a prefix."
                )
            flat[full] = item
    return flat


def check_affix(argument: str, value: str | None) -> str | None:
    """Check a prefix or postfix.

    Raises:
        TypeError: It is neither a string nor None.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"`{argument}` must be a string or None, but is a {type(value).__name__} instead.")
    return value


def keyword_names(metric: Metric) -> frozenset[str] | None:
    """Give the names of the arguments that `update` takes, or None if it takes any."""
    parameters = metric._update_parameters().values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
