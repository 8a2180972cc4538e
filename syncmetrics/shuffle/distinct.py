"""Which rows have an identifier that no row before them has, on this rank or on another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.shuffle.exchange import send_back, share_by_key
from syncmetrics.shuffle.peers import Peers, Told, together
from syncmetrics.shuffle.rows import Rows
from syncmetrics.states.spec import declare_state
from syncmetrics.sync import Part, Route, report_failure, sync_parts
from syncmetrics.transport import WORLD, resolve_transport

__all__ = ["distinct_mask"]

_LABEL = "distinct_mask"
_TOLD = {"rows": declare_state("rows", [], None)}


def distinct_mask(ids: Tensor, *, process_group: Any = WORLD, timeout: float | None = None) -> Tensor:
    """Say which samples are to be counted when some were evaluated twice, as padding samplers have them.

    Of the samples with one identifier, that of the lowest rank is chosen, and there the first. The identifiers alone
    travel, each to the rank that has its range: no rank holds those of all::

        mask = distinct_mask(ids)
        metric.update(preds[mask], target[mask])

    Collective: every rank of the group must call this.

    Args:
        ids: Integers of shape (N,), the same for the same sample on whichever rank; N may differ, and be 0.
        process_group: Over which ranks; all of them if left out.
        timeout: Seconds to wait for the other ranks.

    Returns:
        Bool tensor of shape (N,), on the device of `ids`.

    Raises:
        TypeError: `ids` is no tensor of integers.
        ValueError: `ids` has not one dimension.
        SyncError: The ranks did not come to the end of it.
    """
    route = Route(resolve_transport(process_group), timeout=timeout)
    try:
        _check_ids(ids)
    except (TypeError, ValueError) as error:  # it may be this rank alone
        report_failure(error, route, label=_LABEL)
        raise
    part = Part("", _TOLD, {"rows": [[ids.shape[0], ids.device.type]]}, 1, torch.device("cpu"))
    merged = sync_parts([part], route, label=_LABEL)
    assert merged is not None, "every rank is told"
    rows: Any = merged[0].states["rows"]
    told = Told(tuple(n for n, _ in rows), tuple(device for _, device in rows), {})
    if not any(told.rows):
        return torch.zeros_like(ids, dtype=torch.bool)
    return together(route, _LABEL, told, lambda peers: _mask(peers, ids))


def _check_ids(ids: Any) -> None:
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool:
        found = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise TypeError(f"`ids` must be a torch.Tensor of integers, but is {found} instead. Number the samples.")
    if ids.dim() != 1:
        raise ValueError(f"`ids` must have one dimension, but has the shape {tuple(ids.shape)} instead. Flatten it.")


def _mask(peers: Peers, ids: Tensor) -> Tensor:
    rows = Rows(ids, torch.int64, ids.device)
    share = share_by_key(peers, rows)
    keys, order = share.keys.sort(stable=True)  # of equal ones, that of the lowest rank first
    is_first = torch.cat([keys.new_ones(min(1, keys.shape[0]), dtype=torch.bool), keys[1:] != keys[:-1]])
    chosen = torch.empty_like(is_first)
    chosen[order] = is_first
    return send_back(peers, share, chosen, rows)
