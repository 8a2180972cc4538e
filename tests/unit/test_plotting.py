"""What `plot` draws: texts, lines, bars and axes. How it looks is judged by eye, in docs/plotting.png."""

from __future__ import annotations

import importlib
import itertools
import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

import syncmetrics
from syncmetrics import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryConfusionMatrix,
    BinaryMatthewsCorrCoef,
    BinaryPrecisionRecallCurve,
    BinaryRecallAtFixedPrecision,
    BinaryROC,
    BinaryStatScores,
    CatMetric,
    ClasswiseWrapper,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassPrecisionRecallCurve,
    MulticlassRecall,
    MulticlassROC,
    MulticlassStatScores,
    MultilabelConfusionMatrix,
    MultilabelROC,
    SumMetric,
)

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from syncmetrics.transport.threads import run_threads  # noqa: E402
from tests.natives import ROWS  # noqa: E402
from tests.natives.native import generator  # noqa: E402

SCORES = torch.tensor([0.1, 0.8, 0.6, 0.4, 0.35, 0.9])
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])


def scores_of(classes: int, count: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    target = torch.randint(classes, (count,), generator=generator)
    preds = torch.randn(count, classes, generator=generator)
    preds[torch.arange(count), target] += 1
    return preds.softmax(1), target


def updated(metric: Any, *batch: Tensor) -> Any:
    metric.update(*batch)
    return metric


def title_of(axes: Axes) -> str:
    return axes.get_title(loc="left")


def texts_of(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def widths_of(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]  # they are rectangles


def names_of(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def legend_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def line_of(axes: Axes, name: str) -> tuple[list[float], list[float]]:
    (line,) = (line for line in axes.lines if line.get_label() == name)
    return list(line.get_xdata()), list(line.get_ydata())  # type: ignore[arg-type]


def drawn(figure: Any) -> Any:
    """Have a figure drawn: what cannot be drawn raises here, and warnings are errors."""
    figure.draw_without_rendering()
    return figure


# -- numbers


def test_a_number_is_a_bar_within_the_bounds() -> None:
    figure, axes = updated(BinaryAccuracy(), SCORES, LABELS).plot()
    assert title_of(axes) == "BinaryAccuracy"
    assert (texts_of(axes), axes.get_xlim()) == (["0.6667"], (0, 1))
    assert widths_of(axes) == pytest.approx([2 / 3])
    assert axes.get_xlabel() == "higher is better"
    assert isinstance(drawn(figure), Figure)


def test_bounds_are_what_the_metric_says() -> None:
    _, axes = updated(BinaryMatthewsCorrCoef(), 1 - SCORES, LABELS).plot()
    assert axes.get_xlim() == (-1, 1)
    _, axes = updated(MeanSquaredError(), torch.tensor([3.0]), torch.tensor([0.0])).plot()
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 9
    assert axes.get_xlabel() == "lower is better"


def test_values_out_of_the_bounds_are_shown() -> None:
    _, axes = BinaryAccuracy().plot(1.5)
    assert axes.get_xlim()[1] > 1.5


def test_a_value_for_each_class_is_a_bar_with_its_name() -> None:
    metric = updated(MulticlassF1Score(3, average=None), *scores_of(3))
    figure, axes = metric.plot(labels=["cat", "dog", "owl"])
    assert names_of(axes.yaxis) == ["cat", "dog", "owl"]
    assert widths_of(axes) == pytest.approx(metric.compute().tolist())
    low, high = axes.get_ylim()
    assert low > high, "the first class stands at the top"
    _, axes = metric.plot()
    assert names_of(axes.yaxis) == ["class 0", "class 1", "class 2"]
    drawn(figure)


def test_long_names_are_cut_and_few_bars_are_never_without_numbers() -> None:
    name = "a name that goes on and on, and then on for another while"
    figure, axes = MulticlassF1Score(2, average=None).plot(torch.tensor([0.5, 1]), labels=[name, "b"])
    assert names_of(axes.yaxis) == [f"{name[:41]}…", "b"]
    assert texts_of(axes) == ["0.5", "1"]
    drawn(figure)


def test_names_are_no_formulas_and_may_begin_with_an_underscore() -> None:
    labels = ["$5 to $10", "_rest", r"$\nonsense{$"]
    value = torch.tensor([0.5, 0.6, 0.7])
    metric, matrix = MulticlassF1Score(3, average=None), torch.eye(3).long()
    figure, axes = metric.plot(value, labels=labels)
    assert names_of(axes.yaxis) == labels
    drawn(figure)
    figure, axes = metric.plot([value, value], labels=labels)
    assert [name.strip() for name in legend_of(axes)] == labels
    drawn(figure)
    drawn(MulticlassConfusionMatrix(3).plot(matrix, labels=labels)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool])
def test_values_of_any_dtype(dtype: torch.dtype) -> None:
    value = torch.tensor([0, 1], dtype=dtype)
    _, axes = MulticlassF1Score(2, average=None).plot(value)
    assert widths_of(axes) == [0, 1]
    _, axes = MulticlassF1Score(2, average=None).plot(value.float().requires_grad_())
    assert widths_of(axes) == [0, 1]


def test_values_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    _, axes = MulticlassF1Score(2, average=None).plot([numpy.array([0.5, 1.0]), numpy.array([0.25, 0.5])])
    assert list(axes.lines[1].get_ydata()) == [1, 0.5]
    _, axes = BinaryConfusionMatrix().plot(numpy.array([[3, 1], [0, 2]]))
    assert texts_of(axes) == ["3", "1", "0", "2"]
    assert texts_of(BinaryAccuracy().plot(numpy.float32(0.5))[1]) == ["0.5"]


def test_numbers_that_are_not_finite_are_written() -> None:
    figure, axes = MeanSquaredError(num_outputs=4).plot(torch.tensor([1.0, math.nan, math.inf, -math.inf]))
    assert texts_of(axes) == ["1", "nan", "inf", "-inf"]
    drawn(figure)
    figure, axes = BinaryAccuracy().plot(math.nan)
    assert texts_of(axes) == ["nan"]
    drawn(figure)


def test_many_values_are_a_line() -> None:
    figure, axes = updated(CatMetric(), torch.arange(500.0)).plot()
    assert list(axes.lines[0].get_ydata()) == list(range(500))
    assert axes.get_xlabel() == "value"
    drawn(figure)


def test_a_value_and_its_threshold() -> None:
    metric = updated(BinaryRecallAtFixedPrecision(0.5), SCORES, LABELS)
    value, threshold = metric.compute()
    _, axes = metric.plot()
    assert texts_of(axes) == [f"{float(value):.4g} at {float(threshold):.4g}"]
    _, axes = metric.plot([(value, threshold), (value / 2, threshold)])
    assert line_of(axes, axes.lines[0].get_label())[1] == pytest.approx([float(value), float(value) / 2])


def test_counts_of_one_and_of_many_classes() -> None:
    _, axes = updated(BinaryStatScores(), SCORES, LABELS).plot()
    assert names_of(axes.yaxis) == ["tp", "fp", "tn", "fn", "support"]
    assert widths_of(axes) == [2, 1, 2, 1, 3]
    metric = updated(MulticlassStatScores(3, average=None), *scores_of(3))
    _, axes = metric.plot(labels=["cat", "dog", "owl"])
    assert names_of(axes.xaxis) == ["tp", "fp", "tn", "fn", "support"]
    assert names_of(axes.yaxis) == ["cat", "dog", "owl"]
    assert texts_of(axes) == [str(int(number)) for number in metric.compute().flatten()]


# -- steps


def test_a_list_is_a_line_over_steps() -> None:
    figure, axes = BinaryAccuracy().plot([torch.tensor(0.5), 0.75, 1.0])
    (line,) = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1, 2], [0.5, 0.75, 1])
    assert (axes.get_xlabel(), legend_of(axes)) == ("step", [])
    assert axes.get_ylim()[1] < 1.02, "there is no room for what cannot be"
    drawn(figure)


