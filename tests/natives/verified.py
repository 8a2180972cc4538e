"""All metrics of the package, verified as a user verifies his own."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from syncmetrics.testing import verify
from syncmetrics.testing.verification import Report
from tests.natives import ROWS
from tests.natives.native import Native, generator

__all__ = ["MEANT", "is_right", "report_of", "verify_all"]

#: What is found in some, and meant.
MEANT = {
    "LambdaInputTransformer": "a metric that cannot be copied",  # the row has a function without a name
    "MinMaxMetric": "states that are edited in `compute`",  # the range is that of all values that were computed
}


def report_of(row: Native, examples: int = 15) -> Report:
    """Verify one metric."""
    batches: list[Any] = [row.draw(5, generator(key)) for key in range(6)]
    return verify(partial(row.make), batches, examples=examples, name=row.id)


def is_right(row: Native, report: Report) -> bool:
    """Whether no law is broken but what is meant."""
    broken = {mistake.name for check in report.checks if check.outcome == "broken" for mistake in check.mistakes}
    return broken <= {MEANT.get(row.name)}


def verify_all() -> int:
    """Verify all of them, and print which are not right; give the exit status."""
    wrong = []
    rows = [row for row in ROWS if not row.update]
    for row in rows:
        report = report_of(row)
        sys.stdout.write(f"{'right' if is_right(row, report) else 'WRONG'}  {row.id}  {report.seconds:.1f} s\n")
        sys.stdout.flush()
        if not is_right(row, report):
            wrong.append(str(report))
    sys.stdout.write(
        "\n\n".join([*wrong, f"{len(rows)} metrics with their settings, {len(wrong)} of them not right\n"])
    )
    return 1 if len(wrong) > 1 else 0
