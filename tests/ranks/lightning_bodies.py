"""What the ranks of test_lightning do: a real Trainer over the process group that `run_ranks` has made."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import torchmetrics as tm
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from syncmetrics import (
    BinaryAUROC,
    ClasswiseWrapper,
    MaxMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    SumMetric,
)
from syncmetrics.data import EvalSampler
from syncmetrics.foreign.torchmetrics import fuse, uninstall
from syncmetrics.frameworks.lightning import MetricsCallback, MetricsCheckpoint, log_picture
from tests.ranks.exchanges import counted_gathers

CLASSES = ["cat", "dog", "owl"]
UNUSED = "ddp_find_unused_parameters_true"  # as two networks with an optimizer each need it
SAMPLES = 37  # divides by none of the world sizes, nor by the batch size
BATCH = 5


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Make every warning an error, but for those that torch has for Lightning, and Lightning for small jobs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message="GPU available but not used.*")
        warnings.filterwarnings("ignore", message="The `srun` command is available.*")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        yield


class Given(LightningEnvironment):
    """The process group is there already."""

    def __init__(self, rank: int, world_size: int) -> None:
        super().__init__()
        self._rank, self._size = rank, world_size

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def world_size(self) -> int:
        return self._size

    def set_world_size(self, size: int) -> None:
        assert size == self._size

    def global_rank(self) -> int:
        return self._rank

    def local_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        super().set_global_rank(rank)
        assert rank == self._rank


def trainer(rank: int, world_size: int, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 2,
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": world_size,
        "strategy": "ddp" if world_size > 1 else "auto",
    }
    plugins = [Given(rank, world_size)] if world_size > 1 else None
    return pl.Trainer(**{**defaults, "plugins": plugins, **options})


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, 4, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long())


def loader(*, share: bool = True) -> DataLoader[Any]:
    dataset = data()
    return DataLoader(dataset, BATCH, sampler=EvalSampler(dataset, shuffle=False) if share else None)


def all_metrics() -> MetricCollection:
    inner = MetricCollection({"f1": MulticlassF1Score(3)}, prefix="macro_")
    per_class = ClasswiseWrapper(MulticlassAccuracy(3, average=None), CLASSES)
    return MetricCollection({"acc": MulticlassAccuracy(3), "classes": per_class, "nested": inner}, prefix="val/")


class Base(pl.LightningModule):
    """A network that learns the same on any number of ranks: every rank trains on all samples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(4, 3)
        self.seen: list[dict[str, float]] = []
        self.exchanges: list[int] = []

    def training_step(self, batch: Any, index: int) -> Any:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.5)

    def train_dataloader(self) -> Any:
        return loader(share=False)

    def val_dataloader(self) -> Any:
        return loader()


class Watch(pl.Callback):
    """Keep what is logged in each validation epoch but the sanity check's, and the exchanges that it took."""

    def __init__(self, calls: list[int]) -> None:
        self.calls, self.before = calls, 0

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self.before = len(self.calls)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        module.seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if not trainer.sanity_checking:
            module.exchanges.append(len(self.calls) - self.before)


class Automatic(Base):
    def __init__(self) -> None:
        super().__init__()
        self.metrics = all_metrics()
        self.loss = MeanMetric()

    def validation_step(self, batch: Any, index: int) -> None:
        scores = self.net(batch[0])
        self.metrics.update(scores, batch[1])
        self.loss.update(torch.nn.functional.cross_entropy(scores, batch[1], reduction="none"))
        self.log_dict(self.metrics)
        self.log("val/loss", self.loss)


