"""The recipe of docs/checkpoints.md for `torch.distributed.checkpoint`, on ranks that share a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncmetrics.testing import run_ranks
from tests.pages import examples_of
from tests.ranks.bodies import run_code


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_recipe_for_torch_distributed_checkpoint(world_size: int, tmp_path: Path) -> None:
    """All ranks write into one folder, as they do on a file system that they share."""
    (recipe,) = (example.code for example in examples_of("docs/checkpoints.md") if "dcp.save" in example.code)
    code = recipe.replace("mkdtemp()", repr(str(tmp_path)))
    assert code != recipe
    run_ranks(run_code, world_size, code.replace("== 3.0", f"== {3.0 * world_size}"))
