"""Describe, exchange, check, plan, transfer, fold: one sync from the local states to the merged ones.

Every decision is made by the pure modules beside this one; this one goes through the steps.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from syncmetrics.errors import Mark, PacketError, PeerError, is_marked, mark, said_by
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.epoch import tag_of
from syncmetrics.states.merge import own_copy
from syncmetrics.states.reductions import resolve_reduction
from syncmetrics.states.spec import StateSpec, check_value
from syncmetrics.sync.alike import fold_columns
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
from syncmetrics.sync.exchange import Arrived, Packet, attempt, exchange, gather_texts, pack, vote
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
    schema_of,
)
from syncmetrics.sync.memory import Buffers, Known, Memory, Verdict, memory_of, simple_sums, values_inside
from syncmetrics.sync.packet import Said, encode_bundle, encode_manifest, encode_said
from syncmetrics.sync.plan import plan_sync
from syncmetrics.sync.price import has_budget, price_of, warn_over_budget
from syncmetrics.sync.replicas import are_compared, compare_replicas, tell_replicas
from syncmetrics.sync.tally import Runs, Tally, in_runs, out_of_runs
from syncmetrics.sync.trace import CountingTransport, SyncRecord, is_observed, observing
from syncmetrics.sync.transfer import Route, Transfer, Values
from syncmetrics.transport.base import MovedError, Transport, caller_of, episode, role_of, settle

__all__ = ["describe_alone", "next_tag", "report_failure", "shadow_sync", "sync_parts"]


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
            if are_compared(route):
                compare_replicas(parts, route, label)
            return [_alone(part, label) for part in parts]
        if len(parts) == 1:
            return _sync(parts, route, label)
        order = sorted(range(len(parts)), key=lambda i: parts[i].path)
        merged = _sync([parts[i] for i in order], route, label)
        if merged is None:
            return None
        by_part = dict(zip(order, merged, strict=True))
        return [by_part[i] for i in range(len(parts))]


def _alone(part: Part, label: str) -> Merged:
    """Give what a world of one has."""
    if not part.blocks:
        if part.heard is not None:
            part.heard(Tally.alone(part.update_count, part.samples, label), 0)
        return Merged(own_copy(part.states), part.update_count)
    apart = taken_apart([part])
    return put_together([part], [(one, _alone(one, label)) for one in apart])[0]


def _sync(parts: Sequence[Part], route: Route, label: str) -> list[Merged] | None:
    busy = memory_of(route.transport).busy
    before = busy.enter(label, route.transport.name)
    try:
        if are_compared(route):
            settle(route.transport)
            compare_replicas(parts, route, label)
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
        says_nothing = role_of(transport).is_outside and not any(part.update_count for part in brought)
        samples = in_runs([part.samples for part in brought])
        rest = (*about, known.meaning(parts, route.dst), samples)
        packet, sources, error = _describe(brought, known, sequence, label, buffers, rest, says_nothing)
        columns = None if error is not None else known.lay_columns(len(packet.manifest), buffers)
        told = None if columns is None else (len(brought), len(samples))
        arrived = _exchange(here, route, packet, buffers, memory.said, told)
        memory.synced = _count(arrived, sequence)
        if record is not None:
            record.arrived(arrived.entered, route.transport.rank)
        merged: list[Merged] | None = None
        fold_inside: Callable[[], list[Merged]] | None = None
        if columns is not None and arrived.counts is not None:  # every rank says what this one says
            note(transport, route.what)
            _tell(brought, Tally(arrived.told, tuple(length for _, length in samples), label))
            fold_inside = partial(fold_columns, brought, schema, columns, arrived.counts, arrived.packets)
        else:
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
            _tell(brought, _tally_of(manifests, label))
            verdict = _judge(label, known, manifests, arrived, buffers)
            fold_all = partial(fold, brought, schema, verdict.plan, manifests, packets=arrived.packets)
            if verdict.values is None:
                make_ready = partial(_make_ready, label, route, verdict, manifests, sources, arrived.packets, schema)
                merged = _transfer(route, label, make_ready, fold_all, memory)
            else:
                fold_inside = partial(fold_all, verdict.values, sums=verdict.sums)
    # From here on no rank needs this one any more.
    try:
        if fold_inside is not None and route.receives:
            merged = fold_inside()
        memory.buffers = buffers
        if merged is None or brought is parts:
            return merged
        return put_together(parts, list(zip(brought, merged, strict=True)))
    except BaseException as error:
        mark(error, Mark.AFTERWARDS)
        raise


def _make_ready(
    label: str,
    route: Route,
    verdict: Verdict,
    manifests: Sequence[Manifest],
    sources: Sequence[Sequence[Tensor]],
    packets: Tensor,
    schema: Schema,
) -> Transfer:
    """Take the memory that a transfer needs. Where a warning of its price is an error, the ranks vote on that too."""
    if has_budget():
        warn_over_budget(price_of(label, route, schema, verdict.plan, manifests, verdict.sizes, sources))
    return Transfer(route, verdict.plan, manifests, sources, packets, schema)


def _transfer(
    route: Route,
    label: str,
    make_ready: Callable[[], Transfer],
    fold_all: Callable[[Values], list[Merged]],
    memory: Memory,
) -> list[Merged] | None:
    """Bring what did not ride inside, and agree on whether all ranks have it: all have the result then, or none.

    Collective: every rank of the group must call this.

    Args:
        route: Over whom and to whom.
        label: What is synced.
        make_ready: Takes the memory that is needed.
        fold_all: Makes one of the states of all ranks.
        memory: What the group synced before.

    Raises:
        PeerError: A rank had not the memory for it, or could not fold the states.
    """
    buffers = memory.take_votes()
    transfer, error = attempt(make_ready)
    vote(route, label, error, buffers)
    assert transfer is not None
    values = transfer.carry_out()
    merged, error = attempt(lambda: fold_all(values)) if route.receives else (None, None)
    start = time.monotonic()
    apart = vote(route, label, error, buffers)
    _confirm(route, apart, start)
    memory.votes = buffers
    return merged


def _confirm(route: Route, apart: float, start: float) -> None:
    """Look whether others have given up meanwhile: a rank was late, or this process did not run for a while."""
    route.transport.confirm(max(apart, time.monotonic() - start), timeout=route.timeout, what=route.what)


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
    sizes = tuple(header.manifest_bytes for header in arrived.headers)
    verdict = known.verdict
    if verdict is not None and verdict.holds(manifests, sizes, touched, buffers):
        return verdict
    schema = known.schema
    check_manifests(label, schema, manifests)
    plan = plan_sync(schema, manifests, sizes, arrived.packets.shape[1])
    values = values_inside(plan, manifests, arrived.packets) if plan.is_inside else None
    sums = () if values is None else simple_sums(schema, plan, manifests, values)
    said = tuple(m.records for m in manifests)
    verdict = known.verdict = Verdict(said, sizes, touched, plan, values, sums, buffers)
    return verdict


def report_failure(error: BaseException, route: Route, *, label: str) -> None:
    """Enter the next sync of the group with the message that this rank has failed.

    Collective: the other ranks enter a sync of theirs, and every one of them raises `PeerError`.

    Args:
        error: What this rank raised.
        route: Over whom.
        label: What failed.
    """
    if is_marked(error, Mark.REPORTED) or (route.transport.world_size == 1 and not are_compared(route)):
        return
    busy = memory_of(route.transport).busy
    before = busy.enter(label, route.transport.name)
    try:
        mark(error, Mark.REPORTED)  # it may pass through several blocks that report: the others hear it once
        settle(route.transport)
        message = _message_of(error)
        if are_compared(route):
            if not is_marked(error, Mark.TOLD):
                tell_replicas(message, route, label)
            mark(error, Mark.AGREED)
            return
        # Ranks that were told already do not come, but those may that were an episode further.
        _say(route, label, lambda n: Manifest(Status.ERROR, n, 0, label, message=message), is_marked(error, Mark.TOLD))
        mark(error, Mark.AGREED)
    finally:
        busy.leave(before)


def next_tag(transport: Transport) -> int:
    """Give a number for the next sync over a transport, the same on every rank."""
    return tag_of(transport.name, memory_of(transport).synced + 1)


def shadow_sync(route: Route, steps: Mapping[int, tuple[Schema, Sequence[Part]]]) -> bool:
    """Take part in one sync of the other ranks without bringing anything.

    Collective: every rank of the group enters a sync, or this.

    Args:
        route: Over whom.
        steps: What the others may sync, by fingerprint, and the parts that it was made of: a rank that brings nothing
            comes to the same verdict as they do.

    Returns:
        Whether any rank had something to sync; if none had, no rank will have any more.

    Raises:
        PeerError: A rank said that it has failed.
        SyncError: The sync did not come to its end.
    """
    settle(route.transport)
    with episode(route.transport, route.timeout, "a step inside of `join`"):
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
        schema = _schema_said(arrived.manifests.index(active[0]), active[0], steps)
        manifests = _full_manifests(arrived.manifests, len(schema.entries), len(active[0].update_counts))
        label = active[0].label
        check_manifests(label, schema, manifests)
        plan = plan_sync(schema, manifests, [h.manifest_bytes for h in arrived.headers], arrived.packets.shape[1])
        if not plan.is_inside:
            nothing: list[list[Tensor]] = [[] for _ in schema.entries]
            make_ready = partial(Transfer, route, plan, manifests, nothing, arrived.packets)
            _transfer(route, label, make_ready, lambda values: [], memory)
    return True


def _schema_said(rank: int, said: Manifest, steps: Mapping[int, tuple[Schema, Sequence[Part]]]) -> Schema:
    """Give the schema of what another rank syncs, with its metrics as far apart as they are there."""
    if said.fingerprint not in steps:
        return _unknown_schema(len(said.records))
    schema, parts = steps[said.fingerprint]
    return schema_of(taken_apart(parts, decode_blocks(said.message, parts, rank))) if said.message else schema


def _unknown_schema(count: int) -> Schema:
    """Give a schema for states of which this rank knows nothing: where bytes go follows from the records alone."""
    spec = StateSpec("unknown", [], resolve_reduction(None))
    return Schema(tuple(Entry(0, spec, str(index), merged_by="unknown") for index in range(count)), 0)


def _say(
    route: Route, label: str, manifest_of: Callable[[int], Manifest], vainly: bool = False
) -> tuple[Arrived, Route]:
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
            with episode(transport, route.timeout, route.what, vainly=vainly) as here:
                arrived = _exchange(here, route, pack(manifest_of(sequence), [], buffers), buffers, memory.said)
            memory_of(transport).synced = _count(arrived)
            return arrived, route
        except MovedError:
            continue


def _exchange(
    here: episode, route: Route, packet: Packet, buffers: Buffers, said: Said, parts: tuple[int, int] | None = None
) -> Arrived:
    """Send a packet, and give those of all ranks. Collective: every rank of the group must call this.

    Ranks that have met anew have not all come out of the last sync with the same count: one was interrupted before it
    counted, another after. They are together again, whatever they say.
    """
    start = time.monotonic()
    arrived = exchange(route, packet, buffers, said, parts)
    _confirm(route, arrived.apart, start)
    if here.have_met and arrived.counts is None:
        count = _count(arrived)
        arrived = replace(arrived, headers=tuple(replace(header, sequence=count) for header in arrived.headers))
    return arrived


def _count(arrived: Arrived, mine: int = 0) -> int:
    """Give how many syncs there were, as the rank counts that knows of most: all ranks count on from there."""
    return max((header.sequence for header in arrived.headers), default=mine)


def _name_of(sequence: int, label: str) -> str:
    return f"sync {sequence} of `{label}`"


def _describe(
    parts: Sequence[Part],
    known: Known,
    sequence: int,
    label: str,
    buffers: Buffers,
    rest: tuple[str, str, int, Runs],
    says_nothing: bool,
) -> tuple[Packet, list[list[Tensor]], Exception | None]:
    """Say what this rank holds, or why it cannot say: the others must hear of it in either case."""
    schema, about = known.schema, rest[:2]
    try:
        if says_nothing:
            nothing = (Record(Form.NOTHING),) * len(schema.entries)
            records = known.records if known.records == nothing else nothing
            sources: list[list[Tensor]] = [[] for _ in nothing]
        else:
            records, sources = _look_at(parts, schema, known.records)
        manifest = _manifest_of(parts, sequence, known.fingerprint, label, records, rest)
        if records is not known.records or known.about != about:
            known.records, known.said, known.layout = records, encode_said(manifest), None
            known.about = about
        return pack(manifest, sources, buffers, known), sources, None
    except Exception as error:  # it is raised on every rank, from this one
        manifest = Manifest(Status.ERROR, sequence, known.fingerprint, label, message=_message_of(error))
        return pack(manifest, [], buffers), [], error


def _manifest_of(
    parts: Sequence[Part],
    sequence: int,
    fingerprint: int,
    label: str,
    records: tuple[Record, ...],
    rest: tuple[str, str, int, Runs],
) -> Manifest:
    counts, epochs = tuple(part.update_count for part in parts), tuple(part.epoch for part in parts)
    return Manifest(Status.OK, sequence, fingerprint, label, counts, records, epochs, *rest)


def describe_alone(
    parts: Sequence[Part], transport: Transport, label: str
) -> tuple[Schema, Manifest, int, list[list[Tensor]]]:
    """Say what this rank would say in a sync, without one.

    Returns:
        What takes part, what this rank says of it, how many bytes that takes, and the tensors of each state.
    """
    parts = sorted(parts, key=lambda part: part.path)
    brought = taken_apart(parts)
    schema = schema_of(brought)
    records, sources = _look_at(brought, schema, ())
    rest = encode_blocks(parts), caller_of(transport), 0, in_runs([part.samples for part in brought])
    manifest = _manifest_of(brought, 0, schema.fingerprint, label, records, rest)
    return schema, manifest, len(encode_manifest(manifest)), sources


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


def _tell(parts: Sequence[Part], tally: Tally) -> None:
    """Let whoever wants to know it hear what all ranks brought."""
    for index, part in enumerate(parts):
        if part.heard is not None:
            part.heard(tally, index)


def _tally_of(manifests: Sequence[Manifest], label: str) -> Tally:
    told = [(*m.update_counts, *out_of_runs(m.samples, len(m.update_counts))) for m in manifests]
    return Tally(told, (1,) * len(manifests[0].update_counts), label)


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
            nothing = (Record(Form.NOTHING),) * entries
            manifest = replace(manifest, update_counts=(0,) * parts, records=nothing, samples=in_runs([0] * parts))
        if len(manifest.records) != entries or len(manifest.update_counts) != parts:
            raise PacketError(f"the manifest of rank {rank} does not fit its own fingerprint.")
        full.append(manifest)
    return tuple(full)
