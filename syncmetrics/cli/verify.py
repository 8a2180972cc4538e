"""`verify`: is a metric right on any number of ranks, and if not, why?"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from syncmetrics.testing.verification import NoBatchesError, Report, verify

__all__ = ["verify_metric"]

_STYLES = {"holds": "green", "broken": "bold red", "note": "yellow", "not checked": "dim"}


def verify_metric(
    metric: Annotated[str, typer.Argument(help="What makes the metric: `package.module:function`, or a class.")],
    batches: Annotated[
        str | None, typer.Option(help="A function that gives batches, each a tuple of the arguments of `update`.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="A function of all samples that gives the true value, called as `update` is.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="How many examples are drawn for each law.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Find out whether a metric is right on any number of ranks, and if not, which mistake it has.

    It exits with 1 if a law is broken, and with 2 if the metric cannot be verified.
    """
    make = _load("METRIC", metric)
    data, truth = (
        None if text is None else _load(f"--{name}", text)
        for name, text in (("batches", batches), ("reference", reference))
    )
    try:
        report = verify(make, data, reference=truth, examples=examples, name=metric)
    except (NoBatchesError, TypeError, ImportError) as error:
        typer.echo(f"verify: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print(report)
    raise typer.Exit(0 if report.ok else 1)


def _load(what: str, text: str) -> Any:
    """Import what `package.module:name` names, from the working directory too."""
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise typer.BadParameter(f"{what} must be `package.module:name`, but is {text!r} instead.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise typer.BadParameter(f"{what}: {error}") from error
    return found


def _print(report: Report) -> None:
    console = Console(highlight=False)
    table = Table(title=f"{report.metric} ({report.inputs})", title_justify="left")
    table.add_column("law")
    table.add_column("", no_wrap=True)
    table.add_column("mistake")
    for check in report.checks:
        style = _STYLES[check.outcome]
        names = ", ".join(mistake.name for mistake in check.mistakes)
        table.add_row(check.law, f"[{style}]{check.outcome}[/]", names)
    console.print(table)
    for mistake in report.mistakes:
        if mistake.example:
            console.print(f"\n[bold]{mistake.name[:1].upper()}{mistake.name[1:]}[/]")
            for text in (mistake.says, mistake.instead):
                console.print(text[:1].upper() + text[1:], markup=False)
            console.print()
            for line in mistake.example.splitlines():
                console.print(f"    {line}", markup=False, soft_wrap=True)
    verdict = "right on any number of ranks" if report.ok else "not right on any number of ranks"
    console.print(f"\n{report.metric} is {verdict}; {report.seconds:.1f} s", markup=False)