def test_a_list_of_values_of_classes_is_a_line_for_each() -> None:
    steps = [torch.tensor([0.1, 0.9]), torch.tensor([0.2, 0.8]), torch.tensor([0.3, 0.7])]
    figure, axes = MulticlassF1Score(2, average=None).plot(steps, labels=["ham", "spam"])
    assert line_of(axes, "spam") == ([0, 1, 2], pytest.approx([0.9, 0.8, 0.7]))
    assert legend_of(axes) == ["ham", "spam"]
    drawn(figure)
    legend, place = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert legend.x0 >= place.x1, "the legend stands beside the lines"


def test_steps_that_are_not_finite_are_gaps_and_told() -> None:
    figure, axes = BinaryAccuracy().plot([0.5, math.nan, math.inf, 0.7])
    assert axes.get_xlabel() == "step (2 values are not finite)"
    assert [math.isnan(y) for y in axes.lines[0].get_ydata()] == [False, True, True, False]
    drawn(figure)
    drawn(BinaryAccuracy().plot([math.nan, math.nan])[0])


def test_dicts_over_steps_are_a_line_for_each_key() -> None:
    metric = ClasswiseWrapper(MulticlassRecall(2, average=None), labels=["ham", "spam"], prefix="")
    figure, axes = metric.plot([{"ham": 0.5, "spam": 0.6}, {"ham": torch.tensor(0.7)}])
    assert line_of(axes, "ham") == ([0, 1], pytest.approx([0.5, 0.7]))
    assert axes.get_xlabel() == "step (1 value is not finite)"
    drawn(figure)


