"""`torch.distributed`: the only room of the package, with `testing`, that imports it."""

from syncmetrics.transport.process_group.greeting import set_shared_memory
from syncmetrics.transport.process_group.groups import GroupRef, bind_process_group, has_process_group
from syncmetrics.transport.process_group.transport import ProcessGroupTransport, transport_of, world_transport

__all__ = [
    "GroupRef",
    "ProcessGroupTransport",
    "bind_process_group",
    "has_process_group",
    "set_shared_memory",
    "transport_of",
    "world_transport",
]
