"""What syncmetrics costs beside its peers, and beside what a collective by hand costs.

All contenders of a row run in the same processes, in turns, so that whatever else the machine does hits all alike. What
counts is the ratio of two contenders in the same round; times are for one machine and one day.

1. `rows` says what is measured: contenders, sizes, targets.
2. `crew` keeps processes, one set for each world size; `child` is what runs in them; `duel` takes turns and
   reads the clock, `counting` counts collectives, `memory` reads the peak.
3. `compare` measures the working tree beside a commit: `trees` puts both into folders, `sides` gives each its own
   processes, and `difference` says what is beyond noise. `ours` finds names where a version has them.
4. `verdict` turns samples into medians, ratios and judgements: pure functions.
5. `report`, `picture` and `readme` show them.

::

    scripts/bench                                  # all rows, into runs/bench/results.json and results.png
    scripts/bench --quick                          # tiny sizes, to see that it works
    scripts/bench --rows compute,cat --worlds 2,4  # some of it
    scripts/bench --compare HEAD~3                 # only what is ours, beside a commit; 1 if something is slower
    python -m bench table --json runs/bench/results.json --readme README.md docs/benchmarks.md
    python -m bench picture --json runs/bench/results.json --picture results.png
"""
