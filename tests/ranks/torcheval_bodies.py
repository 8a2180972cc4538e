"""torcheval's metrics on real ranks: what each is fed, and what the ranks of test_torcheval.py do."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torcheval.metrics as tm
from torch import Tensor
from torcheval.metrics import toolkit
from torcheval.metrics.image import fid
from torcheval.metrics.metric import Metric

from syncmetrics import sync_and_compute, synced
from syncmetrics.foreign import torcheval as room
from syncmetrics.transport.process_group import transport

#: Batch sizes of each of up to three ranks.
SHARDS = {
    "even": [[4, 4], [4, 4], [4, 4]],
    "uneven": [[3], [2, 6, 5], [7, 2]],
    "first is empty": [[], [5, 3], [4]],
    "last is empty": [[4], [3, 2], []],
}
SHARDS_OF_TWO = {**SHARDS, "last is empty": [[4, 3], []]}


@dataclass(frozen=True)
class Row:
    make: Callable[[], Any]
    feed: Callable[[Any, int, torch.Generator], None]


fid._validate_torchvision_available = lambda: None  # it would only be needed for a model that is downloaded
warnings.filterwarnings("ignore", "To copy construct from a tensor")


class PerKey(Metric[Any]):
    """A dict state, whose keys depend on the data."""

    def __init__(self) -> None:
        super().__init__()
        self._add_state("sums", {})
        self._add_state("calls", 0)
        self._add_state("seconds", 0.0)

    def update(self, key: Any, value: float) -> Any:
        self.sums[key] = self.sums.get(key, torch.tensor(0.0)) + value
        self.calls += 1
        self.seconds += 0.5
        return self

    def compute(self) -> Any:
        return {key: self.sums[key].item() for key in sorted(self.sums, key=repr)}, self.calls, self.seconds

    def merge_state(self, metrics: Any) -> Any:
        for other in metrics:
            for key, value in other.sums.items():
                self.sums[key] = self.sums.get(key, torch.tensor(0.0)) + value
            self.calls += other.calls
            self.seconds += other.seconds
        return self


class Features(torch.nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :4]


def rand(*shape: int, g: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=g)


def bits(*shape: int, g: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=g)


def numbers(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, g=g))


def binary(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, g=g), bits(n, g=g))


def pairs(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, g=g), rand(n, g=g))


def many(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, 3, g=g), torch.randint(0, 3, (n,), generator=g))


def labels(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, 3, g=g), bits(n, 3, g=g))


def curve(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(1, n, g=g).sort(-1).values, rand(1, n, g=g))


def images(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, 3, 4, 4, g=g), rand(n, 3, 4, 4, g=g))


def feature_images(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, 3, 4, 4, g=g), is_real=True)
    m.update(rand(n, 3, 4, 4, g=g), is_real=False)


def waves(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, 4, g=g), rand(n, 4, g=g))


def tokens(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, 2, 3, g=g), torch.randint(0, 3, (n, 2), generator=g))


def queries(m: Any, n: int, g: torch.Generator) -> None:
    m.update(rand(n, g=g), bits(n, g=g), torch.randint(0, 2, (n,), generator=g))


def words(m: Any, n: int, g: torch.Generator) -> None:
    def sentence() -> str:
        return " ".join("abcd"[i] for i in torch.randint(0, 4, (6,), generator=g).tolist())

    inputs, targets = [sentence() for _ in range(n)], [sentence() for _ in range(n)]
    m.update(inputs, [[t] for t in targets] if isinstance(m, tm.BLEUScore) else targets)


def seconds(m: Any, n: int, g: torch.Generator) -> None:
    m.update(n, float(n) / 7)


def keys(m: Any, n: int, g: torch.Generator) -> None:
    for i in torch.randint(0, 5, (n,), generator=g).tolist():
        m.update((i, f"key {i}") if i % 2 else i, float(i))


def _of(feed: Callable[..., None], *classes: Any, **settings: Any) -> dict[str, Row]:
    return {cls.__name__: Row(lambda cls=cls: cls(**settings), feed) for cls in classes}


BINS = torch.linspace(0, 1, 5)
ROWS: dict[str, Row] = {
    **_of(numbers, tm.Cat, tm.Max, tm.Mean, tm.Min, tm.Sum, tm.ClickThroughRate),
    **_of(curve, tm.AUC),
    **_of(seconds, tm.Throughput),
    **_of(
        binary,
        *(tm.BinaryAccuracy, tm.BinaryAUPRC, tm.BinaryAUROC, tm.BinaryConfusionMatrix, tm.BinaryF1Score),
        *(tm.BinaryPrecision, tm.BinaryPrecisionRecallCurve, tm.BinaryRecall, tm.WeightedCalibration),
    ),
    "BinaryNormalizedEntropy": Row(
        tm.BinaryNormalizedEntropy, lambda m, n, g: m.update(rand(n, g=g), bits(n, g=g).float())
    ),
    **_of(binary, tm.BinaryBinnedAUPRC, tm.BinaryBinnedAUROC, tm.BinaryBinnedPrecisionRecallCurve, threshold=BINS),
    **_of(binary, tm.BinaryRecallAtFixedPrecision, min_precision=0.5),
    **_of(
        many,
        *(tm.MulticlassAccuracy, tm.MulticlassAUPRC, tm.MulticlassAUROC, tm.MulticlassConfusionMatrix),
        num_classes=3,
    ),
    **_of(many, tm.MulticlassF1Score, tm.MulticlassPrecision, tm.MulticlassRecall, num_classes=3, average="macro"),
    **_of(many, tm.MulticlassPrecisionRecallCurve, num_classes=3),
    **_of(
        many,
        *(tm.MulticlassBinnedAUPRC, tm.MulticlassBinnedAUROC, tm.MulticlassBinnedPrecisionRecallCurve),
        num_classes=3,
        threshold=BINS,
    ),
    **_of(many, tm.HitRate, tm.ReciprocalRank),
    **_of(labels, tm.MultilabelAccuracy, criteria="hamming"),
    **_of(labels, tm.MultilabelAUPRC, tm.MultilabelPrecisionRecallCurve, num_labels=3),
    **_of(labels, tm.MultilabelBinnedAUPRC, tm.MultilabelBinnedPrecisionRecallCurve, num_labels=3, threshold=BINS),
    **_of(labels, tm.MultilabelRecallAtFixedPrecision, num_labels=3, min_precision=0.5),
    **_of(labels, tm.TopKMultilabelAccuracy, criteria="hamming", k=2),
    **_of(pairs, tm.MeanSquaredError, tm.R2Score),
    **_of(images, tm.PeakSignalNoiseRatio),
    **_of(feature_images, tm.FrechetInceptionDistance, model=Features(), feature_dim=4),
    **_of(tokens, tm.Perplexity),
    **_of(queries, tm.RetrievalPrecision, num_queries=2, k=3),
    **_of(words, tm.WordErrorRate, tm.WordInformationPreserved, tm.WordInformationLost),
    **_of(words, tm.BLEUScore, n_gram=2),
    **_of(numbers, tm.WindowedClickThroughRate, max_num_updates=2),
    **_of(pairs, tm.WindowedMeanSquaredError, max_num_updates=2),
    "WindowedBinaryNormalizedEntropy": Row(
        lambda: tm.WindowedBinaryNormalizedEntropy(max_num_updates=2),
        lambda m, n, g: m.update(rand(n, g=g), bits(n, g=g).float()),
    ),
    **_of(binary, tm.WindowedWeightedCalibration, max_num_updates=2),
    **_of(binary, tm.WindowedBinaryAUROC, max_num_samples=6),
    **_of(keys, PerKey),
}
#: A window of N ranks is N windows, and time runs everywhere: one process gives another value.
WITHOUT_ONE_PROCESS = {"Throughput", *(name for name in ROWS if name.startswith("Windowed"))}


def updated(row: Row, shard: list[list[int]], ranks: list[int]) -> Any:
    """Give a metric that saw the batches of these ranks."""
    metric = row.make()
    for rank in ranks:
        g = torch.Generator().manual_seed(100 + rank)
        for n in shard[rank]:
            row.feed(metric, n, g)
    return metric


def form(value: Any) -> Any:
    """Give a value that can be compared: tensors as lists, with their dtype."""
    if isinstance(value, Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, (list, tuple)):
        return [form(v) for v in value]
    if isinstance(value, dict):
        return {repr(k): form(v) for k, v in value.items()}
    return value


def close(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6, equal_nan=True)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b) or repr(a) == repr(b)


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """Count what is communicated: by our transport, and by calls of torch.distributed from torcheval."""
    calls: list[str] = []
    undo: list[tuple[Any, str, Any]] = []
    names = ("all_gather", "all_gather_object", "gather_object", "gather", "all_reduce", "broadcast", "barrier")
    ours = ("all_gather", "broadcast", "gather", "all_reduce_sum")
    for owner, name in [*((dist, n) for n in names), *((transport.ProcessGroupTransport, n) for n in ours)]:
        original = getattr(owner, name)

        def wrapper(*args: Any, _original: Any = original, _name: str = name, **kwargs: Any) -> Any:
            calls.append(_name)
            return _original(*args, **kwargs)

        undo.append((owner, name, original))
        setattr(owner, name, wrapper)
    try:
        yield calls
    finally:
        for owner, name, original in undo:
            setattr(owner, name, original)


def local_form(metric: Any) -> Any:
    return [(name, id(value), repr(value)) for name, value in sorted(vars(metric).items())]


def table(rank: int, world_size: int) -> dict[str, list[str]]:
    """Compute every row on every shard, and give what is wrong."""
    wrong: dict[str, list[str]] = {}
    everyone = list(range(world_size))
    for how, shard in (SHARDS if world_size == 3 else SHARDS_OF_TWO).items():
        for name, row in ROWS.items():
            metric = updated(row, shard, [rank])
            before = local_form(metric)
            with counted() as calls, synced(metric):
                value = metric.compute()
            if local_form(metric) != before:
                wrong.setdefault(name, []).append(f"{how}: the local states changed")
            first, *others = [updated(row, shard, [r]) for r in everyone]
            expected = first.merge_state(others).compute()
            if form(value) != form(expected) and repr(form(value)) != repr(form(expected)):
                wrong.setdefault(name, []).append(f"{how}: {value} is not {expected} of `merge_state`")
            if name not in WITHOUT_ONE_PROCESS:
                single = updated(row, shard, everyone).compute()
                if not close(value, single):
                    wrong.setdefault(name, []).append(f"{how}: {value} is not {single} of one process")
            if not 1 <= len(calls) <= 2:
                wrong.setdefault(name, []).append(f"{how}: {calls}")
    return wrong


def collection(rank: int, world_size: int) -> tuple[list[str], list[str], Any, Any, bool]:
    """Sync all rows at once, by torcheval's own function, before and after `install`."""
    shard = SHARDS["even"]
    metrics = {name: updated(row, shard, [rank]) for name, row in ROWS.items() if name != "PerKey"}
    early = toolkit.sync_and_compute_collection
    originals = {name: getattr(toolkit, name) for name in room._ROUTED}
    with counted() as plain:
        theirs = early(copy.deepcopy(metrics))
    room.install()
    room.install()
    try:
        with counted() as routed:
            ours = early(metrics)
        again = toolkit.sync_and_compute_collection(metrics)
    finally:
        room.uninstall()
        room.uninstall()
    restored = all(getattr(toolkit, name) is original for name, original in originals.items())
    same = [name for name in metrics if close(theirs[name], ours[name]) and form(again[name]) == form(ours[name])]
    return plain, routed, sorted(set(metrics) - set(same)), form(ours["Cat"]), restored


