"""Metrics of images, against torchmetrics and scipy."""

import math

import pytest
import torch
import torchmetrics.image

import syncmetrics.image as room
from syncmetrics import MetricCollection
from syncmetrics.transport.threads import run_threads
from tests.natives.image import ROWS, images, ssim
from tests.natives.native import generator, take


def make(row, **kwargs):
    return getattr(room, row.name)(**row.options, **kwargs)


def value_of(metric, *batches):
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_values_are_the_truth(row):
    samples = row.draw(5, generator(1))
    value = value_of(make(row), take(samples, range(2)), take(samples, range(2, 5)))
    assert value.dtype is torch.float64
    torch.testing.assert_close(value, torch.as_tensor(row.truth(*samples), dtype=torch.float64), rtol=1e-10, atol=0)


@pytest.mark.parametrize("row", [row for row in ROWS if row.peer], ids=lambda row: row.id)
def test_values_are_those_of_torchmetrics(row):
    samples = tuple(value.double() for value in row.draw(5, generator(2)))
    expected = value_of(getattr(torchmetrics.image, row.name)(**row.options), samples)
    torch.testing.assert_close(value_of(make(row), samples), expected.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
@pytest.mark.parametrize("world_size", [2, 3])
def test_splits_over_ranks(row, world_size):
    samples = row.draw(7, generator(3))
    rank_of = torch.randint(0, world_size, (7,), generator=generator(4)).sort().values

    def body(rank, world_size):
        metric = make(row)
        places = [place for place in range(7) if rank_of[place] == rank]
        for start in range(0, len(places), 2):
            metric.update(*take(samples, places[start : start + 2]))
        return metric.compute()

    alone = value_of(make(row), samples)
    for value in run_threads(body, world_size):
        torch.testing.assert_close(value, alone, rtol=1e-12, atol=0)


# -- PSNR


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float16, torch.bfloat16])
def test_psnr_converts_before_it_subtracts(dtype):
    preds, target = torch.tensor([8, 208]).to(dtype), torch.tensor([208, 8]).to(dtype)
    assert value_of(room.PeakSignalNoiseRatio(200.0), (preds, target)).item() == pytest.approx(0, abs=1e-12)


def test_psnr_of_nothing_and_of_no_error():
    empty = torch.zeros(0, 1, 4, 4)
    for options in ({}, {"data_range": 1.0}, {"data_range": 1.0, "dim": (1, 2, 3)}):
        metric = room.PeakSignalNoiseRatio(**options)
        metric.update(empty, empty)
        assert math.isnan(metric.compute())
        metric.update(empty + 1, empty)
        target = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)
        assert metric(target, target) == math.inf
        assert metric.compute() == math.inf
    metric = room.PeakSignalNoiseRatio(1.0, dim=(1, 2, 3), reduction=None)
    assert value_of(metric, (empty, empty)).shape == (0,)


def test_psnr_takes_the_range_of_all_targets():
    metric = room.PeakSignalNoiseRatio()
    batches = [(torch.full((2, 3), 5.0 + i), torch.full((2, 3), 4.0 + i)) for i in range(3)]
    assert value_of(metric, *batches).item() == pytest.approx(10 * math.log10(4.0))


def test_psnr_refuses():
    for options, error, match in (
        ({"data_range": 0.0}, ValueError, "`data_range` must be above 0"),
        ({"data_range": "1"}, TypeError, "`data_range` must be a number"),
        ({"data_range": (1.0, 0.0)}, ValueError, r"`data_range\[1\]` must be above 1"),
        ({"data_range": (1.0,)}, ValueError, r".*\(lowest, highest\)"),
        ({"dim": 1}, ValueError, "`data_range` must be given with `dim`"),
        ({"data_range": 1.0, "dim": (1, "2")}, TypeError, "`dim` must be an int"),
        ({"base": 1}, ValueError, "`base` must not be 1"),
        ({"reduction": "mean"}, ValueError, "`reduction` must be one of"),
    ):
        with pytest.raises(error, match=f"PeakSignalNoiseRatio: {match}"):
            room.PeakSignalNoiseRatio(**options)
    with pytest.raises(ValueError, match="nothing is broadcast"):
        room.PeakSignalNoiseRatio().update(torch.zeros(2, 3), torch.zeros(3))