# -- dicts


def test_a_dict_of_numbers_is_a_bar_for_each_key() -> None:
    metric = updated(
        ClasswiseWrapper(MulticlassRecall(3, average=None), labels=["a", "b", "c"], prefix=""), *scores_of(3)
    )
    _, axes = metric.plot()
    assert (title_of(axes), names_of(axes.yaxis)) == ("MulticlassRecall", ["a", "b", "c"])
    assert axes.get_xlim() == (0, 1)


def test_a_dict_of_other_values_is_a_panel_for_each_key() -> None:
    class Both(SumMetric):
        def compute(self) -> Any:
            return {"sum": self.sum_value, "table": torch.eye(2, dtype=torch.int64)}

    figure, axes = updated(Both(), torch.tensor(1.0)).plot()
    assert [title_of(one) for one in axes] == ["sum", "table: 2 of 2 on the diagonal"]
    drawn(figure)


# -- curves


def test_a_roc_curve_with_its_area_and_chance() -> None:
    metric = updated(BinaryROC(), SCORES, LABELS)
    area = float(updated(BinaryAUROC(), SCORES, LABELS).compute())
    figure, axes = metric.plot(score=True)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false positive rate", "true positive rate")
    assert legend_of(axes) == ["chance", f"area {area:.3f}"]
    assert line_of(axes, "chance") == ([0, 1], [0, 1])
    x, y, _ = metric.compute()
    assert line_of(axes, f"area {area:.3f}") == (pytest.approx(x.tolist()), pytest.approx(y.tolist()))
    drawn(figure)
    assert legend_of(metric.plot()[1]) == []


@pytest.mark.parametrize("thresholds", [None, 4, [0.3, 0.5]])
def test_areas_are_the_values_of_the_metrics_of_areas(thresholds: Any) -> None:
    for curve, area in ((BinaryROC, BinaryAUROC), (BinaryPrecisionRecallCurve, BinaryAveragePrecision)):
        value = float(updated(area(thresholds=thresholds), SCORES, LABELS).compute())
        _, axes = updated(curve(thresholds), SCORES, LABELS).plot(score=True)
        assert legend_of(axes)[-1] == f"area {value:.3f}"


