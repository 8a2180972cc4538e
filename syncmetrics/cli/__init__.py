"""What can be asked from a shell: `python -m syncmetrics`, or `syncmetrics` where it is installed.

A command reads its arguments, calls a function of another room, and prints. What it finds out is found out there, so
that a test and a notebook can ask for the same.
"""

from __future__ import annotations

import sys

from syncmetrics.optional import load

__all__ = ["main"]


def main() -> None:
    """Run the command that the shell asked for; exits with its code."""
    try:
        for library in ("typer", "rich"):
            load(library, needed_by="`python -m syncmetrics`", install="syncmetrics[cli]")
    except ImportError as error:
        sys.exit(str(error))
    from syncmetrics.cli.app import app

    app()
