"""Metrics of text, against torchmetrics, cross entropy, tables of costs, and sacrebleu."""

import math
import warnings

import pytest
import torch
import torchmetrics.text

import syncmetrics.family.offenders as offenders
import syncmetrics.text as room
from syncmetrics import MetricCollection
from syncmetrics.text._edits import edit_distance
from syncmetrics.transport.threads import run_threads
from tests.natives.native import generator, take
from tests.natives.text import ROWS, distance

WORD_METRICS = ("WordErrorRate", "MatchErrorRate", "WordInfoLost", "WordInfoPreserved")


def make(row, **kwargs):
    return getattr(room, row.name)(**row.options, **kwargs)


def value_of(metric, *batches):
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_values_are_the_truth(row):
    if row.truth is None:
        return
    samples = row.draw(9, generator(1))
    expected = torch.as_tensor(row.truth(*samples), dtype=torch.float64)
    torch.testing.assert_close(value_of(make(row), samples).double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("row", [row for row in ROWS if row.peer], ids=lambda row: row.id)
def test_values_are_those_of_torchmetrics(row):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(torchmetrics.text, row.name)(**row.options)
        samples = row.draw(9, generator(2))
        expected = value_of(peer, samples)
    torch.testing.assert_close(value_of(make(row), samples).double(), expected.double(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
@pytest.mark.parametrize("world_size", [2, 3])
def test_splits_over_ranks(row, world_size):
    samples = row.draw(11, generator(3))
    rank_of = torch.randint(0, world_size, (11,), generator=generator(4)).sort().values

    def body(rank, world_size):
        metric = make(row)
        places = [place for place in range(11) if rank_of[place] == rank]
        for start in range(0, len(places), 2):
            metric.update(*take(samples, places[start : start + 2]))
        return metric.compute()

    alone = value_of(make(row), samples)
    for value in run_threads(body, world_size):
        if row.exact:
            assert torch.equal(value, alone)
        else:
            torch.testing.assert_close(value, alone, rtol=1e-12, atol=0)


# -- edits


@pytest.mark.parametrize("cost", [0, 1, 2, 5])
def test_edit_distance_is_the_least_cost(cost):
    gen = generator(5)
    for _ in range(150):
        one, other = (
            "".join(
                "abc"[i] for i in torch.randint(0, 3, (int(torch.randint(0, 9, (), generator=gen)),), generator=gen)
            )
            for _ in range(2)
        )
        assert edit_distance(one, other, cost) == distance(one, other, cost), (one, other)


def test_long_texts():
    one, other = "ab" * 700, "ba" * 500 + "x" * 90
    assert edit_distance(one, other) == distance(one, other)


# -- words


def test_word_metrics_share_in_a_collection():
    collection = MetricCollection({name: getattr(room, name)() for name in WORD_METRICS})
    collection.update(["the cat", ""], ["a cat sat", "x"])
    assert len(collection.compute_groups) == 1
    values = collection.compute()
    for name in WORD_METRICS:
        assert torch.equal(values[name], value_of(getattr(room, name)(), (["the cat", ""], ["a cat sat", "x"])))


@pytest.mark.parametrize("name", [*WORD_METRICS, "CharErrorRate"])
def test_no_words(name):
    metric = getattr(room, name)()
    metric.update([], [])
    metric.update("", "")
    assert math.isnan(metric.compute())
    assert value_of(getattr(room, name)(), ("same text", "same text")) == (name == "WordInfoPreserved")


@pytest.mark.parametrize("name", [*WORD_METRICS, "CharErrorRate", "EditDistance"])
def test_wrong_texts(name):
    metric = getattr(room, name)()
    with pytest.raises(ValueError, match=f"{name}: .* are 2 and 1 instead"):
        metric.update(["a", "b"], ["a"])
    with pytest.raises(TypeError, match=f"{name}: `target` must be a string"):
        metric.update(["a"], [["a"]])


def test_nothing_said_is_an_infinite_rate():
    assert math.isinf(value_of(room.WordErrorRate(), ("two words", "")))


def test_edit_distances_of_no_texts():
    assert math.isnan(value_of(room.EditDistance(), ([], [])))
    assert value_of(room.EditDistance(reduction="sum"), ([], [])) == 0
    assert value_of(room.EditDistance(reduction=None), ([], [])).shape == (0,)
    with pytest.raises(ValueError, match="EditDistance: `substitution_cost`"):
        room.EditDistance(substitution_cost=-1)


# -- BLEU


def test_bleu_shares_and_needs_references():
    collection = MetricCollection({"plain": room.BLEUScore(), "smooth": room.BLEUScore(smooth=True)})
    collection.update(["a b c d e"], [["a b c d f", "a b c d e f g"]])
    assert len(collection.compute_groups) == 1
    assert value_of(room.BLEUScore(), ([""], [[""]]), ([], [])) == 0
    assert value_of(room.BLEUScore(), (["a b c d"], ["a b c d"])) == 1
    with pytest.raises(ValueError, match="every translation must have a reference"):
        room.BLEUScore().update(["a"], [[]])
    with pytest.raises(ValueError, match="references for each of the 1"):
        room.BLEUScore().update(["a"], [["a"], ["a"]])
    with pytest.raises(TypeError, match="must be strings"):
        room.BLEUScore().update(["a"], [[1]])
    with pytest.raises(ValueError, match="`weights`"):
        room.BLEUScore(weights=[1.0])


@pytest.mark.parametrize("options", [{}, {"n_gram": 2, "lowercase": True}, {"tokenize": "char"}])
def test_sacre_bleu_is_that_of_the_library(options):
    library = pytest.importorskip("sacrebleu.metrics")
    preds = ["The dog bit the man, twice.", "It wasn't surprising.", "The man had just bitten him.", ""]
    target = [
        ["The dog bit the man.", "The dog had bit the man"],
        ["It was not unexpected.", "it wasn't surprising"],
        ["The man had bitten the dog.", "The man just bit him, had he not?"],
        ["Nothing.", "nothing at all"],
    ]
    named = {("max_ngram_order" if name == "n_gram" else name): value for name, value in options.items()}
    expected = library.BLEU(smooth_method="none", **named).corpus_score(preds, list(zip(*target, strict=True))).score
    value = value_of(room.SacreBLEUScore(**options), (preds[:1], target[:1]), (preds[1:], target[1:]))
    assert value.item() == pytest.approx(expected / 100, rel=1e-6)
    assert expected > 0


def test_sacre_bleu_without_the_library(monkeypatch):
    def load(module, needed_by, install):
        raise ImportError(f"{needed_by} needs `sacrebleu`; pip install {install}")

    monkeypatch.setattr("syncmetrics.text.bleu.load", load)
    with pytest.raises(ImportError, match="SacreBLEUScore needs `sacrebleu`"):
        room.SacreBLEUScore(n_gram=3, tokenize="zh", lowercase=True)


# -- perplexity


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("exact", [False, True])
def test_perplexity_of_any_precision(dtype, exact):
    logits = (4 * torch.randn(3, 50, 300, generator=generator(6))).to(dtype)
    target = torch.randint(0, 300, (3, 50), generator=generator(7))
    target[1:] = torch.where(torch.rand(2, 50, generator=generator(8)) < 0.5, -100, target[1:])
    expected = torch.nn.functional.cross_entropy(logits.double().flatten(0, 1), target.flatten()).exp()
    value = value_of(
        room.Perplexity(ignore_index=-100, exact=exact), (logits[:1], target[:1]), (logits[1:], target[1:])
    )
    torch.testing.assert_close(value, expected, rtol=1e-12 if dtype is torch.float64 else 1e-6, atol=0)


def test_perplexity_of_nothing():
    metric = room.Perplexity(ignore_index=1)
    metric.update(torch.zeros(0, 4, 5), torch.zeros(0, 4, dtype=torch.int64))
    metric.update(torch.full((1, 2, 5), torch.nan), torch.ones(1, 2, dtype=torch.int32))
    assert math.isnan(metric.compute())
    metric.update(torch.zeros(1, 1, 5), torch.zeros(1, 1, dtype=torch.uint8))
    assert metric.compute().item() == pytest.approx(5, rel=1e-6)


def test_perplexity_refuses():
    metric, tokens = room.Perplexity(), torch.zeros(2, 3, dtype=torch.int64)
    for preds, target, error, match in (
        (torch.zeros(2, 5, 3), tokens, ValueError, r"Pass `preds.transpose\(1, 2\)`"),
        (torch.zeros(2, 3), tokens, ValueError, r"the shape \(B, T, V\)"),
        (torch.zeros(2, 4, 5), tokens, ValueError, "Cut both"),
        (torch.zeros(2, 3, 0), tokens, ValueError, "a logit for each token"),
        (tokens.unsqueeze(-1), tokens, TypeError, "float dtype"),
        (torch.zeros(2, 3, 5), tokens.float(), TypeError, "integer tokens"),
        (torch.zeros(2, 3, 5), tokens + 5, ValueError, "must be in 0..4"),
    ):
        with pytest.raises(error, match=f"Perplexity: .*{match}"):
            metric.update(preds, target)


def test_perplexity_counts_offenders_where_it_cannot_look(monkeypatch):
    monkeypatch.setattr(offenders, "reads_data", lambda tensor: False)
    logits = torch.randn(1, 4, 5, generator=generator(9))
    good = value_of(room.Perplexity(ignore_index=-1), (logits, torch.tensor([[0, -1, 4, 2]])))
    assert good.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits[0, [0, 2, 3]].double(), torch.tensor([0, 4, 2])).exp().item(), rel=1e-6
    )
    metric = room.Perplexity(ignore_index=-1)
    assert metric(logits, torch.tensor([[0, 7, -1, -2]])).isfinite()
    assert metric.invalid == 2
    with pytest.raises(ValueError, match=r"Perplexity: .* 2 of them are not"):
        metric.compute()


def test_exact_perplexity_does_not_depend_on_batches():
    logits, target = (
        torch.randn(60, 3, 9, generator=generator(10)),
        torch.randint(0, 9, (60, 3), generator=generator(11)),
    )
    whole = value_of(room.Perplexity(exact=True), (logits, target))
    order = torch.randperm(60, generator=generator(12))
    parts = value_of(room.Perplexity(exact=True), *((logits[part], target[part]) for part in order.split(7)))
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name == "Perplexity"], ids=lambda row: row.id)
def test_update_reads_no_data_but_on_a_cpu(row):
    metric = make(row).to("meta")  # where there is no data to read
    metric.update(*(value.to("meta") for value in row.draw(5, generator(5))))
