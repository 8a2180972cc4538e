"""Metrics of masks, against torchmetrics and counts by hand."""

import math
import warnings

import pytest
import torch
import torchmetrics.segmentation

import syncmetrics.family.offenders as offenders
import syncmetrics.segmentation as room
from syncmetrics import MetricCollection
from syncmetrics.transport.threads import run_threads
from tests.natives.native import generator, take
from tests.natives.segmentation import ROWS, dice, generalized_dice, mean_iou

AVERAGES = ("micro", "macro", "weighted", "none")
pytestmark = pytest.mark.filterwarnings("ignore:.*currently defaults to.*")


def make(row, **kwargs):
    return getattr(room, row.name)(**row.options, **kwargs)


def value_of(metric, *batches):
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


def rare(n, key):
    """Masks of four classes of which many samples lack some, and one lacks all but the background."""
    gen = generator(key)
    masks = torch.randint(0, 4, (2, n, 3, 3), generator=gen) * (torch.rand(2, n, 3, 3, generator=gen) < 0.3)
    masks[:, 0] = 0
    return tuple(masks.clamp(max=2).unbind())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_values_are_the_truth(row):
    samples = row.draw(9, generator(1))
    value = value_of(make(row), take(samples, range(4)), take(samples, range(4, 9)))
    assert value.dtype is torch.float64
    torch.testing.assert_close(value, torch.as_tensor(row.truth(*samples), dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("row", [row for row in ROWS if row.peer], ids=lambda row: row.id)
def test_values_are_those_of_torchmetrics(row):
    samples = row.draw(9, generator(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = value_of(getattr(torchmetrics.segmentation, row.name)(**row.options), samples)
    torch.testing.assert_close(value_of(make(row), samples), expected.double(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
@pytest.mark.parametrize("world_size", [2, 3])
def test_splits_over_ranks(row, world_size):
    samples = row.draw(11, generator(3))
    rank_of = torch.randint(0, world_size, (11,), generator=generator(4))

    def body(rank, world_size):
        metric = make(row)
        places = [place for place in range(11) if rank_of[place] == rank]
        for start in range(0, len(places), 2):
            metric.update(*take(samples, places[start : start + 2]))
        return metric.compute()

    alone = value_of(make(row), samples)
    for value in run_threads(body, world_size):
        torch.testing.assert_close(value, alone, rtol=0 if row.exact else 1e-12, atol=0)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("level", ["samplewise", "global"])
def test_dice_of_classes_that_do_not_occur(average, level, background):
    options = {"num_classes": 4, "include_background": background, "average": average, "aggregation_level": level}
    masks = rare(7, 5)
    value = value_of(room.DiceScore(**options, input_format="index"), masks)
    peer = torchmetrics.segmentation.DiceScore(**options, input_format="index")
    torch.testing.assert_close(value, value_of(peer, masks).double(), rtol=1e-5, atol=0, equal_nan=True)
    truth = torch.as_tensor(dice(*masks, average, background, level == "global"), dtype=torch.float64)
    torch.testing.assert_close(value[:3] if value.ndim and background else value[:2] if value.ndim else value, truth)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("per_class", [True, False])
def test_mean_iou_of_classes_that_do_not_occur(per_class, background):
    options = {"num_classes": 4, "include_background": background, "per_class": per_class, "input_format": "index"}
    masks = rare(7, 6)
    value = value_of(room.MeanIoU(**options), masks)
    expected = value_of(torchmetrics.segmentation.MeanIoU(**options), masks)
    torch.testing.assert_close(value, expected.double(), rtol=1e-5, atol=0)
    truth = torch.as_tensor(mean_iou(*masks, background, per_class), dtype=torch.float64)
    torch.testing.assert_close(value[:-1] if per_class else value, truth)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(("kind", "power"), [("square", 2), ("simple", 1), ("linear", 0)])
def test_generalized_dice_of_classes_that_do_not_occur(kind, power, background):
    masks = rare(7, 7)
    options = {"num_classes": 3, "include_background": background, "input_format": "index", "weight_type": kind}
    value = value_of(room.GeneralizedDiceScore(**options), masks)
    assert value.item() == pytest.approx(generalized_dice(*masks, power, background), rel=1e-12)
    alone = value_of(room.GeneralizedDiceScore(**options), *(take(masks, [place]) for place in range(7)))
    torch.testing.assert_close(alone, value, rtol=1e-12, atol=0)


FORMATS = [
    lambda **k: room.MeanIoU(3, **k),
    lambda **k: room.DiceScore(3, average="none", **k),
    lambda **k: room.DiceScore(3, average="none", aggregation_level="global", **k),
    lambda **k: room.GeneralizedDiceScore(3, **k),
]


@pytest.mark.parametrize("metric", FORMATS)
def test_formats_and_dtypes_give_one_value(metric):
    gen = generator(8)
    preds, target = torch.randint(0, 3, (2, 4, 5, 6), generator=gen).unbind()
    expected = value_of(metric(input_format="index"), (preds, target))

    def one_hot(mask):
        return torch.nn.functional.one_hot(mask, 3).movedim(-1, 1)

    p, t = one_hot(preds), one_hot(target)
    for dtype in (torch.uint8, torch.int32):
        assert torch.equal(value_of(metric(input_format="index"), (preds.to(dtype), target.to(dtype))), expected)
    for one, other in ((p, t), (p.bool(), t.to(torch.uint8) * 255), (p.half(), t.bfloat16()), (p.float(), t)):
        assert torch.equal(value_of(metric(), (one, other)), expected)
    for one, other in ((p, target), (p.float(), target), (preds, t.bool()), (preds, t.float())):
        assert torch.equal(value_of(metric(input_format="mixed"), (one, other)), expected)
    void = torch.rand(4, 5, 6, generator=gen) < 0.3
    marked = torch.where(void, 255, target)
    expected = value_of(metric(input_format="index", ignore_index=255), (preds, marked))
    odd = torch.where(void, 77, preds)  # what is predicted there does not matter
    assert torch.equal(value_of(metric(input_format="index", ignore_index=255), (odd, marked)), expected)
    assert torch.equal(
        value_of(metric(input_format="index", ignore_index=-1), (preds, torch.where(void, -1, target))), expected
    )
    for one in (p, p.float()):
        value = value_of(metric(input_format="mixed", ignore_index=255), (one, marked.to(torch.uint8)))
        assert torch.equal(value, expected)


@pytest.mark.parametrize("metric", FORMATS)
def test_labels_out_of_range(metric, monkeypatch):
    preds, target = torch.tensor([[[0, 1, 2, 1]]]), torch.tensor([[[0, 2, 2, 255]]], dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"labels in `target` must be in 0..2"):
        metric(input_format="index").update(preds, target)
    expected = value_of(metric(input_format="index", ignore_index=255), (preds, target))
    monkeypatch.setattr(offenders, "reads_data", lambda tensor: False)
    torch.testing.assert_close(
        value_of(metric(input_format="index", ignore_index=255), (preds, target)), expected, equal_nan=True
    )
    one = metric(input_format="index")
    torch.testing.assert_close(one(preds, target), expected, equal_nan=True)
    one.update(preds - 1, target.clamp(max=2))
    with pytest.raises(ValueError, match=r"2 of them are not"):
        one.compute()


@pytest.mark.parametrize("metric", FORMATS)
def test_nothing(metric):
    one = metric(input_format="index", ignore_index=255)
    one.update(torch.zeros(0, 2, 2, dtype=torch.int64), torch.zeros(0, 2, 2, dtype=torch.int64))
    assert one.compute().isnan().all()
    one.update(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), 255, dtype=torch.uint8))
    value = one.compute()
    assert value == 0 if isinstance(one, room.GeneralizedDiceScore) else value.isnan().all()


@pytest.mark.parametrize("metric", FORMATS)
def test_refused(metric):
    mask, one_hot = torch.zeros(2, 4, 4, dtype=torch.int64), torch.zeros(2, 3, 4, 4)
    for options, preds, target, error, match in (
        ({}, one_hot[:, :2], one_hot[:, :2], ValueError, r"must have the shape \(N, 3, ...\)"),
        ({}, one_hot, one_hot[..., :2], ValueError, "masks of one shape"),
        ({}, one_hot[0, 0], one_hot[0, 0], ValueError, "dimensions or more"),
        ({"input_format": "index"}, mask.float(), mask, TypeError, "integer labels"),
        ({"input_format": "mixed"}, mask, mask, ValueError, "and the other"),
        ({"input_format": "mixed", "ignore_index": 9}, mask, one_hot, ValueError, "`target` must be labels"),
    ):
        with pytest.raises(error, match=match):
            metric(**options).update(preds, target)
    with pytest.raises(ValueError, match="`ignore_index` must be None"):
        metric(ignore_index=255)
    with pytest.raises(ValueError, match="`input_format` must be one of"):
        metric(input_format="onehot")


def test_number_of_classes():
    with pytest.raises(ValueError, match=r"MeanIoU: `num_classes` must be given with per_class=True"):
        room.MeanIoU(per_class=True)
    with pytest.raises(ValueError, match=r"MeanIoU: `num_classes` must be given with input_format='index'"):
        room.MeanIoU(input_format="index")
    with pytest.raises(ValueError, match=r"DiceScore: `num_classes` must be at least 2"):
        room.DiceScore(1, include_background=False)
    with pytest.raises(TypeError, match=r"DiceScore: `num_classes`"):
        room.DiceScore(None)
    with pytest.raises(ValueError, match=r"must have the shape \(N, C, ...\)"):
        room.MeanIoU(include_background=False).update(torch.ones(2, 1, 3), torch.ones(2, 1, 3))
    assert math.isnan(value_of(room.MeanIoU(), (torch.zeros(2, 3, 4).bool(), torch.zeros(2, 3, 4).bool())))


def test_one_image_is_not_taken_for_rows():
    image = torch.tensor([[0, 1], [1, 1]])
    with pytest.raises(ValueError, match=r"MeanIoU: `preds` .* Pass `preds.unsqueeze\(0\)`"):
        room.MeanIoU(2, input_format="index").update(image, image)


@pytest.mark.parametrize("metric", FORMATS)
def test_rows_of_pixels(metric):
    preds, target = torch.randint(0, 3, (2, 5, 20), generator=generator(9)).unbind()
    one_hot = [torch.nn.functional.one_hot(mask, 3).movedim(-1, 1) for mask in (preds, target)]
    expected = value_of(metric(input_format="index"), (preds.unsqueeze(1), target.unsqueeze(1)))
    assert torch.equal(value_of(metric(), one_hot), expected)
    assert torch.equal(value_of(metric(input_format="mixed"), (one_hot[0], target)), expected)


def test_sharing():
    collection = MetricCollection(
        {
            "mean": room.MeanIoU(3),
            "each": room.MeanIoU(3, per_class=True),
            "void": room.MeanIoU(3, input_format="index"),
            **{average: room.DiceScore(3, average=average, aggregation_level="global") for average in AVERAGES},
        }
    )
    assert sorted(len(group) for group in collection.compute_groups.values()) == [1, 2, 4]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_update_reads_no_data_but_on_a_cpu(row):
    metric = make(row).to("meta")  # where there is no data to read
    metric.update(*(value.to("meta") for value in row.draw(5, generator(5))))
