"""The table of what can go wrong between ranks, and what has to come of it. `docs/faults.md` says the same to users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncmetrics import PeerError, PeerLostError, SchemaMismatchError, SyncError, SyncTimeoutError
from tests.ranks import faults_code, faults_data, faults_gone, faults_join, faults_left
from tests.ranks.faults_watch import Seen, Watch, probe
from tests.ranks.memories import move

__all__ = ["SCENARIOS", "Scenario", "run_alone", "run_family"]

_Body = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What goes wrong, and what has to come of it.

    Attributes:
        name: As in `docs/faults.md`.
        body: What every rank does, and watches.
        error: What a call that is meant to fail raises on every rank; None if every call gives the right value.
        family: Scenarios of one family run in one process group, one after another; empty for those that break it.
        worlds: World sizes.
        words: What the text of the error must have in it.
        words_of: More of that, by tag of the call.
        missing: The ranks that the error must name.
        gone: The ranks that do not end well.
        lives: Whether the group is of use afterwards.
        within: Seconds that a failing call may take.
    """

    name: str
    body: _Body
    error: type[SyncError] | None = None
    family: str = ""
    worlds: tuple[int, ...] = (2, 3, 4)
    words: tuple[str, ...] = ()
    words_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: Callable[[int], tuple[int, ...]] | None = None
    gone: Callable[[int], tuple[int, ...]] = lambda world_size: ()
    lives: bool = True
    within: float = 20.0


def last(world_size: int) -> tuple[int, ...]:
    return (world_size - 1,)


def _differing() -> list[Scenario]:
    d = faults_data
    return [
        Scenario("a rank without data", d.no_data, family="data"),
        Scenario("other numbers of updates", d.uneven_updates, family="data"),
        Scenario("other numbers of rows", d.uneven_rows, family="data"),
        Scenario("a list of tensors of any shape", d.ragged_list, family="data"),
        Scenario("other dtypes in cat", d.dtypes_cat, family="data"),
        Scenario("other dtypes in sum", d.dtypes_sum, family="data"),
        Scenario("collection in another order", d.shuffled_collection, family="data"),
        Scenario(
            "other trailing shapes in cat",
            d.ragged_rows,
            SchemaMismatchError,
            "schema",
            words=("state `rows` of `Rows`", "(4,) on rank 0", "(3,) on rank", "dist_reduce_fx=None"),
        ),
        Scenario(
            "dtypes without a common one",
            d.dtypes_without_a_common_one,
            SchemaMismatchError,
            "schema",
            words=("state `rows` of `Rows`", "dtypes without a common one"),
            words_of={f"{a} and {b}": (str(a), str(b)) for a, b in d.UNPROMOTABLE},
        ),
        Scenario(
            "other shapes", d.other_shape, SchemaMismatchError, "schema", words=("(2,) on rank 0", "(3,) on rank")
        ),
        Scenario(
            "other numbers of classes",
            d.other_class_count,
            SchemaMismatchError,
            "schema",
            words=("`num_classes` is 11 on rank", "10 on rank"),
        ),
        Scenario(
            "a metric on one rank only",
            d.extra_metric,
            SchemaMismatchError,
            "schema",
            words=("`extra.rows` exists on rank 0 only",),
        ),
        Scenario(
            "a state on one rank only",
            d.extra_state,
            SchemaMismatchError,
            "schema",
            words=("`another` exists on rank 0 only",),
        ),
        Scenario(
            "another reduction",
            d.other_reduction,
            SchemaMismatchError,
            "schema",
            words=("state `state` is", "reduced with", "on rank 0"),
        ),
        Scenario(
            "another default",
            d.other_default,
            SchemaMismatchError,
            "schema",
            words=("state `state` starts from", "on rank 0"),
        ),
        Scenario("another setting", d.other_setting, SchemaMismatchError, "schema", words=(" is ", "on rank 0")),
        Scenario("settings that may differ", d.settings_that_may_differ, family="data"),
        Scenario(
            "another argument of a reduction",
            d.other_argument,
            SchemaMismatchError,
            "schema",
            words=("(power=2)", "(power=3)"),
        ),
        Scenario(
            "another receiver",
            d.other_receiver,
            SchemaMismatchError,
            "schema",
            words=("the result goes to rank 0 on rank 0, every rank on rank",),
        ),
        Scenario(
            "another step",
            d.other_steps,
            SchemaMismatchError,
            "schema",
            words=("`number of synced steps since the last reset` is",),
        ),
        Scenario(
            "another kind of state",
            d.other_kind,
            SchemaMismatchError,
            "schema",
            words_of={
                "a tensor and a list": ("a list reduced with 'cat' on rank 0", "a tensor reduced with 'cat' on rank"),
                "tensors and plain data": ("different kinds of data", "plain data on rank 0", "tensors on rank"),
            },
        ),
        Scenario(
            "metrics synced in another order",
            d.crossed_metrics,
            SchemaMismatchError,
            "schema",
            words=("`Total` on rank", "`Accuracy` on rank"),
        ),
    ]


