"""A fuzzer of values: random metrics, data and syncs, each synced value compared bit by bit with one process's.

- `states`: what a state is declared as, what an update adds to it, and what all of it makes (the oracle).
- `subjects`: metrics and collections of such states, and of the package's own metrics; and their values by the oracle.
- `programs`: what is drawn: updates and syncs in a random order, with what each of them has to give.
- `player`: plays one rank's part of a program, and writes down what differs.
- `thresholds`: sizes at which the engine changes its ways, as they are or far smaller.
- `run`: many programs on threads or on gloo processes, counted.
- `mutants`: bugs put into a copy of the package one at a time, which have to be found.

`python -m tests.fuzz --help`, or `scripts/fuzz`.
"""