def test_precision_and_recall() -> None:
    metric = updated(BinaryPrecisionRecallCurve(), SCORES, LABELS)
    precision, recall, _ = metric.compute()
    figure, axes = metric.plot()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")
    (line,) = axes.lines
    assert list(line.get_xdata()) == pytest.approx(recall.tolist())
    assert list(line.get_ydata()) == pytest.approx(precision.tolist())
    assert line.get_drawstyle() == "steps-post"
    drawn(figure)


@pytest.mark.parametrize("thresholds", [None, 5])
@pytest.mark.parametrize("kind", [MulticlassROC, MulticlassPrecisionRecallCurve])
def test_a_curve_for_each_class(kind: Any, thresholds: Any) -> None:
    metric = updated(kind(3, thresholds=thresholds), *scores_of(3))
    figure, axes = metric.plot(labels=["cat", "dog", "owl"], score=True)
    chance = ["chance"] if kind is MulticlassROC else []
    assert [text.partition(" (area")[0] for text in legend_of(axes)] == [*chance, "cat", "dog", "owl"]
    drawn(figure)
    _, axes = metric.plot(None, torch.tensor([0.1, 0.2, 0.3]))  # in the order of torchmetrics
    assert legend_of(axes)[-1] == "class 2 (area 0.300)"


def test_labels_name_themselves() -> None:
    metric = updated(MultilabelROC(2), torch.rand(9, 2), torch.randint(2, (9, 2)))
    assert legend_of(metric.plot()[1]) == ["chance", "label 0", "label 1"]


def test_curves_over_steps() -> None:
    metric = updated(BinaryROC(), SCORES, LABELS)
    _, axes = metric.plot([metric.compute(), metric.compute()])
    assert legend_of(axes) == ["chance", "step 0", "step 1"]


def test_a_curve_without_positives() -> None:
    for thresholds in (None, 5):
        metric = updated(BinaryPrecisionRecallCurve(thresholds), SCORES, torch.zeros_like(LABELS))
        drawn(metric.plot(score=True)[0])


# -- confusion matrices


def test_a_confusion_matrix() -> None:
    metric = updated(MulticlassConfusionMatrix(3), torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))
    figure, axes = metric.plot(labels=["cat", "dog", "owl"])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert names_of(axes.xaxis) == names_of(axes.yaxis) == ["cat", "dog", "owl"]
    assert texts_of(axes) == ["1", "0", "0", "0", "1", "1", "0", "0", "1"]
    assert title_of(axes).split("\n") == ["MulticlassConfusionMatrix: 3 of 4 on the diagonal"]
    assert axes.texts[0].get_color() == "white", "on a dark cell"
    assert sum(to_rgb(axes.texts[4].get_color())) < 1, "on a light cell"
    drawn(figure)
    assert texts_of(metric.plot(add_text=False)[1]) == []


def test_colours_of_the_numbers_follow_the_colours_of_the_cells() -> None:
    _, axes = MulticlassConfusionMatrix(2).plot(torch.tensor([[9, 0], [0, 9]]), cmap="Greys_r")
    assert [sum(to_rgb(text.get_color())) > 1.5 for text in axes.texts] == [False, True, True, False]


def test_shares_have_two_digits() -> None:
    metric = updated(MulticlassConfusionMatrix(2, normalize="true"), torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0]))
    assert texts_of(metric.plot()[1]) == ["0.33", "0.67", "0", "0"]


def test_long_names_of_many_classes_stand_upright() -> None:
    labels = [f"class of number {index}" for index in range(50)]
    metric = updated(MulticlassConfusionMatrix(50), *scores_of(50))
    figure, axes = metric.plot(labels=labels)
    assert names_of(axes.xaxis) == labels
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}
    drawn(figure)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(boxes)), "none runs into the next"