class Steps(Automatic):
    """Values of steps and of epochs, of a collection and of single metrics."""

    def training_step(self, batch: Any, index: int) -> Any:
        scores = self.net(batch[0])
        self.metrics(scores, batch[1])
        self.log_dict(self.metrics, on_step=True, on_epoch=True)
        loss = torch.nn.functional.cross_entropy(scores, batch[1])
        self.log("loss", self.loss(loss), on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        """Nothing is logged here."""


class Manual(Automatic):
    def validation_step(self, batch: Any, index: int) -> None:
        scores = self.net(batch[0])
        self.metrics.update(scores, batch[1])
        self.loss.update(torch.nn.functional.cross_entropy(scores, batch[1], reduction="none"))

    def on_validation_epoch_end(self) -> None:
        values = self.metrics.compute()
        loss = self.loss.compute()
        self.metrics.reset()
        self.loss.reset()
        self.log_dict(values, sync_dist=True)
        self.log("val/loss", loss)


class Fused(Base):
    """Metrics of torchmetrics."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = tm.MetricCollection(
            {"acc": tm.classification.MulticlassAccuracy(3), "f1": tm.classification.MulticlassF1Score(3)},
            prefix="val/",
        )
        self.auroc = tm.classification.MulticlassAUROC(3)
        fuse(self)

    def validation_step(self, batch: Any, index: int) -> None:
        scores = self.net(batch[0])
        self.metrics.update(scores, batch[1])
        self.auroc.update(scores, batch[1])
        self.log_dict(self.metrics)
        self.log("val/auroc", self.auroc)


MODULES = {"automatic": Automatic, "manual": Manual, "fused": Fused, "steps": Steps}


def fitted(rank: int, world_size: int, kind: str, **options: Any) -> tuple[list[dict[str, float]], list[int]]:
    """Give what three epochs have logged, and the exchanges of each validation."""
    with counted_gathers() as calls, quiet():
        module = MODULES[kind]()
        callbacks = [Watch(calls), *options.pop("callbacks", [])]
        trainer(rank, world_size, callbacks=callbacks, **options).fit(module)
        uninstall()
    return module.seen, module.exchanges


def decided(rank: int, world_size: int, directory: str) -> dict[str, Any]:
    """Give what EarlyStopping and ModelCheckpoint decided by names of a ClasswiseWrapper and of a collection."""
    stop = pl.callbacks.EarlyStopping("val/nested_macro_f1", mode="max", patience=2, min_delta=0.02)
    best = pl.callbacks.ModelCheckpoint(directory, monitor=f"val/multiclassaccuracy_{CLASSES[1]}", mode="max")
    with quiet():
        module = Automatic()
        fit = trainer(rank, world_size, callbacks=[stop, best], enable_checkpointing=True, max_epochs=12)
        fit.fit(module)
    keys = torch.load(best.best_model_path, weights_only=True)["state_dict"].keys()
    score = None if best.best_model_score is None else best.best_model_score.item()
    return {
        "epochs": fit.current_epoch,
        "stopped": stop.stopped_epoch,
        "score": score,
        "path": os.path.basename(best.best_model_path),
        "keys": sorted(keys),
    }


class Told(Base):
    """Values are logged where metrics were meant."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.f1 = MulticlassF1Score(3)
        self.metrics = MetricCollection({"acc": MulticlassAccuracy(3)})

    def validation_step(self, batch: Any, index: int) -> None:
        scores = self.net(batch[0])
        if self.how == "forward":
            self.log("f1", self.f1(scores, batch[1]))
        elif self.how == "compute":
            self.f1.update(scores, batch[1])
            self.log("f1", self.f1.compute(), on_epoch=True)
        else:
            self.log_dict(self.metrics(scores, batch[1]), on_epoch=True)


def told(rank: int, world_size: int, how: str) -> list[str]:
    """Give the warnings of two epochs."""
    module = Told(how)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # every rank has as many batches as the others: nobody may wait in a `compute` for one that does not come
        module.val_dataloader = lambda: loader(share=False)
        trainer(rank, world_size, max_epochs=2, num_sanity_val_steps=0).fit(module)
    ignored = ("LeafSpec", "many workers", "tensorboardX", "`srun`")
    return [str(item.message) for item in caught if not any(text in str(item.message) for text in ignored)]


class Gan(pl.LightningModule):
    """Two networks, two optimizers, and a step that returns what metrics are made of."""

    def __init__(self, *, returns: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.returns = returns
        torch.manual_seed(0)
        self.generator = torch.nn.Linear(2, 2)
        self.discriminator = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        (real,) = batch
        first, second = self.optimizers()
        fake = self.generator(torch.randn_like(real))
        scores = self.discriminator(torch.cat([real, fake.detach()])).squeeze(1)
        target = torch.cat([torch.ones(len(real)), torch.zeros(len(fake))])
        d_loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, target)
        second.zero_grad()
        self.manual_backward(d_loss)
        second.step()
        losses = torch.nn.functional.softplus(-self.discriminator(fake).squeeze(1))
        first.zero_grad()
        self.manual_backward(losses.mean())
        first.step()
        return {"d_preds": scores, "d_target": target.long(), "g_loss": losses} if self.returns else None

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(net.parameters(), 0.01) for net in (self.generator, self.discriminator)]


