"""The rows, in the order of the table."""

from bench.cases import Row
from bench.rows import cats, classification, frameworks, imports, local, many, memory, natives, simulated, steps, sums

__all__ = ["ROWS", "row_of"]

ROWS: tuple[Row, ...] = (
    *classification.ROWS,
    *local.ROWS,
    *natives.ROWS,
    *imports.ROWS,
    *many.ROWS,
    *simulated.ROWS,
    *cats.ROWS,
    *sums.ROWS,
    *steps.ROWS,
    *frameworks.ROWS,
    *memory.ROWS,
)


def row_of(name: str) -> Row:
    """Give the row with an id."""
    return next(row for row in ROWS if row.id == name)