def test_numbers_that_would_be_too_small_are_left_out() -> None:
    figure, axes = MulticlassConfusionMatrix(100).plot(torch.full((100, 100), 12345))
    assert texts_of(axes) == []
    assert len(figure.axes) == 2, "the colours are explained in their place"
    drawn(figure)


def test_a_matrix_for_each_label() -> None:
    metric = updated(MultilabelConfusionMatrix(3), torch.rand(9, 3), torch.randint(2, (9, 3)))
    figure, axes = metric.plot(labels=["cat", "dog", "owl"])
    assert [title_of(one).partition(":")[0] for one in axes] == ["cat", "dog", "owl"]
    assert figure.get_suptitle() == "MultilabelConfusionMatrix"
    assert names_of(axes[0].xaxis) == ["0", "1"]
    drawn(figure)
    mine = Figure(layout="constrained")
    places = mine.subplots(1, 3)
    assert metric.plot(ax=places)[0] is mine
    with pytest.raises(ValueError, match=r"there are 3 panels to draw, but `ax` has 1 axes"):
        metric.plot(ax=places[0])


def test_matrices_over_steps() -> None:
    _, axes = BinaryConfusionMatrix().plot([torch.eye(2).long(), torch.eye(2).long()])
    assert [title_of(one).partition(":")[0] for one in axes] == ["step 0", "step 1"]


def test_a_matrix_with_nan() -> None:
    figure, axes = BinaryConfusionMatrix(normalize="true").plot(torch.tensor([[math.nan, 1], [math.inf, 0]]))
    assert texts_of(axes) == ["nan", "1.00", "inf", "0"]
    drawn(figure)


# -- collections


def collection() -> MetricCollection:
    metrics = MetricCollection(
        {
            "accuracy": MulticlassAccuracy(3),
            "f1": MulticlassF1Score(3, average=None),
            "confusion": MulticlassConfusionMatrix(3),
            "recall": ClasswiseWrapper(MulticlassRecall(3, average=None), labels=["cat", "dog", "owl"], prefix=""),
        },
        prefix="val/",
    )
    metrics.update(*scores_of(3))
    return metrics


def test_a_collection_is_a_figure_for_each_metric() -> None:
    metrics = collection()
    pairs = metrics.plot()
    assert [title_of(axes).partition(":")[0] for _, axes in pairs] == [
        "val/accuracy",
        "val/f1",
        "val/confusion",
        "val/recall",
    ]
    assert len({id(drawn(figure)) for figure, _ in pairs}) == 4
    assert names_of(pairs[3][1].yaxis) == ["cat", "dog", "owl"]
    given = metrics.plot(metrics.compute(), labels=["cat", "dog", "owl"])
    assert texts_of(given[1][1]) == texts_of(pairs[1][1])
    assert names_of(given[1][1].yaxis) == ["cat", "dog", "owl"]


def test_a_collection_over_steps() -> None:
    metrics = MetricCollection({"accuracy": MulticlassAccuracy(3), "f1": MulticlassF1Score(3, average=None)})
    steps = [metrics(*scores_of(3)) for _ in range(4)]
    (_, first), (_, second) = metrics.plot(steps)
    assert list(first.lines[0].get_ydata()) == pytest.approx([float(step["accuracy"]) for step in steps])
    assert legend_of(second) == ["class 0", "class 1", "class 2"]
    _, axes = metrics.plot(steps, together=True)
    assert legend_of(axes) == ["accuracy", "f1 class 0", "f1 class 1", "f1 class 2"]


def test_a_collection_in_given_axes() -> None:
    metrics = collection()
    figure = Figure(layout="constrained", figsize=(9, 9))
    places = figure.subplots(2, 2)
    assert [axes for _, axes in metrics.plot(ax=places)] == list(places.flat)
    drawn(figure)
    with pytest.raises(ValueError, match="one for each of 4 metrics, but has 1"):
        metrics.plot(ax=[places[0, 0]])