def gan(rank: int, world_size: int) -> tuple[dict[str, float], float]:
    """Give what is logged, and the AUROC of all scores of this rank, which is made from the same outputs."""
    kept: list[Any] = []

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            kept.append({name: value.detach() for name, value in outputs.items()})

    metrics = MetricsCallback(
        {"d/auroc": BinaryAUROC(), "g/loss": MeanMetric()},
        take={"d/auroc": ("d_preds", "d_target"), "g/loss": lambda outputs: outputs["g_loss"]},
    )
    dataset = TensorDataset(torch.randn(23, 2, generator=torch.Generator().manual_seed(rank)))
    with quiet():
        run = trainer(rank, world_size, callbacks=[metrics, Keep()], max_epochs=1, strategy=UNUSED)
        run.fit(Gan(), DataLoader(dataset, BATCH))
    logged = {name: value.item() for name, value in run.callback_metrics.items()}
    together = {name: torch.cat([each[name] for each in kept]) for name in kept[0]}
    return logged, {name: value.tolist() for name, value in together.items()}  # type: ignore[return-value]


def pictures(directory: str) -> dict[str, Any]:
    """Give the tags that TensorBoard has of a run with a confusion matrix."""
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Pictures(Automatic):
        def __init__(self) -> None:
            super().__init__()
            self.metrics = MetricCollection({"acc": MulticlassAccuracy(3), "confusion": MulticlassConfusionMatrix(3)})
            self.more = MulticlassConfusionMatrix(3)

        def validation_step(self, batch: Any, index: int) -> None:
            super().validation_step(batch, index)
            self.more.update(self.net(batch[0]), batch[1])

        def on_validation_epoch_end(self) -> None:
            log_picture(self, "by hand", self.more, labels=CLASSES)
            self.more.reset()

    logger = TensorBoardLogger(directory)
    with quiet():
        trainer(0, 1, logger=logger, max_epochs=2, log_every_n_steps=1).fit(Pictures())
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    return {name: len(events.Images(name)) for name in events.Tags()["images"]}


class Loaders(Base):
    """Two validation loaders, each with a metric of its own, logged under one name."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torch.nn.ModuleList([MulticlassAccuracy(3), MulticlassAccuracy(3)])

    def val_dataloader(self) -> Any:
        return [loader(), loader()]

    def validation_step(self, batch: Any, index: int, dataloader_idx: int) -> None:
        metric = self.accuracy[dataloader_idx]
        metric.update(self.net(batch[0]) * (1 - 2 * dataloader_idx), batch[1])
        self.log("accuracy", metric)


MODULES["loaders"] = Loaders


class OneMetricTwoLoaders(Base):
    """One metric for two validation loaders, logged under one name as torchmetrics' are."""

    def __init__(self, collected: bool) -> None:
        super().__init__()
        self.mean: Any = MetricCollection({"m": MeanMetric()}) if collected else MeanMetric()

    def val_dataloader(self) -> Any:
        return [DataLoader(TensorDataset(torch.full((4,), level) + torch.arange(4)), 1) for level in (2.5, 12.5)]

    def validation_step(self, batch: Any, index: int, dataloader_idx: int) -> None:
        self.mean.update(batch[0])
        if isinstance(self.mean, MetricCollection):
            self.log_dict(self.mean)
        else:
            self.log("m", self.mean)


class Overrides(Metric):
    """Counts its batches in a plain attribute, which its own `reset` begins anew; and has a `forward` of its own."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.batches, self.forwards = 0, 0
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.batches += 1
        self.t += x.sum()

    def forward(self, x: Tensor) -> Any:
        self.forwards += 1
        return super().forward(x)

    def compute(self) -> Tensor:
        return self.t / self.batches

    def reset(self) -> None:
        super().reset()
        self.batches = 0


class Overriding(Base):
    def __init__(self) -> None:
        super().__init__()
        self.alone, self.together = Overrides(), MetricCollection({"a": Overrides(), "b": Overrides()})

    def validation_step(self, batch: Any, index: int) -> None:
        ones = torch.ones(1) * (1 + self.current_epoch)
        self.alone.update(ones)
        self.together(ones)
        self.log("alone", self.alone)
        self.log_dict(self.together)


class Several(Metric):
    """Gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.t += x.sum()

    def compute(self) -> Any:
        return self.t.clone(), self.t + 1


