"""`python -m syncmetrics demo`: prints what `syncmetrics.testing.demo` computes."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from syncmetrics.testing.demo import Demonstration, demonstrate

__all__ = ["demo", "print_demonstration"]


def demo(ranks: Annotated[int, typer.Option(min=1, help="How many ranks to start.")] = 4) -> None:
    """Show one sync: uneven data on ranks, beside one process, and what it cost.

    It ends with 1 if a value on the ranks is not that of one process.
    """
    warnings.simplefilter("ignore")
    shown = demonstrate(ranks)
    print_demonstration(shown, Console())
    raise typer.Exit(0 if shown.is_right else 1)


def print_demonstration(shown: Demonstration, console: Console) -> None:
    """Print the values side by side, then what the sync cost.

    Args:
        shown: What came out.
        console: Where to print it.
    """
    world, samples = len(shown.sizes), sum(shown.sizes)
    console.print(f"{samples} samples on {world} ranks, which have {', '.join(map(str, shown.sizes))} of them.\n")
    table = Table(box=None)
    table.add_column("")
    for name in ("one process", f"{world} ranks", "", "padding sampler", "mean of ranks"):
        table.add_column(name, justify="right")
    for row in shown.rows:
        mark = "same" if row.together == row.alone else "OTHER"
        numbers = (f"{row.alone:.4f}", f"{row.together:.4f}", mark, f"{row.padded:.4f}", f"{row.averaged:.4f}")
        table.add_row(row.name, *numbers)
    console.print(table)
    console.print(
        f"\nsame: to the last bit. All {len(shown.rows)} values took {shown.collectives} collective"
        f"{'' if shown.collectives == 1 else 's'}; each rank sent {shown.bytes_sent:,} bytes.\n"
        f"padding sampler: DistributedSampler repeats {shown.repeated} samples so that all ranks have equally many.\n"
        "mean of ranks: each rank computes by itself, and the values are averaged, as sync_dist=True does."
    )
