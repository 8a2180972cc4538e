"""Two networks that train against each other, with two optimizers and metrics for each.

`MetricsCallback` updates the metrics from what `training_step` returns, in `on_train_batch_end`, and logs them. The
LightningModule has no metrics, and nothing but counts is kept from one batch to the next.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from common import Row, TrainData, finish, logged, mean, parse_options, quiet_trainer, share_right
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from syncmetrics import BinaryAccuracy, MeanMetric
from syncmetrics.frameworks.lightning import MetricsCallback

EPOCHS = 2
SAMPLES = 36  # two processes have equally many, so a mean over the processes is one over the samples
NAMES = ("generator/loss", "discriminator/loss", "discriminator/accuracy")


class Gan(LightningModule):
    """Learn to make pairs of numbers from noise, as a discriminator learns to tell them from the real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.generator = nn.Linear(2, 2, dtype=torch.float64)
        self.discriminator = nn.Sequential(
            nn.Linear(2, 8, dtype=torch.float64), nn.Tanh(), nn.Linear(8, 1, dtype=torch.float64)
        )

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        networks = self.generator, self.discriminator
        return [torch.optim.SGD(network.parameters(), lr=0.3) for network in networks], []

    def training_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        real, noise = batch
        generator_optimizer, discriminator_optimizer = self.optimizers()  # type: ignore[attr-defined]  # two: a list

        self.toggle_optimizer(generator_optimizer)
        fooled = self.discriminator(self.generator(noise)).flatten()
        generator_losses = F.binary_cross_entropy_with_logits(fooled, torch.ones_like(fooled), reduction="none")
        self.step(generator_optimizer, generator_losses.mean())
        self.untoggle_optimizer(generator_optimizer)

        self.toggle_optimizer(discriminator_optimizer)
        judged = self.discriminator(torch.cat([real, self.generator(noise).detach()])).flatten()
        is_real = torch.cat([torch.ones(len(real)), torch.zeros(len(noise))]).to(judged)
        discriminator_losses = F.binary_cross_entropy_with_logits(judged, is_real, reduction="none")
        self.step(discriminator_optimizer, discriminator_losses.mean())
        self.untoggle_optimizer(discriminator_optimizer)

        return {
            "generator_losses": generator_losses.detach(),
            "discriminator_losses": discriminator_losses.detach(),
            "is_judged_real": (judged > 0).long(),
            "is_real": is_real.long(),
        }

    def step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class KeepOutputs(Callback):
    """Wrong: keep what every step returned, and average the values of the batches of one process.

    Here it serves for the expected values too: all that it kept, of all processes, is what they are computed from.
    """

    def __init__(self) -> None:
        self.outputs: list[list[dict[str, Tensor]]] = []
        self.naive: list[dict[str, float]] = []
        self.expected: list[dict[str, float]] = []
        self.logged: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.outputs.append([])

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any) -> None:
        self.outputs[-1].append(outputs)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        of_batches = [plain_values([outputs]) for outputs in self.outputs[-1]]
        self.naive.append({name: mean([values[name] for values in of_batches]) for name in NAMES})
        self.expected.append(plain_values(of_all_processes(self.outputs[-1])))
        self.logged.append(logged(trainer))


def of_all_processes(outputs: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Give the outputs of all processes. Collective."""
    if not dist.is_initialized():
        return outputs
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, outputs)
    return [batch for part in parts for batch in part]


def plain_values(outputs: list[dict[str, Tensor]]) -> dict[str, float]:
    """Compute from the samples themselves what the metrics compute from their counts."""
    columns = {name: torch.cat([batch[name] for batch in outputs]) for name in outputs[0]}
    return {
        "generator/loss": mean(columns["generator_losses"].tolist()),
        "discriminator/loss": mean(columns["discriminator_losses"].tolist()),
        "discriminator/accuracy": share_right(columns["is_judged_real"], columns["is_real"]),
    }


def metrics_callback() -> MetricsCallback:
    """Right: metrics, and which of the step's outputs each one takes."""
    return MetricsCallback(
        {
            "generator/loss": MeanMetric(),
            "discriminator/loss": MeanMetric(),
            "discriminator/accuracy": BinaryAccuracy(),
        },
        take={
            "generator/loss": "generator_losses",
            "discriminator/loss": "discriminator_losses",
            "discriminator/accuracy": ("is_judged_real", "is_real"),
        },
    )


def real_and_noise() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    real, noise = torch.randn(2, SAMPLES, 2, dtype=torch.float64, generator=generator)
    return TensorDataset(real + torch.tensor([1.0, 2.0]), noise)


def main() -> int:
    options = parse_options(__doc__)
    kept = KeepOutputs()
    trainer = quiet_trainer(
        options.devices,
        callbacks=[kept, metrics_callback()],
        max_epochs=EPOCHS,
        # Each backward pass reaches one of the two networks.
        strategy="ddp_find_unused_parameters_true" if options.devices > 1 else "auto",
    )
    trainer.fit(Gan(), datamodule=TrainData(real_and_noise()))
    rows = [
        Row(f"epoch {epoch}, {name}", kept.naive[epoch][name], kept.logged[epoch][name], kept.expected[epoch][name])
        for epoch in range(EPOCHS)
        for name in NAMES
    ]
    steps = sum(len(epoch) for epoch in kept.outputs)
    return finish("Two networks", rows, options, notes=[f"kept in the list: {steps} steps of {EPOCHS} epochs"])


if __name__ == "__main__":
    sys.exit(main())
