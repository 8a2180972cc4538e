from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from syncmetrics.logger import (
    ConsoleSink,
    CSVSink,
    JSONLinesSink,
    MLflowSink,
    Record,
    Sink,
    TensorBoardSink,
    WandbSink,
)

MATRIX = torch.tensor([[3, 1], [0, 2]])


def step(number: int, **scalars: float) -> Record:
    return Record("step", 1, number, scalars)


def epoch(number: int, arrays: dict[str, torch.Tensor] | None = None, **scalars: float) -> Record:
    return Record("epoch", number, 10 * number, scalars, arrays or {})


def lines(path: Path) -> list[Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---- files ----------------------------------------------------------------------------------------------------------


def test_json_lines(tmp_path: Path) -> None:
    sink = JSONLinesSink(tmp_path / "new" / "run.jsonl")
    sink.write(step(1, loss=0.1))
    sink.write(step(2))
    sink.write(epoch(1, {"confusion": MATRIX}, loss=1 / 3))
    assert lines(sink.path) == [
        {"kind": "step", "epoch": 1, "step": 1, "values": {"loss": 0.1}},
        {"kind": "epoch", "epoch": 1, "step": 10, "values": {"loss": 1 / 3, "confusion": [[3, 1], [0, 2]]}},
    ]
    sink.close()
    sink.close()


def test_json_lines_of_what_is_not_finite(tmp_path: Path) -> None:
    sink = JSONLinesSink(tmp_path / "run.jsonl")
    sink.write(epoch(1, {"m": torch.tensor([[1.0, math.inf], [math.nan, -math.inf]])}, a=math.nan, b=-math.inf, c=1.0))
    sink.close()
    (line,) = lines(sink.path)
    assert line["values"] == {"a": None, "b": None, "c": 1.0, "m": [[1.0, None], [None, None]]}
    assert line["not_finite"] == {"a": "nan", "b": "-inf", "m": ["-inf", "inf", "nan"]}


@pytest.mark.parametrize("append", [False, True])
def test_json_lines_replace_or_append(tmp_path: Path, append: bool) -> None:
    for number in (1, 2):
        sink = JSONLinesSink(tmp_path / "run.jsonl", append=append)
        sink.write(epoch(number, x=1.0))
        sink.close()
        sink.write(epoch(number, x=2.0))
        sink.close()
    assert [line["epoch"] for line in lines(tmp_path / "run.jsonl")] == ([1, 1, 2, 2] if append else [2, 2])


def test_csv_columns_may_come_later(tmp_path: Path) -> None:
    sink = CSVSink(tmp_path / "new" / "run.csv")
    sink.write(epoch(1, {"confusion": MATRIX}, a=1.0))
    sink.write(step(11, a=7.0))
    sink.write(epoch(2, b=0.1, **{"odd, name": 5.0}))
    sink.write(epoch(3, a=math.nan))
    sink.close()
    assert table(sink.path) == [
        {"epoch": "1", "step": "10", "a": "1.0", "b": "", "odd, name": ""},
        {"epoch": "2", "step": "20", "a": "", "b": "0.1", "odd, name": "5.0"},
        {"epoch": "3", "step": "30", "a": "nan", "b": "", "odd, name": ""},
    ]
    assert [path.name for path in sink.path.parent.iterdir()] == ["run.csv"]


def test_csv_of_steps(tmp_path: Path) -> None:
    sink = CSVSink(tmp_path / "run.csv", kind="step")
    for record in (step(1, a=1.0), step(2), epoch(1, a=3.0), step(3, a=2.0)):
        sink.write(record)
    sink.close()
    assert [row["step"] for row in table(sink.path)] == ["1", "3"]
    with pytest.raises(ValueError, match="'epoch' or 'step'"):
        CSVSink(tmp_path / "run.csv", kind="steps")


@pytest.mark.parametrize("append", [False, True])
def test_csv_replace_or_append(tmp_path: Path, append: bool) -> None:
    for number, name in ((1, "a"), (2, "b")):
        sink = CSVSink(tmp_path / "run.csv", append=append)
        sink.write(epoch(number, **{name: 1.0}))
        sink.close()
    rows = [{"epoch": "1", "step": "10", "a": "1.0", "b": ""}, {"epoch": "2", "step": "20", "a": "", "b": "1.0"}]
    assert table(tmp_path / "run.csv") == (rows if append else [{"epoch": "2", "step": "20", "b": "1.0"}])


# ---- trackers -------------------------------------------------------------------------------------------------------


def test_tensorboard(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    sink.write(step(1, loss=0.5))
    record = epoch(1, {"confusion": MATRIX}, loss=0.25)
    sink.write(record)
    sink.picture("confusion", MATRIX, record)
    sink.close()
    sink.close()
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss_step")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.25)]
    (picture,) = events.Images("confusion")
    assert picture.height > 200


class _Run:
    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.axes: dict[str, str] = {}
        self.finished = 0

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.axes[name] = step_metric

    def finish(self) -> None:
        self.finished += 1


def _wandb(monkeypatch: pytest.MonkeyPatch, active: _Run | None) -> list[tuple[dict[str, Any], _Run]]:
    begun: list[tuple[dict[str, Any], _Run]] = []

    def init(**options: Any) -> _Run:
        begun.append((options, _Run()))
        return begun[-1][1]

    stub = ModuleType("wandb")
    stub.__dict__.update(run=active, init=init, Image=lambda pixels: ("image", pixels.shape, str(pixels.dtype)))
    monkeypatch.setitem(sys.modules, "wandb", stub)
    return begun


def test_wandb_in_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = _wandb(monkeypatch, active=None)
    sink = WandbSink(project="p")
    assert begun == [], "rank 0 alone begins a run, when it writes"
    sink.write(step(1, loss=0.5))
    sink.write(step(2))
    sink.write(epoch(1, loss=0.25))
    sink.picture("confusion", MATRIX, epoch(1))
    sink.close()
    sink.close()
    ((options, run),) = begun
    assert options == {"project": "p"}
    assert run.logged[:2] == [{"loss_step": 0.5, "epoch": 1, "step": 1}, {"loss": 0.25, "epoch": 1, "step": 10}]
    kind, shape, dtype = run.logged[2]["confusion"]
    assert (kind, shape[2], dtype) == ("image", 3, "uint8")
    assert run.axes == {"loss_step": "step", "loss": "epoch", "confusion": "epoch"}
    assert run.finished == 1


@pytest.mark.parametrize("given", [False, True])
def test_wandb_in_a_run_of_the_user(monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    run = _Run()
    begun = _wandb(monkeypatch, active=None if given else run)
    sink = WandbSink(run if given else None)
    sink.write(epoch(1, loss=1.0))
    sink.close()
    assert (begun, len(run.logged), run.finished) == ([], 1, 0)


@pytest.mark.parametrize("active", [False, True])
def test_mlflow(monkeypatch: pytest.MonkeyPatch, active: bool) -> None:
    calls: list[Any] = []
    state = SimpleNamespace(run="theirs" if active else None)

    def start_run() -> None:
        state.run = "ours"
        calls.append("start")

    stub = ModuleType("mlflow")
    stub.__dict__.update(
        active_run=lambda: state.run,
        start_run=start_run,
        end_run=lambda: calls.append("end"),
        log_metrics=lambda values, step: calls.append((values, step)),
        log_image=lambda pixels, name: calls.append((name, pixels.shape[2])),
    )
    monkeypatch.setitem(sys.modules, "mlflow", stub)
    sink = MLflowSink()
    sink.write(step(3, loss=0.5))
    sink.write(step(4))
    sink.write(epoch(1, loss=0.25))
    sink.picture("confusion", MATRIX, epoch(1))
    sink.close()
    sink.close()
    wanted = [({"loss_step": 0.5}, 3), ({"loss": 0.25}, 1), ("confusion/epoch_1.png", 3)]
    assert calls == (wanted if active else ["start", *wanted, "end"])


# ---- console --------------------------------------------------------------------------------------------------------


def printed(width: int, *records: Record, terminal: bool = False, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    sink = ConsoleSink(console=console, **options)
    for record in records:
        sink.write(record)
        sink.picture("confusion", MATRIX, record)
    sink.close()
    sink.close()
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_console_shows_a_row_an_epoch() -> None:
    text = printed(80, epoch(1, a=1.0, b=1e-7), epoch(2, a=math.nan, b=123456.0))
    assert [line.split() for line in text.splitlines()] == [
        ["epoch", "a", "b"],
        ["1", "1.0000", "1.000e-07"],
        ["2", "nan", "1.235e+05"],
    ]


def test_the_console_shows_a_table_an_epoch_where_a_row_is_too_long() -> None:
    text = printed(30, epoch(1, accuracy=1.0, loss=0.5, precision=0.25))
    title, _, *rows = (line.split() for line in text.splitlines())
    assert title == ["epoch", "1"]
    assert rows == [
        ["accuracy", "1.0000"],
        ["loss", "0.5000"],
        ["precision", "0.2500"],
    ]


def test_the_console_shows_what_it_was_asked_for() -> None:
    text = printed(80, epoch(1, a=1.0, b=2.0, c=3.0), epoch(2, b=2.0), names=("c", "a"))
    assert [line.split() for line in text.splitlines()] == [["epoch", "c", "a"], ["1", "3.0000", "1.0000"]]


def test_the_console_has_a_bar() -> None:
    text = printed(100, epoch(1, loss=0.25), step(1, loss=0.5), step(2), terminal=True, steps_per_epoch=4)
    assert "2/4" in text
    assert "loss 0.5000" in text


# ---- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "make", "install"),
    [
        ("rich.progress", ConsoleSink, "rich"),
        ("tensorboard", lambda: TensorBoardSink("x"), "tensorboard"),
        ("matplotlib", lambda: TensorBoardSink("x"), "matplotlib"),
        ("wandb", WandbSink, "wandb"),
        ("mlflow", MLflowSink, "mlflow"),
    ],
)
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, library: str, make: Any, install: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"needs `{library.partition('.')[0]}`.*pip install {install}$"):
        make()


def test_nothing_is_opened_before_the_first_record(tmp_path: Path) -> None:
    sinks = JSONLinesSink(tmp_path / "a" / "x"), CSVSink(tmp_path / "b" / "x"), TensorBoardSink(tmp_path / "c")
    for sink in (*sinks, ConsoleSink()):
        assert isinstance(sink, Sink)
        sink.close()
    assert list(tmp_path.iterdir()) == []


def test_the_import_is_light() -> None:
    heavy = ["rich", "matplotlib", "tensorboard", "wandb", "mlflow", "numpy"]
    code = f"""
import sys, torch, torch.distributed
before = set(sys.modules)
import syncmetrics.logger
logger = syncmetrics.MetricLogger([syncmetrics.logger.JSONLinesSink("never-written")])
logger.step()
print(*sorted({{name.partition('.')[0] for name in set(sys.modules) - before}} & set({heavy!r})))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []
