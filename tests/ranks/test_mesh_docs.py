"""The recipes of docs/mesh.md run as they stand, and count each sample once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from syncmetrics.testing import run_ranks
from tests.ranks import mesh_models as bodies

PAGE = (Path(__file__).parents[2] / "docs" / "mesh.md").read_text()
RECIPES = re.findall(r"<!-- run on (\d) ranks -->\n```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("index", range(5), ids=["sum", "tensor parallel", "replicas", "HSDP", "pipeline"])
def test_a_recipe_runs_and_is_right(index: int) -> None:
    ranks, code = RECIPES[index]
    known = torch.tensor(21.0)
    wanted = [known, bodies.alone(range(2)), known, bodies.alone(range(1, 5)), bodies.alone(range(2))][index]
    values = run_ranks(bodies.recipe, int(ranks), code)
    assert values == [float(wanted)] * int(ranks)
    assert len(RECIPES) == PAGE.count("```python") == 5


@pytest.mark.parametrize("check", [bodies.models, bodies.saved_with_a_model], ids=lambda check: check.__name__)
def test_models_that_hold_metrics(check: object) -> None:
    run_ranks(check, 4)  # type: ignore[arg-type]
