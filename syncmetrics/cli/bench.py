"""`python -m syncmetrics bench`: prints what `syncmetrics.diagnose.measure` measures."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, List, Optional  # noqa: UP035

import typer
from rich.console import Console
from rich.table import Table

from syncmetrics.diagnose.measure import Measured, measure
from syncmetrics.testing.servers import also_imported, import_once

__all__ = ["bench", "print_measured"]


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    ranks: Annotated[
        Optional[List[int]],  # noqa: UP006, UP045
        typer.Option(min=2, help="How many ranks to start; may be given several times.", show_default="2 and 4"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to measure, in all.")] = 16.0,
    backend: Annotated[Optional[str], typer.Option(help="As for init_process_group; left out, what it takes.")] = None,  # noqa: UP045
) -> None:
    """Measure what a sync of 18 metrics costs here, beside torchmetrics' own and a bare all_gather.

    Alone, it starts 2 and then 4 ranks. Under torchrun it measures between the ranks of the job: torchrun
    --nproc-per-node 4 -m syncmetrics bench.
    """
    warnings.simplefilter("ignore")
    import_once()  # ranks find imported what takes them longer than the measurement
    with also_imported("torchmetrics.classification"):
        found = measure(world_sizes=ranks or (2, 4), seconds=seconds, backend=backend)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        print_measured(found, Console())


def print_measured(found: Sequence[Measured], console: Console) -> None:
    """Print a table for each number of ranks.

    Args:
        found: What was measured.
        console: Where to print it.
    """
    for one in found:
        table = Table(title=f"compute() of 18 metrics, {one.world_size} ranks", title_justify="left", box=None)
        table.add_column("", overflow="fold")
        for name in ("median", "quartiles", "collectives", "times ours"):
            table.add_column(name, justify="right")
        ours = one.timed[0]
        for timed in one.timed:
            spread = f"{_milliseconds(timed.low)} - {_milliseconds(timed.high)}"
            ratio = f"{timed.median / ours.median:.2f}x"
            table.add_row(timed.name, f"{_milliseconds(timed.median)} ms", spread, str(timed.collectives), ratio)
        console.print(table)
        way = "through shared memory" if one.shares_memory else "over the group"
        console.print(f"{one.rounds} rounds in turn, {one.backends}, states on {one.device}; ours went {way}.")
        if one.are_equal is not None:
            console.print(f"The 18 values of both are {'the same' if one.are_equal else 'DIFFERENT'}.")
        console.print()
    if all(len(one.timed) < 3 for one in found):
        console.print(
            "torchmetrics is not installed: pip install syncmetrics[torchmetrics] to compare with it.", markup=False
        )
    console.print(", ".join(f"{name} {value}" for name, value in found[0].about.items()))


def _milliseconds(seconds: float) -> str:
    number = seconds * 1e3
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:,.0f}"
