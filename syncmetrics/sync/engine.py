"""Describe, exchange, check, plan, transfer, fold: one sync from the local states to the merged ones.

Every decision is made by the pure modules beside this one; this one goes through the steps.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from syncmetrics.errors import PacketError, PeerError, said_by
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.merge import own_copy
from syncmetrics.states.reductions import resolve_reduction
from syncmetrics.states.spec import StateSpec, check_value
from syncmetrics.sync.apart import common_blocks, decode_blocks, encode_blocks, put_together, taken_apart
from syncmetrics.sync.check import (
    callers_of,
    check_failures,
    check_manifests,
    describe_difference,
    encode_schema,
    mean_the_same,
    threads_fit,
)
from syncmetrics.sync.exchange import Arrived, Packet, exchange, gather_texts, pack, vote
from syncmetrics.sync.fold import Merged, fold
from syncmetrics.sync.history import note, notes
from syncmetrics.sync.manifest import (
    Entry,
    Form,
    Manifest,
    Part,
    Record,
    Schema,
    Status,
    describe_state,
    is_described_by,
)
from syncmetrics.sync.memory import Buffers, Known, Memory, Verdict, memory_of, simple_sums, values_inside
from syncmetrics.sync.packet import encode_bundle, encode_said
from syncmetrics.sync.plan import plan_sync
from syncmetrics.sync.trace import CountingTransport, SyncRecord, is_observed, observing
from syncmetrics.sync.transfer import Route, Transfer, Values
from syncmetrics.transport.base import MovedError, caller_of, episode, settle

_Result = TypeVar("_Result")
_REPORTED = "_reported_by_syncmetrics"
_AFTERWARDS = "_after_the_exchange_of_syncmetrics"

__all__ = ["is_afterwards", "is_reported", "mark_reported", "report_failure", "shadow_sync", "sync_parts"]


def sync_parts(parts: Sequence[Part], route: Route, *, label: str) -> list[Merged] | None:
    """Merge the states of all ranks. Collective: every rank of the group must call this.

    Args:
        parts: What this rank brings: the same paths, states and reductions on every rank, in any order.
        route: Over whom and to whom.
        label: What to call this sync in an error.

    Returns:
        One result for each part, in the order given; None on ranks that are not to receive it.

    Raises:
        SyncError: The sync did not come to its end. The local states are untouched.
    """
    with no_graph():
        if route.transport.world_size == 1:
            return [_alone(part) for part in parts]
        if len(parts) == 1:
            return _sync(parts, route, label)
        order = sorted(range(len(parts)), key=lambda i: parts[i].path)
        merged = _sync([parts[i] for i in order], route, label)
        if merged is None:
            return None
        by_part = dict(zip(order, merged, strict=True))
        return [by_part[i] for i in range(len(parts))]


def _alone(part: Part) -> Merged:
    """Give what a world of one has."""
    if not part.blocks:
        return Merged(own_copy(part.states), part.update_count)
    apart = taken_apart([part])
    return put_together([part], [(one, _alone(one)) for one in apart])[0]


def _sync(parts: Sequence[Part], route: Route, label: str) -> list[Merged] | None:
    busy = memory_of(route.transport).busy
    before = busy.enter(label, route.transport.name)
    try:
        if not is_observed():
            return _sync_observed(parts, route, label, None)
        with observing(label, route.transport) as record:
            return _sync_observed(parts, route, label, record)
    finally:
        busy.leave(before)


def _sync_observed(parts: Sequence[Part], route: Route, label: str, record: SyncRecord | None) -> list[Merged] | None:
    settle(route.transport)
    while True:
        try:
            return _try_to_sync(parts, route, label, record)
        except MovedError:
            continue


def _try_to_sync(parts: Sequence[Part], route: Route, label: str, record: SyncRecord | None) -> list[Merged] | None:
    """Sync over the lane that this rank is on.

    Raises:
        MovedError: The other ranks are on another one.
    """
    over = route
    transport = route.transport
    memory = memory_of(transport)
    sequence = memory.synced + 1
    route = route.named(_name_of(sequence, label))
    with episode(transport, route.timeout, route.what) as here:
        brought = taken_apart(parts)
        known = memory.find(brought, label, parts)
        schema, buffers = known.schema, memory.take_buffers()
        if record is not None:
            record.sequence = sequence
            route = replace(route, transport=CountingTransport(transport, record))
        about = encode_blocks(parts), caller_of(transport)
        meaning = known.meaning(parts, route.dst)
        packet, sources, error = _describe(brought, known, sequence, label, buffers, about, meaning)
        arrived = exchange(route, packet, buffers, memory.said)
        transport.confirm(arrived.apart, timeout=route.timeout, what=route.what)
        memory.synced = _count(arrived)
        if record is not None:
            record.arrived(arrived.headers, route.transport.rank)
        try:
            check_failures(arrived.manifests)
        except PeerError as failure:
            raise failure from error
        if not mean_the_same(arrived.headers, arrived.manifests, memory.callers):
            contenders = memory.busy.contenders
            text = encode_schema(label, schema, brought, notes(transport), about[1], contenders, route.dst)
            _resolve_difference(route, arrived, text, memory)
        note(transport, route.what)
        if len({m.message for m in arrived.manifests if m.status is Status.OK}) > 1:
            memory.buffers = buffers
            apart = _sync_apart(parts, arrived.manifests, over, label, record)
            return None if apart is None else put_together(parts, apart)
        manifests = _full_manifests(arrived.manifests, len(schema.entries), len(brought))
        verdict = _judge(label, known, manifests, arrived, buffers)
        fold_all = partial(fold, brought, schema, verdict.plan, manifests)
        merged: list[Merged] | None = None
        if verdict.values is None:
            make_ready = partial(Transfer, route, verdict.plan, manifests, sources, arrived.packets, schema)
            merged = _transfer(here, route, label, make_ready, partial(fold_all, packets=arrived.packets), memory)
    # From here on no rank needs this one any more.
    try:
        if verdict.values is not None and route.receives:
            merged = fold_all(verdict.values, packets=arrived.packets, sums=verdict.sums)
        memory.buffers = buffers
        if merged is None or brought is parts:
            return merged
        return put_together(parts, list(zip(brought, merged, strict=True)))
    except BaseException as error:
        setattr(error, _AFTERWARDS, True)
        raise


def _transfer(
    here: episode,
    route: Route,
    label: str,
    make_ready: Callable[[], Transfer],
    fold_all: Callable[[Values], list[Merged]],
    memory: Memory,
) -> list[Merged] | None:
    """Bring what did not ride inside, and agree on whether all ranks have it: all have the result then, or none.

    Collective: every rank of the group must call this.

    Args:
        here: The episode that this is a part of.
        route: Over whom and to whom.
        label: What is synced.
        make_ready: Takes the memory that is needed.
        fold_all: Makes one of the states of all ranks.
        memory: What the group synced before.

    Raises:
        PeerError: A rank had not the memory for it, or could not fold the states.
    """
    buffers = memory.take_votes()
    transfer, error = _attempt(make_ready)
    _agree(here, route, label, error, buffers)
    assert transfer is not None
    values = transfer.carry_out()
    merged, error = _attempt(lambda: fold_all(values)) if route.receives else (None, None)
    apart = _agree(here, route, label, error, buffers)
    route.transport.confirm(apart, timeout=route.timeout, what=route.what)
    memory.votes = buffers
    return merged


def _agree(here: episode, route: Route, label: str, error: Exception | None, buffers: Buffers) -> float:
    try:
        return vote(route, label, error, buffers)
    except Exception as raised:
        here.is_agreed = raised is error
        raise


def _attempt(call: Callable[[], _Result]) -> tuple[_Result | None, Exception | None]:
    """Give what a call gives, or what it raises: the other ranks have to hear of it first."""
    try:
        return call(), None
    except Exception as error:
        return None, error


def _resolve_difference(route: Route, arrived: Arrived, text: bytes, memory: Memory) -> None:
    """Find out how the syncs of the ranks differ. Collective: every rank of the group must call this.

    Raises:
        SchemaMismatchError: In what they sync, or in the thread that does where another could be meant.
    """
    texts = gather_texts(route, text, Buffers.of(route.transport.world_size))
    memory.callers.add(callers_of(arrived.manifests))
    if not (mean_the_same(arrived.headers, arrived.manifests, memory.callers) and threads_fit(texts)):
        memory.callers.discard(callers_of(arrived.manifests))
        memory.busy.contenders.update(callers_of(arrived.manifests))
        raise describe_difference(arrived.headers, texts)


def _sync_apart(
    parts: Sequence[Part], manifests: Sequence[Manifest], route: Route, label: str, record: SyncRecord | None
) -> list[tuple[Part, Merged]] | None:
    """Sync once more, each metric apart from those that it does not share its states with on some rank.

    Collective: every rank comes here, for all of them have read the same manifests.
    """
    told = [decode_blocks(m.message, parts, rank) for rank, m in enumerate(manifests)]
    common = [common_blocks([blocks[index] for blocks in told]) for index in range(len(parts))]
    refined = taken_apart(parts, common)
    # From here on these are metrics like any others, which share with nobody.
    merged = _sync_observed([replace(part, names=(), each=None) for part in refined], route, label, record)
    return None if merged is None else list(zip(refined, merged, strict=True))


def _judge(label: str, known: Known, manifests: tuple[Manifest, ...], arrived: Arrived, buffers: Buffers) -> Verdict:
    """Check the manifests and plan; or take the plan of the last time, if every rank says what it said then."""
    touched = tuple(count > 0 for m in manifests for count in m.update_counts)
    verdict = known.verdict
    if verdict is not None and verdict.holds(manifests, touched, buffers):
        return verdict
    schema = known.schema
    check_manifests(label, schema, manifests)
    plan = plan_sync(schema, manifests, [h.manifest_bytes for h in arrived.headers], arrived.packets.shape[1])
    values = values_inside(plan, manifests, arrived.packets) if plan.is_inside else None
    sums = () if values is None else simple_sums(schema, plan, manifests, values)
    said = tuple(m.records for m in manifests)
    verdict = known.verdict = Verdict(said, touched, plan, values, sums, buffers)
    return verdict


def report_failure(error: BaseException, route: Route, *, label: str) -> None:
    """Enter the next sync of the group with the message that this rank has failed.

    Collective: the other ranks enter a sync of theirs, and every one of them raises `PeerError`.

    Args:
        error: What this rank raised.
        route: Over whom.
        label: What failed.
    """
    if route.transport.world_size == 1 or is_reported(error):
        return
    busy = memory_of(route.transport).busy
    before = busy.enter(label, route.transport.name)
    try:
        mark_reported(error)  # it may pass through several blocks that report: the others hear it once
        settle(route.transport)
        message = _message_of(error)
        _say(route, label, lambda sequence: Manifest(Status.ERROR, sequence, 0, label, message=message))
    finally:
        busy.leave(before)


def mark_reported(error: BaseException) -> None:
    """Remember that the other ranks have heard of an error, so that `report_failure` need not tell them again."""
    setattr(error, _REPORTED, True)


def is_reported(error: BaseException) -> bool:
    """Whether the other ranks have heard of an error."""
    return bool(getattr(error, _REPORTED, False))


def is_afterwards(error: BaseException) -> bool:
    """Whether an error was raised when all ranks had the states of all, so that the sync counts as done."""
    return bool(getattr(error, _AFTERWARDS, False))


def shadow_sync(route: Route, schemas: Mapping[int, Schema]) -> bool:
    """Take part in one sync of the other ranks without bringing anything.

    Collective: every rank of the group enters a sync, or this.

    Args:
        route: Over whom.
        schemas: What the others may sync, by fingerprint: a rank that brings nothing comes to the same verdict as they
            do.

    Returns:
        Whether any rank had something to sync; if none had, no rank will have any more.

    Raises:
        PeerError: A rank said that it has failed.
        SyncError: The sync did not come to its end.
    """
    settle(route.transport)
    with episode(route.transport, route.timeout, "a step inside of `join`") as here:
        arrived, route = _say(route, "join", lambda sequence: Manifest(Status.JOINED, sequence, 0, "join"))
        active = [m for m in arrived.manifests if m.status is not Status.JOINED]
        if not active:
            return False
        check_failures(arrived.manifests)
        memory = memory_of(route.transport)
        if not mean_the_same(arrived.headers, arrived.manifests, memory.callers):
            _resolve_difference(route, arrived, b"", memory)
        if len({m.message for m in active}) > 1:
            return True  # they sync once more
        schema = schemas.get(active[0].fingerprint) or _unknown_schema(len(active[0].records))
        manifests = _full_manifests(arrived.manifests, len(schema.entries), len(active[0].update_counts))
        label = active[0].label
        check_manifests(label, schema, manifests)
        plan = plan_sync(schema, manifests, [h.manifest_bytes for h in arrived.headers], arrived.packets.shape[1])
        if not plan.is_inside:
            nothing: list[list[Tensor]] = [[] for _ in schema.entries]
            make_ready = partial(Transfer, route, plan, manifests, nothing, arrived.packets)
            _transfer(here, route, label, make_ready, lambda values: [], memory)
    return True


def _unknown_schema(count: int) -> Schema:
    """Give a schema for states of which this rank knows nothing: where bytes go follows from the records alone."""
    spec = StateSpec("unknown", [], resolve_reduction(None))
    return Schema(tuple(Entry(0, spec, str(index), merged_by="unknown") for index in range(count)), 0)


def _say(route: Route, label: str, manifest_of: Callable[[int], Manifest]) -> tuple[Arrived, Route]:
    """Enter an exchange without states, and give what arrived and the route that it went.

    The buffers are its own: what it says must not stay in those of others.
    """
    transport = route.transport
    while True:
        try:
            sequence = memory_of(transport).synced + 1
            route = route.named(_name_of(sequence, label))
            memory = Memory(transport.world_size)
            buffers = memory.take_buffers()
            with episode(transport, route.timeout, route.what):
                arrived = exchange(route, pack(manifest_of(sequence), [], buffers), buffers, memory.said)
                transport.confirm(arrived.apart, timeout=route.timeout, what=route.what)
            memory_of(transport).synced = _count(arrived)
            return arrived, route
        except MovedError:
            continue


def _count(arrived: Arrived) -> int:
    """Give how many syncs there were, as the rank counts that knows of most: all ranks count on from there.

    A rank that gave up has not counted a sync which one that came late may have. They are told once, and meet again.
    """
    return max(header.sequence for header in arrived.headers)


def _name_of(sequence: int, label: str) -> str:
    return f"sync {sequence} of `{label}`"


def _describe(
    parts: Sequence[Part],
    known: Known,
    sequence: int,
    label: str,
    buffers: Buffers,
    about: tuple[str, str],
    meaning: int,
) -> tuple[Packet, list[list[Tensor]], Exception | None]:
    """Say what this rank holds, or why it cannot say: the others must hear of it in either case."""
    schema = known.schema
    try:
        records, sources = _look_at(parts, schema, known.records)
        counts, fresh = tuple(part.update_count for part in parts), tuple(part.fresh for part in parts)
        manifest = Manifest(Status.OK, sequence, known.fingerprint, label, counts, records, fresh, *about, meaning)
        if records is not known.records or known.about != about:
            known.records, known.said, known.layout = records, encode_said(manifest), None
            known.about = about
        return pack(manifest, sources, buffers, known), sources, None
    except Exception as error:  # it is raised on every rank, from this one
        manifest = Manifest(Status.ERROR, sequence, known.fingerprint, label, message=_message_of(error))
        return pack(manifest, [], buffers), [], error


def _look_at(
    parts: Sequence[Part], schema: Schema, before: tuple[Record, ...]
) -> tuple[tuple[Record, ...], list[list[Tensor]]]:
    """Describe all states; `before` is given back itself if it still describes them."""
    records: list[Record] = []
    sources: list[list[Tensor]] = []
    same = len(before) == len(schema.entries)
    for index, entry in enumerate(schema.entries):
        value = parts[entry.part].states[entry.spec.name]
        known = before[index] if same else None
        if known is not None and isinstance(value, Tensor) and is_described_by(value, known):
            sources.append([value.detach() if value.requires_grad else value])
            records.append(known)
        else:
            record, tensors = _describe_entry(parts, entry)
            sources.append(tensors)
            records.append(known if known == record else record)
    same = same and all(new is old for new, old in zip(records, before, strict=True))
    return before if same else tuple(records), sources


def _describe_entry(parts: Sequence[Part], entry: Entry) -> tuple[Record, list[Tensor]]:
    value = parts[entry.part].states[entry.spec.name]
    try:
        record, tensors = describe_state(entry.spec, value, apart=entry.merged_by is not None)
        if record.form in (Form.BUNDLE, Form.PLAIN):
            assert isinstance(value, list)
            try:
                tensors = [encode_bundle(tensors or value)]
            except TypeError:
                check_value(value)  # which says more
                raise
            record = Record(record.form, torch.uint8, (tensors[0].numel(),), tensors[0].device.type)
    except (TypeError, ValueError) as error:
        colon = "" if isinstance(error, TypeError) else ":"  # that of a wrong type begins with the verb
        raise type(error)(f"state `{entry.path}`{colon} {error}") from error
    return record, tensors


def _message_of(error: BaseException) -> str:
    """Give the message of an error, and the last line of its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (in {frames[-1].name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return f"{said_by(error)}{where}"


def _full_manifests(manifests: Sequence[Manifest], entries: int, parts: int) -> tuple[Manifest, ...]:
    """Check that every manifest describes what its fingerprint says; a rank that has joined holds nothing of it."""
    full = []
    for rank, manifest in enumerate(manifests):
        if manifest.status is Status.JOINED:
            manifest = replace(manifest, update_counts=(0,) * parts, records=(Record(Form.NOTHING),) * entries)
        if len(manifest.records) != entries or len(manifest.update_counts) != parts:
            raise PacketError(f"the manifest of rank {rank} does not fit its own fingerprint.")
        full.append(manifest)
    return tuple(full)
