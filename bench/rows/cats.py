"""Rows that are joined over ranks, few and many, spread evenly or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from bench.cases import Built, Case, Contender, Role, Row, Scale, Target
from bench.rows.by_hand import gather_into
from bench.rows.own import OurRows, PeerRows

__all__ = ["ROWS", "broadcast_act", "padded_act", "shares"]

_CONTENDERS: dict[str, Role] = {
    "syncmetrics": "ours",
    "torchmetrics": "peer",
    "pad and all_gather": "raw",
    "a broadcast a rank": "raw",
}
_SIZES = {1 << 10: "1 KB", 1 << 16: "64 KB", 1 << 20: "1 MB", 1 << 24: "16 MB", 1 << 26: "64 MB", 1 << 28: "256 MB"}
_SHAPES = ("even", "ragged", "skewed")


def shares(total: int, world: int, shape: str) -> list[int]:
    """Give the number of rows of each rank.

    Args:
        total: Rows of all ranks.
        world: Number of ranks.
        shape: "even"; "ragged": rank r has r + 1 parts; "skewed": one row each, and the last rank has all others.
    """
    if shape == "skewed":
        return [1] * (world - 1) + [total - world + 1]
    weights = [1] * world if shape == "even" else list(range(1, world + 1))
    found = [total * weight // sum(weights) for weight in weights]
    found[-1] += total - sum(found)
    return found


def _cases(scale: Scale) -> list[Case]:
    sizes = [s for s in _SIZES if s <= (1 << 16 if scale.quick else 1 << 28 if scale.full else 1 << 26)]
    found = [
        Case(
            "cat",
            world,
            f"{_SIZES[size]}, {shape}",
            _CONTENDERS,
            {"rows": shares(size // 4, world, shape)},
            (Target("raw", 1.15),),
            headline=world == 4 and size == 1 << 24,
        )
        for world in scale.pick(2, 4)
        for size in sizes
        for shape in _SHAPES
    ]
    million = [1, 1, 1, 10_000 if scale.quick else 1_000_000]
    wanted = (Target("peer", 4.0), Target("raw", 1.15))
    skewed = [
        Case("cat", world, f"1, 1, 1 and {million[-1]:,} rows", _CONTENDERS, {"rows": million}, wanted, headline=True)
        for world in scale.pick(4)
    ]
    return found + skewed


def _sizes(rows: Tensor, world: int) -> list[int]:
    """Exchange lengths, which nobody knows beforehand."""
    sizes = torch.empty(world, dtype=torch.int64)
    gather_into(sizes, torch.tensor([len(rows)]))
    return [int(size) for size in sizes.tolist()]


def padded_act(rows: Tensor, world: int) -> Callable[[], Tensor]:
    """Give the join that pads to the longest, by hand."""

    def act() -> Tensor:
        sizes = _sizes(rows, world)
        longest = max(sizes)
        if all(size == longest for size in sizes):
            out = torch.empty(world * longest)
            gather_into(out, rows)
            return out
        local = torch.empty(longest)
        local[: len(rows)] = rows
        out = torch.empty(world * longest)
        gather_into(out, local)
        return torch.cat([out[r * longest : r * longest + size] for r, size in enumerate(sizes)])

    return act


def broadcast_act(rows: Tensor, world: int, rank: int) -> Callable[[], Tensor]:
    """Give the join in which each rank sends its rows into their place, by hand."""

    def act() -> Tensor:
        sizes = _sizes(rows, world)
        out = torch.empty(sum(sizes))
        started = []
        for src, piece in enumerate(torch.split(out, sizes)):
            if src == rank:
                piece.copy_(rows)
            started.append(dist.broadcast(piece, src=src, async_op=True))
        for work in started:
            assert work is not None
            work.wait()
        return out

    return act


def _build(case: Case, rank: int) -> Built:
    rows = torch.randn(case.params["rows"][rank])
    mine, peer = OurRows(), PeerRows()

    def fill(metric: OurRows | PeerRows) -> None:
        metric.reset()
        metric.update(rows)

    return {
        "syncmetrics": Contender(mine.compute, lambda: fill(mine)),
        "torchmetrics": Contender(peer.compute, lambda: fill(peer)),
        "pad and all_gather": Contender(padded_act(rows, case.world)),
        "a broadcast a rank": Contender(broadcast_act(rows, case.world, rank)),
    }


ROWS = (Row("cat", "compute() of rows that are joined", _cases, _build),)
