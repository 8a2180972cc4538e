"""The recipes of docs/checkpoints.md run as they stand."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from syncmetrics.testing import run_ranks
from tests.ranks.bodies import run_code

TEXT = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
PLAIN, LIGHTNING, DCP = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_plain_recipe(world_size: int) -> None:
    run_ranks(run_code, world_size, PLAIN)


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_recipe_for_torch_distributed_checkpoint(world_size: int, tmp_path: Path) -> None:
    """All ranks write into one folder, as they do on a file system that they share."""
    code = DCP.replace("mkdtemp()", repr(str(tmp_path)))
    assert code != DCP
    run_ranks(run_code, world_size, code.replace("== 3.0", f"== {3.0 * world_size}"))


def test_the_recipe_for_lightning() -> None:
    pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    with warnings.catch_warnings():
        for text in (".*LeafSpec.*", ".*many workers.*", ".*GPU available.*", ".*log_every_n_steps.*", ".*directory.*"):
            warnings.filterwarnings("ignore", message=text)
        for text in (".*callbacks used to create the checkpoint.*", ".*not a resumable.*", ".*dataloader.*"):
            warnings.filterwarnings("ignore", message=text)
        exec(compile(LIGHTNING, "docs/checkpoints.md", "exec"), {"__name__": "recipe"})
