"""All metrics of the package, verified as a user verifies his own."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from syncmetrics.testing import verify
from syncmetrics.testing.verification import Report
from tests.natives import ROWS
from tests.natives.native import Native, generator

__all__ = ["report_of", "verify_all"]


def report_of(row: Native, examples: int = 15) -> Report:
    """Verify one metric."""
    batches: list[Any] = [row.draw(5, generator(key)) for key in range(6)]
    return verify(partial(row.make), batches, examples=examples, name=row.id)


def verify_all() -> int:
    """Verify all of them, and print which are not right; give the exit status."""
    wrong = []
    rows = [row for row in ROWS if not row.update]
    for row in rows:
        report = report_of(row)
        sys.stdout.write(f"{'right' if report.ok else 'WRONG'}  {row.id}  {report.seconds:.1f} s\n")
        sys.stdout.flush()
        if not report.ok:
            wrong.append(str(report))
    sys.stdout.write(
        "\n\n".join([*wrong, f"{len(rows)} metrics with their settings, {len(wrong)} of them not right\n"])
    )
    return 1 if len(wrong) > 1 else 0
