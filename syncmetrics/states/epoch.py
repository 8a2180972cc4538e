"""Which epoch the states of a metric belong to, as far as the ranks have to agree on it: one number.

It says whether they were reset since the last sync that gave a value, which sync that was, and which one has begun
since the last reset and has not given one. The ranks are in different epochs if some were reset and others were not; or
if a rank tries that sync again which gave others their value (a process was killed within it), and they have gone on.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

__all__ = [
    "LAST",
    "NEW",
    "after_reset",
    "after_sync",
    "after_try",
    "agree",
    "is_fresh",
    "of_several",
    "tag_of",
    "went_on",
]

#: As after `__init__`.
NEW = 0
_SYNCED = 1
_TAG = (1 << 31) - 1
#: No number is larger: it fits into eight bytes, with a sign.
LAST = (1 << 63) - 1


def tag_of(group: str, sequence: int) -> int:
    """Give a number for a sync, the same on every rank."""
    return zlib.crc32(f"{group} {sequence}".encode()) & _TAG or 1


def is_fresh(epoch: int) -> bool:
    """Whether the metric was reset since the last sync that gave a value, or there was none."""
    return not epoch & _SYNCED


def _tried(epoch: int) -> int:
    """Give the sync that has begun since the last reset and has not given a value; 0 if none has."""
    return epoch >> 1 & _TAG


def _valued(epoch: int) -> int:
    """Give the last sync that gave a value; 0 if none did."""
    return epoch >> 32


def after_try(epoch: int, tag: int) -> int:
    """Give the epoch after a sync that has begun, and has no value yet."""
    return _valued(epoch) << 32 | tag << 1 | epoch & _SYNCED


def after_sync(epoch: int) -> int:
    """Give the epoch after that sync gave its value."""
    return _tried(epoch) << 32 | _SYNCED


def after_reset(epoch: int) -> int:
    """Give the epoch after a reset."""
    return _valued(epoch) << 32


def of_several(epochs: Collection[int]) -> int:
    """Give the epoch of metrics that are taken for one: any of them that is not new speaks for all."""
    return min(set(epochs), key=lambda epoch: (is_fresh(epoch), not _tried(epoch), -epoch))


def agree(epochs: Collection[int]) -> bool:
    """Say whether ranks can be in one epoch."""
    if len(epochs) <= 1:
        return True
    if len({is_fresh(epoch) for epoch in epochs}) > 1:
        return False
    tried = {_tried(epoch) for epoch in epochs} - {0}
    return not tried & {_valued(epoch) for epoch in epochs}


def went_on(epochs: Collection[int]) -> list[int]:
    """Give those of the epochs that had their value of a sync which others try again."""
    tried = {_tried(epoch) for epoch in epochs} - {0}
    return [epoch for epoch in epochs if _valued(epoch) in tried]
