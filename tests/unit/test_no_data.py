"""Tensors that have no plain data of their own are refused by name, before anything is sent."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from syncmetrics.states.spec import declare_state
from syncmetrics.sync.manifest import describe_state


@pytest.mark.parametrize("as_list", [False, True])
def test_a_fake_tensor_and_one_on_the_meta_device(as_list: bool) -> None:
    spec = declare_state("rows", [] if as_list else torch.zeros(2), "cat" if as_list else "sum")
    with FakeTensorMode():
        fake = torch.zeros(2)
    for tensor, words in ((fake, "FakeTensor"), (torch.zeros(2, device="meta"), "meta device")):
        with pytest.raises(TypeError, match=words):
            describe_state(spec, [tensor] if as_list else tensor)
    assert describe_state(spec, [torch.zeros(2)] if as_list else torch.zeros(2))[0].nbytes == 8
