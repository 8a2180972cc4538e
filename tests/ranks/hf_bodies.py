"""accelerate and transformers on real ranks: what the ranks of their tests do."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from syncmetrics import Metric, MetricCollection
from syncmetrics.classification import MulticlassAccuracy
from tests.pages import blocks_of, text_of


class Rows(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], "cat")

    def update(self, rows: Tensor) -> None:
        self.rows.append(rows)

    def compute(self) -> list[int]:
        return torch.cat(list(self.rows)).flatten().tolist()


def _environment(rank: int, world_size: int) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}
    os.environ.update({name: str(value) for name, value in names.items()}, ACCELERATE_USE_CPU="true")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def every_sample_once(rank: int, world_size: int) -> list[str]:
    """Iterate dataloaders of accelerate over 1 to 17 samples; give where a sample is not counted once."""
    _environment(rank, world_size)
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    from syncmetrics.frameworks.accelerate import valid_mask

    wrong = []
    settings: list[tuple[dict[str, bool], int, bool]] = [
        ({}, 2, False),
        ({}, 3, False),
        ({}, 2, True),
        ({"even_batches": False}, 2, False),
        ({"split_batches": True}, 2 * world_size, False),
        ({"dispatch_batches": True}, 2, False),
    ]
    for options, size, drop_last in settings:
        accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**options))
        assert accelerator.num_processes == world_size
        for count in range(1, 18):
            data = torch.arange(count)
            loader = accelerator.prepare(DataLoader(data, batch_size=size, drop_last=drop_last))  # type: ignore[arg-type]
            for source in (accelerator, loader):
                metric = Rows()
                for batch in loader:
                    metric.update(batch[valid_mask(source, {"text": ["x"], "x": batch})])
                total = size if "split_batches" in options else size * world_size
                expected = list(range(count // total * total if drop_last else count))
                found = sorted(metric.compute()) if expected else []
                if found != expected:
                    wrong.append(f"{options}, {size}, {drop_last}, {count}: {found}")
    return wrong


def refusals(rank: int, world_size: int) -> list[str]:
    _environment(rank, world_size)
    from accelerate import Accelerator

    from syncmetrics.frameworks.accelerate import valid_mask

    accelerator = Accelerator(cpu=True)
    found = []
    for count, at in ((16, 0), (5, 0), (7, 1)):  # a whole batch, and last ones, which `gather_for_metrics` cuts
        loader = accelerator.prepare(DataLoader(torch.arange(count), batch_size=4))  # type: ignore[arg-type]
        for step, batch in enumerate(loader):
            gathered = accelerator.gather_for_metrics(batch)
            if step == min(at, len(loader) - 1):
                found.append(_attempt(valid_mask, accelerator, gathered))
    found.append(_attempt(valid_mask, accelerator, torch.zeros(4)))
    found.append(_attempt(valid_mask, DataLoader([1]), torch.zeros(4)))  # type: ignore[arg-type]
    found.append(_attempt(valid_mask, loader, ["no tensor"]))
    return found


def _attempt(f: Any, *args: Any) -> str:
    try:
        return f"gave {f(*args)}"
    except ValueError as error:
        return str(error)


class Texts(Dataset[Any]):
    def __init__(self, count: int) -> None:
        g = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(0, 11, (count, 6), generator=g)
        self.labels = torch.randint(0, 5, (count, 6), generator=g)
        self.labels[:, ::3] = -100

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, i: int) -> Any:
        return {"input_ids": self.tokens[i], "labels": self.labels[i], "attention_mask": torch.ones(6).long()}


def _start(rank: int, world_size: int) -> None:
    _environment(rank, world_size)
    if world_size == 1:
        dist.destroy_process_group()  # the Trainer is on its own
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            del os.environ[name]


def _model() -> Any:
    from transformers import BertConfig, BertForTokenClassification, set_seed

    set_seed(3)
    sizes = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertForTokenClassification(
        BertConfig(**sizes, intermediate_size=8, max_position_embeddings=8, num_labels=5)  # type: ignore[arg-type]
    )


def trainer(rank: int, world_size: int, directory: str, count: int) -> Any:
    """Evaluate twice with a Trainer; give the metrics, and the shape of what it gathered."""
    _start(rank, world_size)
    from transformers import Trainer, TrainingArguments

    from syncmetrics.frameworks.transformers import TrainerMetrics

    model = _model()
    metrics = TrainerMetrics(MetricCollection({"micro": MulticlassAccuracy(num_classes=5), "rows": Rowcount()}))
    arguments = TrainingArguments(
        output_dir=directory, per_device_eval_batch_size=3, report_to=[], use_cpu=True, disable_tqdm=True
    )
    gathered: list[Any] = []

    def compute_metrics(prediction: Any) -> Any:
        gathered.append((prediction.predictions.shape, str(prediction.predictions.dtype)))
        return metrics.compute_metrics(prediction)

    one = Trainer(
        model=model,
        args=arguments,
        eval_dataset=Texts(count),
        preprocess_logits_for_metrics=metrics.preprocess_logits_for_metrics,
        compute_metrics=compute_metrics,
    )
    values = [one.evaluate(), one.evaluate()]
    return [{key: each[key] for key in ("eval_micro", "eval_rows")} for each in values], gathered


def resumed(rank: int, world_size: int, directory: str, stop_at: int, again: bool) -> Any:
    """Train for seven steps, or be stopped and go on; give what a metric says of the tokens that were seen."""
    _start(rank, world_size)
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from syncmetrics import CatMetric, SumMetric
    from syncmetrics.frameworks.transformers import MetricsCheckpoint

    metrics = {"tokens": MetricCollection([CatMetric(), SumMetric()])}

    class Counting(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            metrics["tokens"].update(inputs["input_ids"].double())
            return super().compute_loss(model, inputs, *args, **kwargs)

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == stop_at:
                raise InterruptedError

    arguments = TrainingArguments(
        output_dir=directory,
        per_device_train_batch_size=2,
        max_steps=7,
        save_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    one = Counting(
        model=_model(),
        args=arguments,
        train_dataset=Texts(28),
        callbacks=[MetricsCheckpoint(metrics), Stop()],
    )
    try:
        one.train(resume_from_checkpoint=again)
    except InterruptedError:
        return None
    found = metrics["tokens"].compute()
    return found["SumMetric"].item(), found["CatMetric"].sum().item(), found["CatMetric"].tolist()


def registered(rank: int, world_size: int, directory: str, action: str) -> Any:
    """Save or load metrics that are registered with an Accelerator."""
    _environment(rank, world_size)
    from accelerate import Accelerator

    from syncmetrics import MetricLogger, StatefulMetrics, SumMetric

    accelerator = Accelerator(cpu=True)
    collection, logger, more = MetricCollection({"rows": Rows()}), MetricLogger(), {"total": SumMetric()}
    accelerator.register_for_checkpointing(collection, logger, StatefulMetrics(more))
    if action == "save":
        collection.update(torch.tensor([10 * rank, 10 * rank + 1]))
        logger.log("loss", 1.0 + rank)
        more["total"].update(torch.tensor(1.0 + rank))
        accelerator.save_state(directory)
        return None
    accelerator.load_state(directory)
    return collection.compute(), logger.end_epoch(), more["total"].compute().item()


class Rowcount(Metric):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), "sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        assert logits.shape[:-1] == labels.shape
        self.count = self.count + labels.numel()

    def compute(self) -> Tensor:
        return self.count


def callables(rank: int, world_size: int) -> Any:
    """Call the two callables as a Trainer would, without one."""
    from syncmetrics.frameworks.transformers import TrainerMetrics

    causal = TrainerMetrics(Rowcount(), shift=True, name="rows")
    labels = torch.tensor([[1, 2, 3], [1, -100, 2]])
    small = causal.preprocess_logits_for_metrics((torch.zeros(2, 3, 4), None), labels)
    none = torch.full_like(labels, -100)
    causal.preprocess_logits_for_metrics(torch.zeros(2, 3, 4), none)
    logits = torch.zeros(1)
    assert causal.preprocess_logits_for_metrics(logits, None) is logits
    return small.tolist(), causal.compute_metrics(compute_result=False), causal.compute_metrics()


def run_page(rank: int, world_size: int, page: str, codes: list[str]) -> None:
    """Run the examples of a page."""
    _environment(rank, world_size)
    for code in codes:
        exec(compile(code, page, "exec"), {})


def examples(page: str, section: str = "") -> list[str]:
    """Give the examples of a page in `docs`, or of one of its sections."""
    text = text_of(f"docs/{page}")
    if section:
        (text,) = (part for part in text.split("\n## ") if part.startswith(section))
    found = [block.text for block in blocks_of(text) if block.language == "python"]
    assert found
    return found
