"""Sinks that write text files: JSON lines and CSV."""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TextIO

from torch import Tensor

from syncmetrics.logger.records import Record

__all__ = ["CSVSink", "JSONLinesSink"]


class JSONLinesSink:
    """Write one JSON object a record: `{"kind", "epoch", "step", "values"}`.

    Arrays become nested lists. JSON has no NaN and no infinity: they are written as `null`, and the key `"not_finite"`
    says what they were, `{"loss": "nan"}`; of an array, `{"matrix": ["inf", "nan"]}`. Steps without values are left
    out. The key `"coverage"` of an epoch with metrics lists what they rest on: `{"names", "updates", "samples"}`, the
    latter two with a number for each rank.

    Args:
        path: The file. Its folder is made.
        append: Whether to go on in a file that is there already; else it is replaced at the first record.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self.path = Path(path)
        self._append = append
        self._file: TextIO | None = None

    def write(self, record: Record) -> None:
        """Write one line."""
        values: dict[str, Any] = {**record.scalars, **{name: array.tolist() for name, array in record.arrays.items()}}
        if not values:
            return
        content: dict[str, Any] = {"kind": record.kind, "epoch": record.epoch, "step": record.step}
        odd = {name: _odd(value) for name, value in values.items() if _odd(value)}
        content |= {"values": {name: _valid(value) for name, value in values.items()}}
        content |= {"not_finite": odd} if odd else {}
        if record.coverage is not None:
            content["coverage"] = [asdict(share) for share in record.coverage.shares]
        line = json.dumps(content, allow_nan=False) + "\n"
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a" if self._append else "w", encoding="utf-8")
            self._append = True
        self._file.write(line)
        self._file.flush()

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Do nothing: the line has the values."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _valid(value: Any) -> Any:
    if isinstance(value, list):
        return [_valid(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _odd(value: Any) -> Any:
    """Give what is not finite: its text, or the sorted texts of what is in a list."""
    if isinstance(value, list):
        texts = set()
        for item in value:
            odd = _odd(item)
            texts.update(odd if isinstance(odd, list) else [odd] if odd else [])
        return sorted(texts)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else ""


class CSVSink:
    """Write one row a record, of one kind: `epoch,step,` and a column for each name.

    A name that comes later gets a column of its own, for which the file is written anew; cells without a value are
    empty. Arrays are left out.

    Args:
        path: The file. Its folder is made.
        kind: "epoch" for the values of all ranks per epoch, "step" for those of rank 0 per step.
        append: Whether to go on in a file that is there already; else it is replaced at the first record.

    Raises:
        ValueError: `kind` is neither.
    """

    def __init__(self, path: str | Path, *, kind: Literal["epoch", "step"] = "epoch", append: bool = False) -> None:
        if kind not in ("epoch", "step"):
            raise ValueError(f"`kind` must be 'epoch' or 'step', but is {kind!r} instead.")
        self.path = Path(path)
        self.kind = kind
        self._append = append
        self._columns: list[str] = []
        self._file: TextIO | None = None

    def write(self, record: Record) -> None:
        """Write one row."""
        if record.kind != self.kind or not record.scalars:
            return
        row: dict[str, Any] = {"epoch": record.epoch, "step": record.step, **record.scalars}
        if self._file is None or not row.keys() <= set(self._columns):
            self._open(list(row))
        assert self._file is not None
        csv.DictWriter(self._file, self._columns, lineterminator="\n").writerow(row)
        self._file.flush()

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Do nothing: a table has no place for it."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, names: list[str]) -> None:
        """Write the header and the rows so far, with all columns, beside the file; then put that in its place."""
        self.close()
        rows: list[dict[str, str]] = []
        if self._append and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as old:
                reader = csv.DictReader(old)
                rows, self._columns = list(reader), list(reader.fieldnames or [])
        self._columns += [name for name in names if name not in self._columns]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f"{self.path.name}.new")
        with beside.open("w", newline="", encoding="utf-8") as new:
            writer = csv.DictWriter(new, self._columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(beside, self.path)
        self._append = True
        self._file = self.path.open("a", newline="", encoding="utf-8")