def test_psnr_shares():
    group = {"ten": room.PeakSignalNoiseRatio(1.0), "two": room.PeakSignalNoiseRatio(2.0, base=2.0)}
    collection = MetricCollection({**group, "cut": room.PeakSignalNoiseRatio((0.0, 1.0))})
    assert sorted(len(names) for names in collection.compute_groups.values()) == [1, 2]


# -- SSIM


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
def test_ssim_of_any_dtype(dtype):
    preds, target = ((100 * value).clamp(0, 255).to(dtype) for value in images(3, generator(5)))
    value = value_of(room.StructuralSimilarityIndexMeasure(data_range=255, reduction="none"), (preds, target))
    torch.testing.assert_close(value, torch.tensor(ssim(preds, target, width=255), dtype=torch.float64))


def test_ssim_of_an_image_does_not_depend_on_its_batch():
    preds, target = images(6, generator(6))
    preds[2] *= 30
    options = {"reduction": "none"}
    whole = value_of(room.StructuralSimilarityIndexMeasure(**options), (preds, target))
    each = value_of(
        room.StructuralSimilarityIndexMeasure(**options),
        *((preds[i : i + 1], target[i : i + 1]) for i in range(6)),
    )
    torch.testing.assert_close(whole, each, rtol=1e-14, atol=0)
    one = torchmetrics.image.StructuralSimilarityIndexMeasure()
    expected = [one(preds[i : i + 1].double(), target[i : i + 1].double()).item() for i in range(6)]
    torch.testing.assert_close(whole, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_ssim_of_one_colour():
    metric = room.StructuralSimilarityIndexMeasure(reduction="none")
    grey, other = torch.full((1, 1, 12, 12), 0.3), torch.full((1, 1, 12, 12), 0.6)
    black = torch.zeros(1, 1, 12, 12)
    value = value_of(metric, (grey, grey), (grey, other), (black, black), (black, grey))
    torch.testing.assert_close(value, torch.tensor([1.0, 0.8, 1.0, 0.0], dtype=torch.float64))


def test_ssim_of_nothing():
    empty = torch.zeros(0, 1, 12, 12)
    assert math.isnan(value_of(room.StructuralSimilarityIndexMeasure(), (empty, empty)))
    assert value_of(room.StructuralSimilarityIndexMeasure(reduction="sum"), (empty, empty)) == 0
    assert value_of(room.StructuralSimilarityIndexMeasure(reduction=None), (empty, empty)).shape == (0,)


def test_ssim_refuses():
    for options, error, match in (
        ({"kernel_size": 4}, ValueError, "`kernel_size` must be odd"),
        ({"kernel_size": 3.0}, TypeError, "`kernel_size` must be an int"),
        ({"sigma": (1.0, 0.0)}, ValueError, "`sigma` must be above 0"),
        ({"k1": -0.1}, ValueError, "`k1` must be"),
        ({"reduction": "mean"}, ValueError, "`reduction` must be one of"),
        ({"data_range": -1.0}, ValueError, "`data_range` must be above 0"),
    ):
        with pytest.raises(error, match=f"StructuralSimilarityIndexMeasure: {match}"):
            room.StructuralSimilarityIndexMeasure(**options)
    for options, shape, match in (
        ({}, (12, 12), "must have the shape"),
        ({}, (1, 1, 5, 12), "larger than 5 pixels"),
        ({"sigma": (1.0, 1.0)}, (1, 1, 12, 12, 12), "one number or 3"),
    ):
        with pytest.raises(ValueError, match=f"StructuralSimilarityIndexMeasure: .*{match}"):
            room.StructuralSimilarityIndexMeasure(**options).update(torch.zeros(shape), torch.zeros(shape))


def test_ssim_shares_the_mean_and_the_sum():
    made = {name: room.StructuralSimilarityIndexMeasure(reduction=name) for name in ("elementwise_mean", "sum", "none")}
    assert sorted(len(names) for names in MetricCollection(made).compute_groups.values()) == [1, 2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_update_reads_no_data_but_on_a_cpu(row):
    metric = make(row).to("meta")  # where there is no data to read
    metric.update(*(value.to("meta") for value in row.draw(5, generator(5))))
