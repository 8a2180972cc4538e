"""`python -m tests.fuzz`: fuzz, replay one program, or see whether bugs are found."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.mutants import check_package, try_all
from tests.fuzz.run import fuzz


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say, print what was found, and give the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what all programs follow from")
    parser.add_argument("--syncs", type=int, default=10_000, help="how many syncs at least")
    parser.add_argument("--world", type=int, default=3, help="number of ranks")
    parser.add_argument("--transport", choices=("threads", "gloo"), default="threads")
    parser.add_argument("--program", type=int, help="replay this program, after those before it on the same ranks")
    parser.add_argument("--mutants", action="store_true", help="put bugs into a copy of the package, one at a time")
    parser.add_argument("--only", nargs="*", default=[], help="with --mutants: these alone")
    parser.add_argument("--package", help="the folder that the package has to be imported from")
    given = parser.parse_args(arguments)
    if given.mutants:
        return try_all(given.only, given.seed)
    if given.package:
        check_package(given.package)
    tally = fuzz(given.seed, given.syncs, given.world, given.transport, given.program)
    print(tally.line(given.seed, given.world, given.transport))
    again = f"--seed {given.seed} --world {given.world} --transport {given.transport} --program"
    for failure in tally.failures[:10]:
        print(f"{failure.text}\n  again: scripts/fuzz {again} {failure.program}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