def test_numbers_together() -> None:
    metrics = MetricCollection([MulticlassAccuracy(3), MulticlassPrecision(3)])
    metrics.update(*scores_of(3))
    _, axes = metrics.plot(together=True)
    assert names_of(axes.yaxis) == ["MulticlassAccuracy", "MulticlassPrecision"]
    assert axes.get_xlim() == (0, 1)
    metrics = MetricCollection([MulticlassAccuracy(3, average=None), MulticlassPrecision(3, average=None)])
    metrics.update(*scores_of(3))
    _, axes = metrics.plot(together=True, labels=["cat", "dog", "owl"])
    assert (legend_of(axes), names_of(axes.yaxis)) == (
        ["MulticlassAccuracy", "MulticlassPrecision"],
        ["cat", "dog", "owl"],
    )


def test_curves_together() -> None:
    metrics = MetricCollection({"old": BinaryROC(), "new": BinaryROC()})
    metrics["old"].update(SCORES, LABELS)
    metrics["new"].update(1 - SCORES, LABELS)
    _, axes = metrics.plot(together=True)
    assert (title_of(axes), legend_of(axes)) == ("ROC curves", ["chance", "old", "new"])


def test_what_cannot_be_drawn_together() -> None:
    with pytest.raises(TypeError, match=r"together=True draws numbers, or curves of one kind; val/confusion gives"):
        collection().plot(together=True)
    metrics = MetricCollection([MulticlassAccuracy(3), MulticlassF1Score(3, average=None)])
    metrics.update(*scores_of(3))
    with pytest.raises(TypeError, match="as many values of each metric, but there are"):
        metrics.plot(together=True)


def test_values_of_a_collection_that_are_none() -> None:
    metrics = collection()
    with pytest.raises(TypeError, match="`val` must be a dict of values by name"):
        metrics.plot(torch.tensor(1.0))
    with pytest.raises(ValueError, match="at least one dict of values"):
        metrics.plot([])
    with pytest.raises(ValueError, match="`val` has no value of a metric"):
        metrics.plot({})


# -- guests, and metrics of one's own


def test_guests_are_drawn_as_our_own() -> None:
    theirs = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    kinds = theirs.classification
    guests: dict[str, Any] = {
        "accuracy": kinds.MulticlassAccuracy(3),
        "confusion": kinds.MulticlassConfusionMatrix(3),
        "roc": kinds.MulticlassROC(3),
        "curve": kinds.MulticlassPrecisionRecallCurve(3),
        "area": kinds.MulticlassAUROC(3, average=None),
        "counts": kinds.MulticlassStatScores(3, average="micro"),
    }
    metrics = MetricCollection(guests)
    metrics.update(*scores_of(3))
    axes = {name: pair[1] for name, pair in zip(metrics, metrics.plot(), strict=True)}
    assert axes["accuracy"].get_xlim() == (0, 1)
    assert title_of(axes["confusion"]).startswith("confusion: ")
    assert axes["confusion"].get_ylabel() == "true"
    assert axes["roc"].get_xlabel() == "false positive rate"
    assert axes["curve"].get_xlabel() == "recall"
    assert names_of(axes["area"].yaxis) == ["class 0", "class 1", "class 2"]
    assert names_of(axes["counts"].yaxis) == ["tp", "fp", "tn", "fn", "support"]
    _, one = metrics["roc"].plot(score=True, labels=["cat", "dog", "owl"])
    assert title_of(one) == "MulticlassROC"
    assert legend_of(one)[1].startswith("cat (area 0.")


