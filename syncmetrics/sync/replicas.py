"""Replicas: ranks that see the same data, each in a group that syncs by itself, and how they are compared if asked to.

Before every sync of such a group all ranks that have data, of all groups, say in one exchange what their states are,
as digests. All of them read the same and come to the same verdict: all go on, or all raise the same error. Whoever
fails says so in that exchange too, for it is there that the others wait.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import Mark, PacketError, PeerError, ReplicaMismatchError, mark
from syncmetrics.states.plain import encode_plain
from syncmetrics.states.spec import State
from syncmetrics.sync.exchange import gather_texts
from syncmetrics.sync.manifest import Part
from syncmetrics.sync.memory import Buffers
from syncmetrics.sync.packet import read_bytes
from syncmetrics.sync.route import Route
from syncmetrics.transport.base import MovedError, Role, episode, role_of

__all__ = ["are_compared", "compare_replicas", "tell_replicas"]

_SHOWN = 4


def are_compared(route: Route) -> bool:
    """Say whether replicas are compared before each sync over a route. It does not communicate."""
    return role_of(route.transport).whole is not None


def compare_replicas(parts: Sequence[Part], route: Route, label: str) -> None:
    """Check that replicas hold the same. Collective: every rank of every group that has data must call this.

    Args:
        parts: What this rank brings to the sync.
        route: Over whom it is.
        label: What to call it in an error.

    Raises:
        ReplicaMismatchError: They do not, here or in another group.
        PeerError: A rank said that it has failed.
    """
    said: dict[str, Any] = {"label": label}
    try:
        said["digests"] = {path: digest for part in parts for path, digest in _digests(part)}
    except Exception as error:
        said["failed"] = f"{type(error).__name__}: {error}"
    _agree(role_of(route.transport), route, label, said)


def tell_replicas(message: str, route: Route, label: str) -> None:
    """Say that this rank has failed, to those that compare. Collective, as `compare_replicas`."""
    with suppress(PeerError):  # which it is for the others
        _agree(role_of(route.transport), route, label, {"label": label, "failed": message})


def _agree(role: Role, route: Route, label: str, mine: Mapping[str, Any]) -> None:
    whole = role.whole
    assert whole is not None
    what = f"the comparison of replicas before `{label}`"
    over = replace(route, transport=whole, dst=None, what=what)
    text = json.dumps(mine).encode()
    while True:
        try:
            with episode(whole, route.timeout, what):
                start = time.monotonic()
                texts = gather_texts(over, text, Buffers.of(whole.world_size))
                whole.confirm(time.monotonic() - start, timeout=route.timeout, what=what)
            break
        except MovedError:
            continue
    said = [_read(one, rank) for rank, one in enumerate(texts)]
    error = _verdict(role, said)
    if error is not None:
        mark(error, Mark.AGREED)
        raise error


def _verdict(role: Role, said: Sequence[Mapping[str, Any]]) -> Exception | None:
    """Give the error that all ranks raise, if there is one. Pure: it follows from what all have said."""
    failures = {rank: str(one["failed"]) for rank, one in enumerate(said) if "failed" in one}
    label = next((str(one["label"]) for one in said if "digests" in one), str(said[0].get("label", "")))
    if failures:
        lines = "".join(f"\n  {role.names[rank]}: {text}" for rank, text in failures.items())
        return PeerError(f"the sync of `{label}` failed on {len(failures)} of {len(said)} ranks:{lines}", failures)
    found = [line for some in role.replicas for line in _differences(some, said, role.names)]
    if not found:
        return None
    more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    lines = "".join(f"\n  {line}" for line in found[:_SHOWN])
    return ReplicaMismatchError(
        f"replicas hold different states in the sync of `{label}`, so each of them would come to another value:{lines}"
        f"{more}\nIf they see different data, name the dimension along which they do, over(mesh, (..., 'that one')), or"
        " in only={...} if only some of them have any. If they are to see the same, the model or the loader of one"
        " differs from those of the others."
    )


def _differences(some: Sequence[int], said: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Say in which states one set of replicas differs."""
    first, *rest = some
    lines = []
    for rank in rest:
        a, b = said[first]["digests"], said[rank]["digests"]
        paths = sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))
        if paths:
            shown = ", ".join(f"`{path}`" for path in paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
            lines.append(f"{names[first]} and {names[rank]}: {shown}")
    return lines


def _read(text: bytes, rank: int) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise PacketError(f"rank {rank} did not say what its states are: {error}") from error
    if not isinstance(said, dict):
        raise PacketError(f"rank {rank} did not say what its states are.")
    return said


def _digests(part: Part) -> list[tuple[str, str]]:
    """Give a digest of each state, and of the number of updates, under the names that stand in errors."""
    before = f"{part.path}." if part.path else ""
    found = [(f"{before}{name}", _digest(value)) for name, value in part.states.items()]
    return [*found, (f"{before}update_count", str(part.update_count))]


def _digest(value: State) -> str:
    digest = blake2b(digest_size=12)
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Tensor):
            flat = item.detach().to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
            digest.update(f"{item.dtype}{tuple(item.shape)}".encode())
            digest.update(read_bytes(flat.view(torch.uint8)))
        else:
            digest.update(encode_plain([item]))
    return digest.hexdigest()
