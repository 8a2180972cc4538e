"""Run `python -m bench`."""

from bench.cli import main

if __name__ == "__main__":  # the ranks import this module too
    raise SystemExit(main())
