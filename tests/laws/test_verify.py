"""`verify` names the mistake of every metric of the zoo, with code that shows it, and finds none in ours."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torchmetrics
from torch import Tensor
from typer.testing import CliRunner

from syncmetrics import Metric, MetricCollection, SumMetric
from syncmetrics.cli.app import app
from syncmetrics.testing import verify
from syncmetrics.testing.verification import NoBatchesError
from tests.natives import ROWS
from tests.natives.verified import MEANT, is_right, report_of
from tests.zoo import ZOO, ByNameAlone, WrongReduction

#: Fewer than a user's run draws: the mistakes of the zoo show at once.
EXAMPLES = 3
SLICE = [row for row in ROWS if not row.update][::37]


@pytest.mark.parametrize("make", ZOO, ids=[make.__name__ for make in ZOO])
def test_each_mistake_is_named_and_shown(make: Callable[[], Metric]) -> None:
    report = verify(make, examples=EXAMPLES)
    (mistake, *_) = [one for one in report.mistakes if one.name == ZOO[make] and one.example] or [None]
    assert mistake is not None, str(report)
    assert len(mistake.example.splitlines()) <= 12, mistake.example
    _run(mistake.example)


def _run(code: str) -> None:
    """Run an example as it stands; in a thread of its own, where it may leave torch another default."""
    raised: list[BaseException] = []
    before, methods = torch.get_default_dtype(), dict(vars(dist.ProcessGroup))

    def body() -> None:
        try:
            exec(compile(code, "<example>", "exec"), {})
        except RuntimeError as error:
            if "a collective in update" not in str(error):
                raised.append(error)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    torch.set_default_dtype(before)
    for name, method in vars(dist.ProcessGroup).copy().items():
        if method is not methods.get(name):
            setattr(dist.ProcessGroup, name, methods[name]) if name in methods else delattr(dist.ProcessGroup, name)
    if dist.is_initialized():
        dist.destroy_process_group()
    # Some are shown by what they raise.
    known = ("Can't pickle", "division by zero", "edited in place", "before any update")
    assert not [error for error in raised if not any(word in str(error) for word in known)], code


@pytest.mark.parametrize("row", SLICE, ids=[row.id for row in SLICE])
def test_none_is_found_in_ours(row: Any) -> None:
    """All rows: `scripts/metrics verify`."""
    report = report_of(row, examples=EXAMPLES)
    assert is_right(row, report), str(report)


def test_what_is_found_in_ours_and_meant_is_found() -> None:
    rows = {row.name: row for row in ROWS}
    for name, mistake in MEANT.items():
        assert mistake in {one.name for one in report_of(rows[name], examples=1).mistakes}


def test_a_collection_is_verified_as_one() -> None:
    assert verify(lambda: MetricCollection({"sum": SumMetric()}), examples=EXAMPLES).ok


def test_batches_and_a_reference_may_be_given() -> None:
    def mean(values: Tensor) -> Tensor:
        return values.mean()

    batches = [torch.tensor([1.0, 2.0]), torch.tensor([4.0])]
    report = verify(SumMetric, batches, reference=mean, examples=EXAMPLES)
    assert not report.ok
    assert next(m.name for m in report.mistakes if m.example) == "another value than the reference"
    assert verify(SumMetric, batches, reference=torch.sum, examples=EXAMPLES).ok


def test_batches_may_be_given_by_name() -> None:
    batches = [{"target": torch.tensor([1.0, 2.0]), "preds": torch.tensor([1.0, 4.0])}]

    def error(*, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).abs().sum()

    report = verify(ByNameAlone, batches, reference=error, examples=EXAMPLES)
    assert next(one.name for one in report.mistakes if one.example) == "a wrong reduction"
    with pytest.raises(NoBatchesError, match="with the same names"):
        verify(ByNameAlone, [*batches, {"preds": torch.tensor([1.0])}])
    with pytest.raises(NoBatchesError, match="with the same names"):
        verify(ByNameAlone, [*batches, (torch.tensor([1.0]), torch.tensor([1.0]))])


def theirs() -> torchmetrics.Metric:
    return torchmetrics.MeanSquaredError()


class TheirsButWrong(torchmetrics.Metric):
    """A metric of another library with a mistake that ours have, too."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, values: Tensor) -> None:
        self.total += values.abs().sum()

    def compute(self) -> Tensor:
        return self.total


def test_metrics_of_other_libraries() -> None:
    assert verify(theirs, examples=EXAMPLES).ok
    assert verify(lambda: torchmetrics.MetricCollection([theirs()]), examples=EXAMPLES).ok
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses torch.jit.script
        import torcheval.metrics
    of_torcheval = verify(torcheval.metrics.Max, examples=EXAMPLES)
    # It keeps more than its states, and has no value of a batch. What is raised is told as any other mistake.
    assert [check.law for check in of_torcheval.checks if check.outcome == "broken"] == [
        "`metric(...)` adds what `update` adds, and gives the value of its batch",
        "two parts that are merged have the value of one",
        "saved, and loaded on another number of ranks, it goes on",
    ]
    report = verify(TheirsButWrong, examples=EXAMPLES)
    assert report.mistakes[0].name == "other values on ranks than in one process"
    for mistake in report.mistakes:
        _run(mistake.example)


class Odd(Metric):
    """Takes what nobody could guess."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, boxes: dict[str, Tensor]) -> None:
        self.count += boxes["boxes"].numel()

    def compute(self) -> Any:
        return self.count


def test_what_cannot_be_guessed_is_asked_for() -> None:
    with pytest.raises(NoBatchesError, match=r"`update\(boxes\)` of Odd took none"):
        verify(Odd)
    assert verify(Odd, [({"boxes": torch.ones(2)},), ({"boxes": torch.ones(3)},)], examples=EXAMPLES).ok
    with pytest.raises(TypeError, match="gives a int instead"):
        verify(int)  # type: ignore[arg-type]


def test_the_command_exits_with_what_it_found() -> None:
    run = CliRunner().invoke
    wrong = run(app, ["verify", "tests.zoo:WrongReduction", "--examples", "3"])
    assert wrong.exit_code == 1
    assert "a wrong reduction" in wrong.output
    assert "from tests.zoo import WrongReduction" in wrong.output
    right = run(app, ["verify", "syncmetrics:SumMetric", "--examples", "3", "--json"])
    assert right.exit_code == 0
    assert json.loads(right.output)["ok"] is True
    assert run(app, ["verify", "syncmetrics"]).exit_code == 2
    assert run(app, ["verify", "syncmetrics:Nothing"]).exit_code == 2
    assert run(app, ["verify", "tests.laws.test_verify:Odd"]).exit_code == 2


def test_the_report_is_text_and_data() -> None:
    report = verify(WrongReduction, examples=EXAMPLES)
    assert "a wrong reduction" in str(report)
    assert report.as_dict()["ok"] is False
