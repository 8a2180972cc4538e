"""The switches of autograd, set by hand, must be where torch's own leave them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from syncmetrics.states.autograd import no_graph, without_grad

AROUND: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "grad": torch.enable_grad,
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
}


def modes() -> tuple[bool, bool]:
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("around", AROUND)
def test_inside_there_is_no_graph_and_no_inference_and_outside_all_is_as_it_was(around: str, fails: bool) -> None:
    with AROUND[around]():
        before = modes()
        try:
            with no_graph():
                assert modes() == (False, False)
                with no_graph():
                    pass
                assert modes() == (False, False)
                assert not torch.zeros(2).is_inference()
                if fails:
                    raise ArithmeticError
        except ArithmeticError:
            assert fails
        assert modes() == before


@pytest.mark.parametrize("around", AROUND)
def test_what_the_user_wrote_runs_without_both(around: str) -> None:
    def compute(x: torch.Tensor, *, factor: int) -> tuple[torch.Tensor, tuple[bool, bool]]:
        return x * factor, modes()

    x = torch.ones(2, requires_grad=True)
    with AROUND[around]():
        value, inside = without_grad(compute, x, (), {"factor": 2})
    assert inside == (False, False)
    assert not value.requires_grad
    assert not value.is_inference()
