"""The sync engine: how the states of all ranks become one set of states.

The protocol of one sync, step by step:

1. **Describe** (`manifest`). Snapshot the local states, references only, and write down what this rank holds: dtypes,
   shapes, lengths, update counts. If that fails, the manifest says so; nothing is raised yet.
2. **Exchange** (`packet`, `exchange`). One `all_gather` of a packet whose size follows from the world size alone. Small
   states ride inside it. A manifest that is larger than a packet goes on in one more gather.
3. **Check** (`check`). Every rank reads the same packets and comes to the same verdict: all go on, or all raise the
   same error.
4. **Plan** (`plan`). The transfers that are left follow from the manifests: none at all if everything rode inside.
5. **Transfer** (`transfer`, `ragged`, `slices`). Ragged bytes go straight into the result, by broadcasts that are under
   way together, or gathered in equal steps where that is quicker; in bounded chunks. Large states that are reduced
   element by element are reduced here: each rank reduces a slice of them.
6. **Fold** (`fold`). Values are reduced in rank order with torch operations, so the result depends neither on packing
   nor on the backend.
7. **Hand over** (`node`, `show`). The caller gets fresh states; the local ones stand untouched beside them, and come
   back when what was shown is put back.

A world of one goes from 1 to 7.
"""

from syncmetrics.sync.engine import report_failure, shadow_sync, sync_parts
from syncmetrics.sync.estimate import Estimate, estimate
from syncmetrics.sync.fold import Merged
from syncmetrics.sync.history import note
from syncmetrics.sync.hosts import Host, Hosting, grouped, host_of, hosts_in, refuse_shown, things_in, together_of
from syncmetrics.sync.manifest import Part, Schema, schema_of
from syncmetrics.sync.node import Node, Syncable, Together, absorb, by_route
from syncmetrics.sync.price import Price, set_sync_budget
from syncmetrics.sync.show import copied, leave_epoch, note_try, put_back, show_together, sync_nodes, synced
from syncmetrics.sync.trace import SyncRecord, Trace, trace
from syncmetrics.sync.transfer import MAX_CHUNK_BYTES, Route
from syncmetrics.transport.base import episode, leave_pending, release, reserve, settle

__all__ = [
    "MAX_CHUNK_BYTES",
    "Estimate",
    "Host",
    "Hosting",
    "Merged",
    "Node",
    "Part",
    "Price",
    "Route",
    "Schema",
    "SyncRecord",
    "Syncable",
    "Together",
    "Trace",
    "absorb",
    "by_route",
    "copied",
    "episode",
    "estimate",
    "grouped",
    "host_of",
    "hosts_in",
    "leave_epoch",
    "leave_pending",
    "note",
    "note_try",
    "put_back",
    "refuse_shown",
    "release",
    "report_failure",
    "reserve",
    "schema_of",
    "set_sync_budget",
    "settle",
    "shadow_sync",
    "show_together",
    "sync_nodes",
    "sync_parts",
    "synced",
    "things_in",
    "together_of",
    "trace",
]
