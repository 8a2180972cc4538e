"""`python -m syncmetrics`: what can be asked from a shell."""

from syncmetrics.cli import main

if __name__ == "__main__":
    main()
