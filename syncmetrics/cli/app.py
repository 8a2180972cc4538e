"""The commands, by name."""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from rich import print as rich_print

from syncmetrics.cli.bench import bench
from syncmetrics.cli.demo import demo
from syncmetrics.cli.doctor import doctor
from syncmetrics.cli.verify import verify_metric

__all__ = ["app"]

app = typer.Typer(
    name="syncmetrics",
    help="Metrics that have the value of one process on any number of ranks.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # paragraphs of docstrings are filled
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        rich_print(f"syncmetrics {version('syncmetrics')}, torch {torch.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the versions, and end.")
    ] = False,
) -> None:
    """Take the options of all commands."""


app.command("verify")(verify_metric)
app.command()(doctor)
app.command()(bench)
app.command()(demo)