def _failing() -> list[Scenario]:
    c = faults_code
    return [
        Scenario("update raises", c.bad_batch, PeerError, "code", words=("BoomError: this batch is bad",)),
        Scenario("an error without words", c.mute_error, PeerError, "code", words=("MuteError: its text",)),
        Scenario(
            "a state that cannot be sent",
            c.impossible_state,
            PeerError,
            "code",
            words_of={
                "rows that do not fit": ("rank 0: StateError", "(3,) and (4,)"),
                "no dense tensor": ("TypeError", "only dense tensors"),
            },
        ),
        Scenario("a reduction of your own raises everywhere", c.reduction_fails_everywhere, family="code"),
        Scenario(
            "a reduction of your own raises on one rank",
            c.reduction_fails_once,
            PeerError,
            "code",
            words=("BoomError: cannot reduce here",),
        ),
        Scenario("compute raises everywhere", c.compute_fails_everywhere, family="code"),
        Scenario(
            "compute raises on one rank", c.compute_fails_once, PeerError, "code", words=("rank 0: BoomError: no",)
        ),
    ]


def _straying() -> list[Scenario]:
    c = faults_code
    both = ("`Total` on rank", "`Accuracy` on rank")
    return [
        Scenario("a rank skips a compute", c.skipped_compute, SchemaMismatchError, "way", words=both),
        Scenario("a rank computes once more", c.computed_again, SchemaMismatchError, "way", words=both),
        Scenario(
            "a cached value on one rank",
            c.cached_on_one_rank,
            SchemaMismatchError,
            "way",
            words=(*both, "rank 0 did", "a cached value of `Total`, without a sync"),
        ),
        Scenario(
            "a reset on one rank",
            c.another_epoch,
            SchemaMismatchError,
            "way",
            words=("was reset since its last sync on rank 0", "different epochs", "a cached value of `Total`"),
        ),
        Scenario("updated on other ranks only", c.updated_elsewhere, family="cache"),
        Scenario(
            "other numbers of steps without join", c.step_meets_compute, SchemaMismatchError, "step", words=("Total",)
        ),
        Scenario("if rank == 0: compute()", c.only_on_rank_zero, SchemaMismatchError, "way", words=both),
        Scenario(
            "only rank 0 comes",
            c.only_rank_zero_comes,
            SyncTimeoutError,
            words=("did not come to sync 1 of `Total`",),
            missing=lambda world_size: tuple(range(1, world_size)),
            lives=False,
        ),
    ]


