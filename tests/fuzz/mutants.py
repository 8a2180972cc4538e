"""Bugs put into a copy of the package, one at a time, in a process of its own each: the fuzzer has to find them.

A mutant is a text in a file of the package and what stands in its place. The text has to be there exactly once, so a
mutant that does not apply any more is an error, and never one that "was not found".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import syncmetrics

#: At most so many syncs, on so many ranks, to find one.
BUDGETS = (("threads", 3, 3000), ("gloo", 2, 300))
#: So long one try may take: a mutant may well wait for ever.
SECONDS = 240.0


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        name: What it does.
        file: Where, in the package.
        text: What stands there.
        bug: What stands there instead.
    """

    name: str
    file: str
    text: str
    bug: str


MUTANTS = (
    Mutant(
        "a layout kept from the last sync",
        "sync/engine.py",
        "known.records, known.said, known.layout = records, encode_said(manifest), None",
        "known.records, known.said = records, encode_said(manifest)",
    ),
    Mutant(
        "a plan kept when shapes change",
        "sync/memory.py",
        "and all(before is m.records for before, m in zip(self.said, manifests, strict=True))",
        "and all(len(before) == len(m.records) for before, m in zip(self.said, manifests, strict=True))",
    ),
    Mutant(
        "a result that is a view of the receive buffer",
        "sync/fold.py",
        "return moved.clone() if _shares_memory(moved, packets) else moved",
        "return moved",
    ),
    Mutant(
        "the last rank dropped from sums",
        "states/reductions.py",
        "for index, value in enumerate(values[1:]):\n        total = total.add_(value)",
        "for index, value in enumerate(values[1:-1] or values[1:]):\n        total = total.add_(value)",
    ),
    Mutant(
        "the last rank dropped from rows",
        "sync/check.py",
        "filled = [r for r in ranks if records[r].form is Form.ROWS and records[r].shape[0] > 0]",
        "filled = [r for r in ranks[:-1] if records[r].form is Form.ROWS and records[r].shape[0] > 0]",
    ),
    Mutant(
        "a wrong offset in the buffer that small states share",
        "sync/plan.py",
        "sizes[rank] = align(sizes[rank] + manifest.records[state.index].nbytes)",
        "sizes[rank] = align(sizes[rank]) + align(manifest.records[state.index].nbytes) // 32 * 16 + 16",
    ),
    Mutant(
        "alignment left out between states of other shapes than rows",
        "sync/plan.py",
        "at = at + nbytes if rows else align(at + nbytes)",
        "at = at + nbytes",
    ),
    Mutant(
        "a rank without rows decides on the dtype",
        "states/reductions.py",
        "dtype = promote([t.dtype for t in filled])\n    return torch.cat",
        "dtype = promote([t.dtype for t in rows])\n    return torch.cat",
    ),
    Mutant(
        "update counts ignored in a mean over ranks",
        "states/reductions.py",
        "total = weighted[0][0].to(wide) * weighted[0][1]",
        "weighted = [(v, 1) for v, _ in weighted]\n    total = weighted[0][0].to(wide) * weighted[0][1]",
    ),
    Mutant(
        "a rank without updates has weight in a mean",
        "states/reductions.py",
        "weighted = [(v, n) for v, n in zip(values, counts, strict=True) if n > 0]",
        "weighted = [(v, max(n, 1)) for v, n in zip(values, counts, strict=True)]",
    ),
    Mutant(
        "the wrong rank order in rows that come one by one",
        "sync/fold.py",
        "taking_part = [_decode(records[r], found[r], packets) for r in state.ranks]",
        "taking_part = [_decode(records[r], found[r], packets) for r in reversed(state.ranks)]",
    ),
    Mutant(
        "elements of a list told apart in the order of another rank",
        "sync/fold.py",
        "for r in records if r.form is Form.ROWS]\n    return JoinedRows",
        "for r in records[::-1] if r.form is Form.ROWS]\n    return JoinedRows",
    ),
    Mutant(
        "a promoted dtype left out",
        "sync/plan.py",
        "dtype = promote(voting) if voting else records[0].dtype",
        "dtype = voting[0] if voting else records[0].dtype",
    ),
    Mutant(
        "a rank without updates counts as zeros in min and max",
        "sync/fold.py",
        "taking_part = [_decode(records[r], found[r], packets) for r in state.ranks]",
        "taking_part = [_decode(records[r], found[r], packets) for r in state.ranks]\n"
        "            if entry.spec.reduction.name in ('min', 'max'):\n"
        "                taking_part = [v if counts[entry.part][r] else torch.zeros_like(v)"
        " for v, r in zip(taking_part, state.ranks)]",
    ),
    Mutant(
        "a default counted on every rank",
        "states/reductions.py",
        "total = total - offset.to(device=total.device, dtype=total.dtype) * (count - 1)",
        "total = total + 0 * offset.to(device=total.device, dtype=total.dtype)",
    ),
    Mutant(
        "a chunk boundary off by one",
        "sync/ragged.py",
        "chunk = piece if piece.numel() <= step and not start else piece[start : start + step]",
        "chunk = piece if piece.numel() <= step and not start else piece[start : start + max(1, step - 1)]",
    ),
    Mutant(
        "the last step of a gather left out",
        "sync/ragged.py",
        "for start in range(0, longest, step):\n        stop",
        "for start in range(0, max(step, longest - step), step):\n        stop",
    ),
    Mutant(
        "the remainder of a slice dropped",
        "sync/slices.py",
        "return [(start + size * rank // ranks, start + size * (rank + 1) // ranks) for rank in range(ranks)]",
        "return [(start + size // ranks * rank, start + size // ranks * (rank + 1)) for rank in range(ranks)]",
    ),
    Mutant(
        "a slice without its part of the default",
        "sync/slices.py",
        "part = None if flat_offset is None else flat_offset[first:last]",
        "part = None",
    ),
    Mutant(
        "a large sum of integers that counts its default on every rank",
        "sync/fold.py",
        "result = _finish(entry, found, len(state.ranks), state.dtype)",
        "result = _finish(entry, found, 1, state.dtype)",
    ),
    Mutant(
        "what has to be sent to one rank alone, sent to rank 0",
        "sync/ragged.py",
        "route.transport.gather(cut, route.dst, timeout=route.timeout, what=route.what)",
        "route.transport.gather(cut, 0, timeout=route.timeout, what=route.what)",
    ),
    Mutant(
        "a handle that reads the states of later, and not those of the call",
        "schedule/background.py",
        "copies[id(part.states)] = part.states, own_copy(part.states, elements=True)",
        "copies[id(part.states)] = part.states, part.states",
    ),
    Mutant(
        "a batch lost where another rank has metrics apart",
        "metric/step.py",
        "brought = [_Brought(node, holder, kept) for node in nodes for holder in node.owners]",
        "brought = [_Brought(node, node.holders[0][1], kept) for node in nodes]",
    ),
    Mutant(
        "bytes of the packet's end that are not sent",
        "sync/packet.py",
        "if at + nbytes > size and nbytes > 0:",
        "if at + nbytes > size + 16 and nbytes > 0:",
    ),
    Mutant(
        "sums of half the ranks rounded in between",
        "sync/fold.py",
        "totals = [value.to(wide) for value in first]\n        torch._foreach_add_(totals, second)",
        "totals = [value.to(wide) for value in torch._foreach_add(first, second)]",
    ),
    Mutant(
        "merging whole states from the last rank on",
        "sync/fold.py",
        "return functools.reduce(part.merge, touched) if touched",
        "return functools.reduce(part.merge, touched[::-1]) if touched",
    ),
)


