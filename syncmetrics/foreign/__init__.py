"""How metrics of other libraries, and hand-written ones, take part.

`adapter` says what an adapter is and keeps them; `torchmetrics`, `torcheval` and `ignite` have those that come with the
package, and are imported when such a metric is met. `guests` takes them in wherever metrics are taken, `metric` makes
one of them one of ours, `hosts` makes ours known to torchmetrics, and `by_hand` is for metrics without a class.
"""

from syncmetrics.foreign.adapter import Adapter, register_adapter
from syncmetrics.foreign.by_hand import gather_ragged, sync_states
from syncmetrics.foreign.guests import guest_of

__all__ = ["Adapter", "gather_ragged", "guest_of", "register_adapter", "sync_states"]
