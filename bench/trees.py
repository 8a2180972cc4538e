"""Two folders with the same bench in them: beside the package as it is here, and beside that of a commit."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ROOT", "CommitError", "commit_of", "trees"]

#: The working tree that this bench belongs to.
ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "syncmetrics"


class CommitError(ValueError):
    """There is no such commit, or none with the package in it."""


def commit_of(root: Path, text: str) -> str:
    """Give the full name of a commit of a repository.

    Raises:
        CommitError: There is none of that name, or it has no package.
    """
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    if found is None:
        raise CommitError(f"must name a commit of the repository at {root}, but is {text!r} instead")
    if _git(root, "rev-parse", "--verify", "--quiet", f"{found}:{_PACKAGE}") is None:
        raise CommitError(f"must name a commit that has {_PACKAGE}/ in it, but {text!r} has not")
    return found


def _git(root: Path, *arguments: str) -> str | None:
    """Give what git prints; None if it finds fault."""
    if shutil.which("git") is None:
        raise CommitError("needs git to get at a commit, and there is none here")
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def trees(root: Path, commit: str) -> Iterator[tuple[Path, Path]]:
    """Make the two folders, which are gone afterwards: what is edited during a run does not get into it.

    Args:
        root: The working tree.
        commit: Full name of a commit.
    """
    with tempfile.TemporaryDirectory(prefix="bench-trees-") as made:
        here, there = Path(made, "here"), Path(made, "there")
        ignored = shutil.ignore_patterns("__pycache__")
        for folder in (here, there):
            shutil.copytree(root / "bench", folder / "bench", ignore=ignored)
        shutil.copytree(root / _PACKAGE, here / _PACKAGE, ignore=ignored)
        archive = Path(made, "there.zip")
        if _git(root, "archive", "--format=zip", f"--output={archive}", commit, _PACKAGE) is None:
            raise CommitError(f"names {commit}, out of which git cannot take {_PACKAGE}/")
        shutil.unpack_archive(archive, there)
        yield here, there