class LogsSeveral(Base):
    def __init__(self) -> None:
        super().__init__()
        self.several = Several()

    def validation_step(self, batch: Any, index: int) -> None:
        self.several.update(batch[0])
        self.log("several", self.several)


class Forgotten(Base):
    def validation_step(self, batch: Any, index: int) -> None:
        metric = MulticlassAccuracy(3)  # a new one in every step
        metric.update(self.net(batch[0]), batch[1])
        self.log("accuracy", metric)


def _values(run: pl.Trainer) -> dict[str, float]:
    return {name: value.item() for name, value in run.callback_metrics.items()}


def spawned(rank: int, world_size: int) -> dict[str, float]:
    """Give what three epochs have logged on two processes that Lightning spawns."""
    dist.destroy_process_group()  # they make their own
    run = trainer(0, 1, devices=2, strategy="ddp_spawn")
    run.fit(Automatic())
    return _values(run)


class Sharded(Automatic):
    def configure_model(self) -> None:
        fully_shard(self.net, mesh=self.device_mesh["data_parallel"])


def sharded(rank: int, world_size: int) -> dict[str, float]:
    """Give what three epochs have logged with a network whose parameters are spread over the ranks."""
    strategy = ModelParallelStrategy(
        data_parallel_size=world_size, tensor_parallel_size=1, process_group_backend="gloo"
    )
    run = trainer(rank, world_size, strategy=strategy)
    run.fit(Sharded())
    return _values(run)


def as_tensor(values: Any) -> Tensor:
    return torch.tensor(values)


class Rows:
    """A loader that goes on where it was: each step takes the next rows, a share for every rank."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size, self.done = rank, world_size, 0

    def __iter__(self) -> Iterator[Tensor]:
        self.done %= 40
        while self.done < 40:
            start = self.done + 2 * self.rank
            self.done += 2 * self.world_size
            yield torch.arange(start, start + 2)

    def __len__(self) -> int:
        """Give no less than there may be: a job goes on from steps of another size."""
        return 20

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.done = state["done"]


class Resumed(pl.LightningModule):
    """Metrics of training and validation; the network does not learn, so that a value says what was counted."""

    def __init__(self, rank: int, world_size: int, stop_at: int) -> None:
        super().__init__()
        self.place, self.stop_at = (rank, world_size), stop_at
        self.net = torch.nn.Linear(1, 1)
        self.train_metrics = MetricCollection({"acc": MulticlassAccuracy(3), "mean": MeanMetric()}, prefix="train/")
        self.val = torch.nn.ModuleDict({"rows": SumMetric()})
        self.rounds = 0

    def training_step(self, rows: Tensor, index: int) -> Any:
        self.train_metrics["acc"].update((rows + self.current_epoch) % 3, rows // (2 + self.current_epoch) % 3)
        self.train_metrics["mean"].update(rows.double() ** 2)
        self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        self.rounds += 1
        if self.rounds == self.stop_at:
            raise InterruptedError("the job is stopped")
        return {"loss": self.net(rows[:1, None].float()).sum() * 0.0, "x": rows.float()}

    def validation_step(self, rows: Tensor, index: int) -> None:
        self.val["rows"].update(rows.double())
        self.log("val/rows", self.val["rows"])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)

    def train_dataloader(self) -> Any:
        return Rows(*self.place)

    def val_dataloader(self) -> Any:
        return Rows(*self.place)


def resumed(
    rank: int, world_size: int, directory: str, stop_at: int, ckpt_path: str | None = None
) -> list[dict[str, float]]:
    """Give what the epochs logged, of a job that is stopped in one of them, or goes on from its last checkpoint."""
    with quiet():
        module, seen = Resumed(rank, world_size, stop_at), []

        class Keep(pl.Callback):
            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})

        callbacks = [
            Keep(),
            MetricsCheckpoint(),
            MetricsCallback({"most": MaxMetric()}, take={"most": ("x",)}),
            pl.callbacks.ModelCheckpoint(directory, every_n_train_steps=4, save_last=True, filename="{step}"),
        ]
        fit = trainer(
            rank, world_size, callbacks=callbacks, enable_checkpointing=True, max_epochs=3, val_check_interval=3
        )
        with contextlib.suppress(InterruptedError):
            fit.fit(module, ckpt_path=ckpt_path)
    return seen
