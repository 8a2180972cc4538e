"""Names of the values that a collection gives: flat, unique, and as far as can be known before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Naming", "check_affix", "clashing", "flatten"]


@dataclass(frozen=True, slots=True)
class Naming:
    """How the values of one metric are named, before the prefix and postfix of the whole collection.

    Attributes:
        name: Name of its one value.
        own: Its name in the collection that it was given in.
        prefix: In front of each name, if it gives several.
        postfix: Behind each of them.
    """

    name: str
    own: str
    prefix: str = ""
    postfix: str = ""

    def names(self, keys: tuple[str, ...] | None, *, apart: bool) -> tuple[str, ...]:
        """Give the names of its values.

        Args:
            keys: The keys of what it computes; None for a metric that gives one value.
            apart: Whether its own name stands in front of each key, for another metric has the same keys.
        """
        if keys is None:
            return (self.name,)
        own = f"{self.own}_" if apart else ""
        return tuple(f"{self.prefix}{own}{key}{self.postfix}" for key in keys)


def clashing(namings: Mapping[str, Naming], keys: Mapping[str, tuple[str, ...] | None], *, apart: bool) -> list[str]:
    """Give the names that more than one metric would have a value under.

    Args:
        namings: How the values of each metric are named.
        keys: The keys of what each of them computes; None for a metric that gives one value.
        apart: As for `Naming.names`.
    """
    seen: dict[str, str] = {}
    found = []
    for base, naming in namings.items():
        for name in naming.names(keys[base], apart=apart):
            if seen.setdefault(name, base) != base:
                found.append(name)
    return found


def flatten(namings: Mapping[str, Naming], values: Mapping[str, Any], *, apart: bool) -> Iterator[tuple[str, str, Any]]:
    """Name every value, those inside a metric's dict too: the metric, the name, and the value."""
    for base, value in values.items():
        if isinstance(value, Tensor) or not isinstance(value, Mapping):
            yield base, namings[base].name, value
        else:
            names = namings[base].names(tuple(map(str, value)), apart=apart)
            for name, item in zip(names, value.values(), strict=True):
                yield base, name, item


def check_affix(argument: str, value: str | None) -> str | None:
    """Check a prefix or postfix.

    Raises:
        TypeError: It is neither a string nor None.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"`{argument}` must be a string or None, but is a {type(value).__name__} instead.")
    return value
