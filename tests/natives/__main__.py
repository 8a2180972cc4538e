"""Make the pages that come from the table of all metrics, or verify all of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    """Do one of these."""
    parser = argparse.ArgumentParser(prog="scripts/metrics", description=__doc__)
    parser.add_argument("what", choices=["page", "accuracy", "operations", "verify"])
    what = parser.parse_args().what
    if what == "verify":
        from tests.natives.verified import verify_all

        sys.exit(verify_all())
    if what == "page":
        from tests.natives.page import page

        text, path = page(), DOCS / "metrics.md"
    elif what == "accuracy":
        from tests.natives.accuracy import page as accuracy

        text, path = accuracy(), DOCS / "accuracy.md"
    else:
        from tests.natives.operations import page as operations

        text, path = operations(), DOCS / "operations.md"
    path.write_text(text)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
