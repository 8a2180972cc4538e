"""`python -m syncmetrics doctor`: prints what `syncmetrics.diagnose` finds."""

from __future__ import annotations

import logging
import warnings
from itertools import groupby
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from syncmetrics.diagnose import Diagnosis, Finding, examine
from syncmetrics.diagnose.diagnosis import ranks_named

__all__ = ["doctor", "print_diagnosis", "quiet"]

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    ranks: Annotated[int, typer.Option(min=1, help="How many ranks to start, where no launcher has.")] = 2,
    backend: Annotated[Optional[str], typer.Option(help="As for init_process_group; left out, what it takes.")] = None,  # noqa: UP045
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for other ranks.")] = 60.0,
) -> None:
    """Say what is wrong with this machine, or with a job, and what to do about it.

    Alone, it looks at this machine and times an exchange between ranks that it starts. Under torchrun it looks at all
    ranks of the job and marks where they differ: torchrun --nproc-per-node 4 -m syncmetrics doctor. It ends with 1 if
    there is a problem.
    """
    quiet()
    diagnosis = examine(world_size=ranks, backend=backend, timeout=timeout)
    own = diagnosis.ranks[0].rank
    if own == 0 or diagnosis.is_partial:
        if as_json:
            print(diagnosis.to_json())
        else:
            print_diagnosis(diagnosis, Console())
    raise typer.Exit(1 if diagnosis.level == "problem" else 0)


def quiet() -> None:
    """Have this process leave out the warnings of torch: what they are about is said here in words of its own."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Print the findings by area, then a line that counts them.

    Args:
        diagnosis: What was found.
        console: Where to print it.
    """
    for area, findings in groupby(diagnosis.findings, key=lambda finding: finding.area):
        console.print(Text(area.capitalize(), style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=9)
        table.add_column(overflow="fold")
        for finding in findings:
            table.add_row(Text(f"  {finding.level}", style=_STYLES[finding.level]), _told(finding))
        console.print(table)
    counts = {level: sum(finding.level == level for finding in diagnosis.findings) for level in _STYLES}
    of = f" of {diagnosis.world_size} ranks" if diagnosis.world_size > 1 else ""
    problems, notes = (
        f"{counts[kind] or 'no'} {kind}{'' if counts[kind] == 1 else 's'}" for kind in ("problem", "note")
    )
    console.print(Text(f"\n{problems[0].upper()}{problems[1:]}{of}, {notes}.", style=_STYLES[diagnosis.level]))


def _told(finding: Finding) -> Text:
    where = f" ({ranks_named(finding.ranks)})" if finding.ranks else ""
    text = Text.assemble((f"{finding.about}{where}: ", "bold"), finding.text)
    if finding.advice:
        text.append(f"\n-> {finding.advice}")
    return text
