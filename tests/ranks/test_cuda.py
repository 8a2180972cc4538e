"""States on a GPU: over gloo, where two ranks can have one, and over NCCL, which takes one rank a GPU."""

from __future__ import annotations

import pytest
import torch

from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.ranks import cuda_bodies as bodies
from tests.ranks import parity_bodies

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

GROUPS = [("gloo", 2), ("cpu:gloo,cuda:gloo", 2), ("cpu:gloo,cuda:nccl", 1), ("nccl", 1)]


@pytest.mark.parametrize("backend", ["gloo", "cuda:gloo"])
def test_what_holds_on_the_cpu(backend: str) -> None:
    by_threads = run_threads(parity_bodies.table, 2)
    for rank, found in enumerate(run_ranks(bodies.everything, 2, backend=backend, timeout=120)):
        wrong = {name: text for name, text in found["checks"].items() if text != "right"}
        assert not wrong, f"rank {rank}:\n" + "\n".join(f"{name}: {text}" for name, text in wrong.items())
        assert found["table"] == by_threads[0], f"rank {rank}"


@pytest.mark.parametrize(("backend", "world_size"), GROUPS)
def test_the_value_of_any_group_is_that_of_one_process(backend: str, world_size: int) -> None:
    (alone,) = run_ranks(bodies.mixed, 1, timeout=120)
    assert run_ranks(bodies.mixed, world_size, backend=backend, timeout=120) == [alone] * world_size


def test_a_training_step_does_not_wait_for_the_gpu() -> None:
    (found,) = run_ranks(bodies.waits, 1, timeout=120)
    waiting = {name: text for name, text in found.items() if text}
    # `bincount` reads its largest key
    assert set(waiting) == {"MulticlassAccuracy.update"}, waiting


def test_an_update_that_raises_is_undone_or_says_so() -> None:
    (found,) = run_ranks(bodies.undone, 1, timeout=120)
    assert found["bound anew"] == ["kept", ""]
    assert found["copied"] == ["kept", ""]
    assert found["edited"][0] == "changed"
    assert "had edited state `a` in place" in found["edited"][1]


@pytest.mark.parametrize(("backend", "world_size"), GROUPS)
def test_metrics_move_and_what_is_handed_out_is_a_copy(backend: str, world_size: int) -> None:
    run_ranks(bodies.moved, world_size, backend=backend, timeout=120)