@dataclass(frozen=True)
class Caught:
    """What became of a mutant.

    Attributes:
        where: On which transport it was found; empty if it was not.
        syncs: After how many syncs there, or how many did not find it.
        how: What was said first.
    """

    where: str
    syncs: int
    how: str = ""


def apply(mutant: Mutant, package: Path) -> None:
    """Put a bug into a copy of the package.

    Raises:
        ValueError: What is to be replaced is not there exactly once.
    """
    path = package / mutant.file
    source = path.read_text(encoding="utf-8")
    count = source.count(mutant.text)
    if count != 1:
        raise ValueError(
            f"mutant {mutant.name!r} must replace a text that is in {mutant.file} once, but it is there {count} times"
            f" instead: {mutant.text!r}. Write it anew for the code as it is now."
        )
    path.write_text(source.replace(mutant.text, mutant.bug), encoding="utf-8")


def hunt(mutant: Mutant, seed: int = 0, budgets: Sequence[tuple[str, int, int]] = BUDGETS) -> Caught:
    """Look for one bug, and say whether it was found."""
    root = Path(__file__).resolve().parents[2]
    tried = 0
    with tempfile.TemporaryDirectory(prefix="syncmetrics-mutant-") as name:
        copy = Path(name)
        shutil.copytree(root / "syncmetrics", copy / "syncmetrics", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(root / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        apply(mutant, copy / "syncmetrics")
        for transport, world, syncs in budgets:
            code, lines = _fuzz_copy(copy, seed, transport, world, syncs)
            if code:
                return Caught(transport, _syncs_of(lines), next(iter(lines[1:]), "did not end"))
            tried += syncs
    return Caught("", tried)


def _fuzz_copy(copy: Path, seed: int, transport: str, world: int, syncs: int) -> tuple[int, list[str]]:
    """Run the fuzzer with the package in a folder, and give its exit code and its lines."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fuzz", "--seed", str(seed), "--syncs", str(syncs), "--world", str(world)]
    command += ["--transport", transport, "--package", str(copy)]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, []
    if done.returncode not in (0, 1) or (done.returncode and "failures" not in done.stdout):
        return 1, ["", f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"]
    return done.returncode, done.stdout.splitlines()


def _syncs_of(lines: Sequence[str]) -> int:
    words = lines[0].split() if lines else []
    return int(words[words.index("syncs") - 1]) if "syncs" in words else 0


def check_package(path: str) -> None:
    """Check that the package was imported from there, and not from where it is installed.

    Raises:
        RuntimeError: It was not.
    """
    found = Path(syncmetrics.__file__).resolve().parent.parent
    if found != Path(path).resolve():
        raise RuntimeError(f"the package must be that of {path}, but is that of {found} instead.")


def try_all(only: Sequence[str], seed: int) -> int:
    """Look for every bug, print a table of what was found, and give the exit code: 1 if any was not."""
    chosen = [mutant for mutant in MUTANTS if not only or any(word in mutant.name for word in only)]
    width = max(len(mutant.name) for mutant in chosen)
    caught = 0
    for mutant in chosen:
        found = hunt(mutant, seed)
        caught += bool(found.where)
        verdict = f"caught on {found.where} after {found.syncs} syncs" if found.where else f"NOT in {found.syncs} syncs"
        print(f"{mutant.name:{width}}  {verdict:40}  {found.how[:110]}", flush=True)
    print(f"{caught} of {len(chosen)} mutants caught")
    return 0 if caught == len(chosen) else 1