def _absent() -> list[Scenario]:
    g = faults_gone
    return [
        Scenario("a rank comes late", g.late, SyncTimeoutError, words=("did not come to sync 1",), missing=last),
        Scenario(
            "a rank comes late to a large transfer",
            g.late_with_much,
            SyncTimeoutError,
            worlds=(3,),
            words=("did not come to sync 1",),
            missing=last,
        ),
        Scenario(
            "a rank comes after the backend gave up",
            g.later_than_the_grace,
            SyncTimeoutError,
            worlds=(3,),
            words=("come", "sync 1 of `Rows`"),
            lives=False,
        ),
        Scenario(
            "a rank is stopped",
            g.stopped,
            SyncTimeoutError,
            worlds=(2, 4),
            words=("did not come to sync 1 of `Rows`",),
            missing=last,
            gone=last,
            lives=False,
        ),
        Scenario(
            "a rank is gone",
            g.gone,
            PeerLostError,
            words=("sync 2 of `Rows`",),
            missing=last,
            gone=last,
            lives=False,
            within=5.0,
        ),
        Scenario(
            "two ranks are gone",
            g.two_gone,
            PeerLostError,
            worlds=(4,),
            words=("ranks 1, 2 did not answer",),
            missing=lambda world_size: (1, 2),
            gone=lambda world_size: (1, 2),
            lives=False,
            within=5.0,
        ),
        Scenario(
            "a rank is killed in a large transfer",
            g.killed_in_transfer,
            PeerLostError,
            worlds=(3,),
            words=("sync 1 of `Rows`",),
            missing=last,
            gone=last,
            lives=False,
            within=20.0,
        ),
        Scenario(
            "the rank that keeps the store is gone",
            g.keeper_gone,
            PeerLostError,
            worlds=(3,),
            words=("sync 2 of `Rows`",),
            gone=lambda world_size: (0,),
            lives=False,
            within=10.0,
        ),
        Scenario(
            "survivors go on",
            g.recovery,
            PeerLostError,
            worlds=(2, 4),
            words=("did not answer",),
            missing=last,
            gone=last,
            lives=False,
            within=5.0,
        ),
    ]


def _joining() -> list[Scenario]:
    j = faults_join
    return [
        Scenario("other numbers of steps in join", j.join_steps, family="join"),
        Scenario("large states in join", j.join_large, family="join"),
        Scenario("join beside DistributedDataParallel", j.join_ddp, family="join"),
        Scenario(
            "a rank raises in join",
            j.join_failing,
            PeerError,
            worlds=(2, 3, 4),
            words=("rank 0: BoomError: no such batch",),
        ),
        Scenario(
            "something else in join",
            j.join_in_join,
            PeerError,
            words=("SyncRefusedError: inside of a `join` only the steps of its metrics are synced",),
        ),
        Scenario(
            "ranks disagree in join",
            j.join_disagreeing,
            SchemaMismatchError,
            worlds=(3,),
            words=("(3,) on rank 0", "(2,) on rank 1"),
        ),
        Scenario(
            "ranks disagree on a large state in join",
            j.join_disagreeing_large,
            SchemaMismatchError,
            worlds=(3,),
            words=("(3,) on rank 0", "(2,) on rank 1"),
        ),
    ]


def _left() -> list[Scenario]:
    """Syncs that were left in the middle: the ranks are in step again afterwards."""
    g = faults_left
    return [
        Scenario("a state without data", g.not_on_a_device, PeerError, words=("lies on the meta device",)),
        Scenario(
            "no memory for a large result",
            g.no_memory,
            PeerError,
            words=("rank 0: RuntimeError: can't allocate memory",),
        ),
        Scenario(
            "an interrupt while a rank waits",
            g.interrupted,
            PeerError,
            words=("rank 0 has left sync 1 of `Rows` midway: BoomError: the time is up",),
        ),
        Scenario(
            "an interrupt in a large transfer",
            g.interrupted_in_transfer,
            PeerError,
            words=("rank 0 has left sync 1 of `Rows` midway: BoomError: in the middle",),
            lives=False,
            within=10.0,
        ),
        Scenario(
            "a rank gives up and goes on to another metric",
            g.on_to_another,
            SyncTimeoutError,
            words=("did not come to sync 1 of `Total`",),
            missing=lambda world_size: tuple(range(1, world_size)),
        ),
        Scenario(
            "a first background sync is tried again",
            g.tried_again,
            SyncTimeoutError,
            worlds=(2, 3),
            words=("did not come",),
            missing=last,
        ),
    ]


SCENARIOS = (*_differing(), *_failing(), *_straying(), *_absent(), *_left(), *_joining())


def run_alone(rank: int, world_size: int, name: str, *args: Any) -> tuple[list[Seen], Seen | None]:
    """Run one scenario in a process group of its own, and look whether that lives afterwards."""
    move(rank)
    (scenario,) = (s for s in SCENARIOS if s.name == name)
    watch = Watch()
    scenario.body(watch, rank, world_size, *args)
    return watch.seen, probe(rank, world_size) if scenario.lives else None


def run_family(rank: int, world_size: int, family: str) -> dict[str, tuple[list[Seen], Seen | None]]:
    """Run the scenarios of a family one after another in one process group."""
    return {s.name: run_alone(rank, world_size, s.name) for s in SCENARIOS if s.family == family}
