"""The laws of the layer between user and engine, one file each, as properties of random metrics and orders of calls."""

import os

#: So many times the usual number of examples: see `scripts/laws`.
TIMES = int(os.environ.get("SYNCMETRICS_EXAMPLES", "1"))