def toolkit_functions(rank: int, world_size: int) -> Any:
    """Give what each routed function returns."""
    pair = dist.new_group([0, 1])
    metric = tm.Cat().update(torch.tensor([float(rank)]))
    early = toolkit.get_synced_state_dict
    room.install()
    try:
        merged = toolkit.get_synced_metric(metric)
        assert merged is not metric
        assert type(merged) is tm.Cat
        merged.update(torch.tensor([9.0]))
        assert metric.compute().tolist() == [float(rank)]
        many = toolkit.get_synced_metric_collection({"b": metric, "a": tm.Max().update(torch.tensor(rank))})
        try:
            inside = toolkit.sync_and_compute(metric, pair).tolist()
        except RuntimeError as error:
            inside = str(error)
        return (
            merged.compute().tolist(),
            {key: form(m.compute()) for key, m in many.items()},
            form(early(metric)),
            form(toolkit.get_synced_state_dict_collection({"a": metric})),
            inside,
        )
    finally:
        room.uninstall()


def without_group() -> tuple[bool, float]:
    metric = tm.Sum().update(torch.tensor(2.0))
    room.install()
    try:
        return toolkit.get_synced_metric(metric) is metric, toolkit.sync_and_compute(metric).item()
    finally:
        room.uninstall()


def failures_of_plain(rank: int, world_size: int) -> dict[str, Any]:
    """What torcheval gives by itself, and what the engine gives."""
    found: dict[str, Any] = {}
    by_key = PerKey().update("ab"[rank], 1.0 + rank)
    found["keys, plain"] = _attempt(lambda: toolkit.sync_and_compute(by_key)[0])
    found["keys"] = sync_and_compute(by_key)[0]
    cat = tm.Cat().update(torch.tensor([float(rank)]))
    found["order, plain"] = toolkit.sync_and_compute(cat).tolist()
    found["order"] = sync_and_compute(cat).tolist()
    half = tm.Cat().update(torch.tensor([1.0 + rank / 8], dtype=torch.float16 if rank else torch.float32))
    found["dtypes"] = form(sync_and_compute(half))
    return found


def half_plain(rank: int, world_size: int) -> Any:
    half = tm.Cat().update(torch.tensor([1.0 + rank / 8], dtype=torch.float16 if rank else torch.float32))
    return _attempt(lambda: form(toolkit.sync_and_compute(half)))


def _attempt(f: Callable[[], Any]) -> Any:
    try:
        return f()
    except Exception as error:
        return type(error).__name__


def twice_and_raising(rank: int, world_size: int) -> Any:
    """One metric given twice, a metric synced in a synced one, and an exception in the block."""
    metric = tm.Sum().update(torch.tensor(1.0 + rank))
    before = local_form(metric)
    inner = ""
    try:
        with synced(metric, [metric]):
            value = metric.compute().item()
            try:
                with synced(metric):
                    pass
            except Exception as error:
                inner = type(error).__name__
            raise KeyError("in the block")
    except KeyError:
        pass
    return value, inner, local_form(metric) == before, sync_and_compute(metric).item()
