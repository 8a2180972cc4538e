"""The examples of the README and of the docs without a test of their own run as they stand."""

import re
from pathlib import Path

import pytest

from syncmetrics.transport import patience

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/adapters.md",
    "docs/async.md",
    "docs/coverage.md",
    "docs/doctor.md",
    "docs/launch.md",
    "docs/metric.md",
    "docs/plotting.md",
    "docs/scaling.md",
    "docs/wrappers.md",
)
TEXTS = [(ROOT / name).read_text() for name in PAGES]
EXAMPLES = [example for text in TEXTS for example in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize("index", range(len(EXAMPLES)))
def test_example_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where files may be written
    monkeypatch.setattr(patience, "_patience", None)  # one example sets it for its process
    exec(compile(EXAMPLES[index], f"README example {index}", "exec"), {"__name__": f"readme_{index}"})