def test_a_tracker_of_torchmetrics_is_drawn_over_steps() -> None:
    wrappers = pytest.importorskip("torchmetrics.wrappers", reason="torchmetrics is not installed")
    tracker = wrappers.MetricTracker(BinaryAccuracy())
    for _ in range(3):
        tracker.increment()
        tracker.update(SCORES, LABELS)
    _, axes = BinaryAccuracy().plot(list(tracker.compute_all()))
    assert list(axes.lines[0].get_ydata()) == pytest.approx([2 / 3] * 3)


class Own(SumMetric):
    """A metric that says how it is drawn."""

    plot_lower_bound, plot_upper_bound, plot_name, plot_kind = -2.0, 4.0, "of my own", "roc"


def test_a_metric_of_ones_own_says_how_it_is_drawn() -> None:
    _, axes = Own().plot((torch.tensor([0.0, 1]), torch.tensor([0.0, 1])))
    assert (title_of(axes), axes.get_xlabel()) == ("of my own", "false positive rate")
    metric = Own()
    metric.plot_kind = None
    assert updated(metric, torch.tensor(1.0)).plot()[1].get_xlim() == (-2, 4)
    metric.plot_kind = "pie"
    with pytest.raises(ValueError, match=r"of my own: `plot_kind` must be one of .* but is 'pie' instead"):
        metric.plot()


def test_a_plot_of_ones_own_is_what_a_collection_calls() -> None:
    class Titled(BinaryAccuracy):
        def plot(self, val: Any = None, ax: Any = None) -> Any:  # type: ignore[override]  # as users of torchmetrics do
            figure, axes = self._plot(val, ax)
            axes.set_title("my own", loc="left")
            return figure, axes

    metrics = MetricCollection({"a": Titled(), "b": BinaryAccuracy()})
    metrics.update(SCORES, LABELS)
    assert [title_of(axes) for _, axes in metrics.plot()] == ["my own", "b"]


@pytest.mark.parametrize(
    ("value", "axis"),
    [
        ((torch.rand(4), torch.rand(4)), "x"),
        ((1.0, torch.tensor(2)), ""),
        ([1.0, 2.0], ""),
        (torch.eye(3).long(), "predicted"),
    ],
    ids=["curve", "tuple", "list", "matrix"],
)
def test_values_of_which_nothing_is_said(value: Any, axis: str) -> None:
    class Silent(SumMetric):
        def compute(self) -> Any:
            return value

    figure, axes = updated(Silent(), torch.tensor(1.0)).plot()
    assert axes.get_xlabel() == axis
    drawn(figure)


@pytest.mark.filterwarnings("ignore")  # of metrics that miss a class
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_metric_draws_its_value(row: Any) -> None:
    metric = row.make()
    metric.update(*row.draw(12, generator(1)), **row.update)
    value = metric.compute()
    if isinstance(value, Tensor) and value.numel() == 0:
        with pytest.raises(ValueError, match="there is no value to draw"):
            metric.plot()
        return
    figure, axes = metric.plot()
    assert isinstance(figure, Figure)
    assert isinstance(axes, Axes) or all(isinstance(one, Axes) for one in axes)


def test_bounds_are_those_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    rooms = ("classification", "regression", "retrieval", "text", "image", "segmentation")
    modules = [importlib.import_module(f"torchmetrics.{room}") for room in rooms]
    ours_say_more = {
        "CohenKappa",
        "MatthewsCorrCoef",
        "SpearmanCorrCoef",
        "KendallRankCorrCoef",
    }  # they may be negative
    for name in syncmetrics.__all__:
        ours = getattr(syncmetrics, name)
        for module in modules:
            peer = getattr(module, name, None)
            is_pair = isinstance(ours, type) and issubclass(ours, Metric) and isinstance(peer, type)
            if not is_pair or any(name.endswith(one) for one in ours_say_more):
                continue
            for bound in ("plot_lower_bound", "plot_upper_bound"):
                said = getattr(peer, bound, None)
                assert said is None or getattr(ours, bound) in (said, None), f"{name}.{bound}"


