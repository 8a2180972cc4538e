"""The README's examples run as they stand."""

import re
from pathlib import Path

import pytest

from syncmetrics.transport import patience

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("index", range(len(EXAMPLES)))
def test_example_runs(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_patience", None)  # one example sets it for its process
    exec(compile(EXAMPLES[index], f"README example {index}", "exec"), {"__name__": f"readme_{index}"})
