"""How many edits lead from one sequence to another, by arithmetic on the bits of whole numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

__all__ = ["edit_distance", "text_pairs"]


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable], substitution_cost: int = 1) -> int:
    """Give the least cost of insertions and deletions, at 1 each, and substitutions that turn one into the other.

    One column of the table of costs is a few integers with a bit for each element of `one` (Myers, "A fast bit-vector
    algorithm for approximate string matching based on dynamic programming", 1999; Hyyrö 2003 for whole sequences, and
    2004 for the longest common subsequence): the time is that of one loop over `other`, for texts of usual length.

    Args:
        one: A string, or a sequence of words.
        other: Likewise.
        substitution_cost: Of replacing an element by another; at 2 and above none is worth while.
    """
    if substitution_cost == 0:
        return abs(len(one) - len(other))
    if not one or not other:
        return len(one) + len(other)
    places: dict[Hashable, int] = {}
    for place, element in enumerate(one):
        places[element] = places.get(element, 0) | 1 << place
    return _with_substitutions(places, len(one), other) if substitution_cost == 1 else _without(places, len(one), other)


def _with_substitutions(places: dict[Hashable, int], length: int, other: Sequence[Hashable]) -> int:
    everywhere, last = (1 << length) - 1, 1 << (length - 1)
    rises, falls, cost = everywhere, 0, length  # where a cost is one more, one less than that above it; the lowest cost
    for element in other:
        equal = places.get(element, 0)
        kept = (((equal & rises) + rises) ^ rises) | equal
        grown = (falls | ~(kept | rises)) & everywhere
        shrunk = rises & kept
        cost += bool(grown & last) - bool(shrunk & last)
        grown = grown << 1 | 1
        falls_or_equal = falls | equal
        rises = (shrunk << 1 | ~(falls_or_equal | grown)) & everywhere
        falls = grown & falls_or_equal & everywhere
    return cost


def _without(places: dict[Hashable, int], length: int, other: Sequence[Hashable]) -> int:
    everywhere = (1 << length) - 1
    unused = everywhere
    for element in other:
        matches = unused & places.get(element, 0)
        unused = ((unused + matches) | (unused - matches)) & everywhere
    common = length - unused.bit_count()
    return length + len(other) - 2 * common


def text_pairs(metric: str, preds: str | Sequence[str], target: str | Sequence[str]) -> list[tuple[str, str]]:
    """Pair predicted with target texts; a string alone is one text.

    Raises:
        TypeError: One is no string.
        ValueError: There are more of the one than of the other.
    """
    texts: list[list[str]] = []
    for argument, value in (("preds", preds), ("target", target)):
        given: list[Any] = [value] if isinstance(value, str) else list(value)
        wrong = next((text for text in given if not isinstance(text, str)), None)
        if wrong is not None:
            raise TypeError(
                f"{metric}: `{argument}` must be a string or a list of strings, but has a {type(wrong).__name__} in it "
                "instead. Decode tokens to text, and pass one target for each prediction."
            )
        texts.append(given)
    if len(texts[0]) != len(texts[1]):
        raise ValueError(
            f"{metric}: `preds` and `target` must be as many texts, but are {len(texts[0])} and {len(texts[1])} "
            "instead. Pass one target for each prediction."
        )
    return list(zip(*texts, strict=True))
