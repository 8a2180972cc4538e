"""The examples of docs/logger.md write and print what the page says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pages import examples_of

EXAMPLES = examples_of("docs/logger.md")


@pytest.mark.parametrize(("index", "lines"), [(0, 3), (1, 2)])
def test_example_runs(
    index: int, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(EXAMPLES) == 2
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[index].code, EXAMPLES[index].name, "exec"), {"__name__": f"logger_{index}"})
    assert len(capsys.readouterr().out.splitlines()) == lines
    if index == 0:
        last = json.loads((tmp_path / "runs" / "log.jsonl").read_text().splitlines()[-1])
        assert last["values"].keys() == {"train/loss", "val/accuracy", "val/confusion"}
