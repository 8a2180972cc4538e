"""The examples of docs/logger.md run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "logger.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize(("index", "lines"), [(0, 3), (1, 2)])
def test_example_runs(
    index: int, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(EXAMPLES) == 2
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[index], f"docs/logger.md example {index}", "exec"), {"__name__": f"logger_{index}"})
    assert len(capsys.readouterr().out.splitlines()) == lines
    if index == 0:
        last = json.loads((tmp_path / "runs" / "log.jsonl").read_text().splitlines()[-1])
        assert last["values"].keys() == {"train/loss", "val/accuracy", "val/confusion"}