def test_the_value_is_that_of_all_ranks() -> None:
    def body(rank: int, world_size: int) -> tuple[list[str], list[str]]:
        metric, metrics = BinaryAccuracy(), MetricCollection([BinaryAccuracy()])
        for one in (metric, metrics):
            one.update(SCORES[rank::2], LABELS[rank::2])
        ((_, axes),) = metrics.plot()
        return texts_of(metric.plot()[1]), texts_of(axes)

    assert run_threads(body, 2) == [(["0.6667"], ["0.6667"])] * 2


def test_labels_of_one_number_and_of_a_dict_are_not_needed() -> None:
    assert names_of(BinaryAccuracy().plot(0.5, labels=["cat", "dog"])[1].yaxis) == []
    assert names_of(BinaryAccuracy().plot({"raw": 0.5}, labels=["cat", "dog"])[1].yaxis) == ["raw"]


# -- bad input


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ([], ValueError, "BinaryAccuracy: there is no value to draw: `val` must hold at least one"),
        (torch.empty(0), ValueError, r"BinaryAccuracy: there is no value to draw, for it is a torch.float32 tensor"),
        ("high", TypeError, "BinaryAccuracy: a str cannot be drawn; give numbers, or tensors of them"),
        ([0.5, None], TypeError, "BinaryAccuracy: a NoneType cannot be drawn"),
        (torch.tensor(1j), TypeError, "BinaryAccuracy: a torch.complex64 tensor of shape"),
        (torch.zeros(2, 2, 2), TypeError, "has too many dimensions"),
        ([torch.zeros(2), torch.zeros(3)], TypeError, r"with the same n, but have the shapes \[\(2,\), \(3,\)\]"),
        ({}, ValueError, "the dict is empty"),
    ],
)
def test_values_that_cannot_be_drawn(value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        BinaryAccuracy().plot(value)


def test_values_that_are_no_curve_and_no_matrix() -> None:
    with pytest.raises(TypeError, match="BinaryROC: a curve must be a tuple of two or more tensors"):
        BinaryROC().plot(torch.rand(4))
    with pytest.raises(ValueError, match="BinaryROC: false positive rate and true positive rate must have the same"):
        BinaryROC().plot((torch.rand(4), torch.rand(5)))
    with pytest.raises(TypeError, match=r"BinaryConfusionMatrix: a confusion matrix must be of shape \(n, n\)"):
        BinaryConfusionMatrix().plot(torch.rand(4))
    with pytest.raises(ValueError, match="at most 24 are drawn, but there are 30"):
        BinaryConfusionMatrix().plot([torch.eye(2)] * 30)


def test_other_arguments_that_are_wrong() -> None:
    metric = MulticlassF1Score(3, average=None)
    value = torch.rand(3)
    with pytest.raises(ValueError, match="MulticlassF1Score: `labels` must name 3 classes, but names 2"):
        metric.plot(value, labels=["a", "b"])
    with pytest.raises(TypeError, match="`labels` must be a sequence of names, but is a str"):
        metric.plot(value, labels="abc")
    with pytest.raises(TypeError, match="`ax` must be Axes of matplotlib"):
        metric.plot(value, ax=3)
    with pytest.raises(TypeError, match="`score` is for curves"):
        metric.plot(value, score=True)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"`BinaryAccuracy.plot` needs `matplotlib`.*pip install matplotlib"):
        BinaryAccuracy().plot(0.5)


def test_nothing_global_is_changed() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before, open_before = dict(matplotlib.rcParams), pyplot.get_fignums()
    for _, axes in collection().plot():
        drawn(axes.figure)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == open_before


def test_drawing_leaves_the_metric_alone() -> None:
    metric = updated(MulticlassConfusionMatrix(3), *scores_of(3))
    before = metric.compute()
    _, axes = metric.plot()
    axes.images[0].set_data(torch.zeros(3, 3).tolist())
    assert torch.equal(metric.compute(), before)
    assert metric.update_count == 1
