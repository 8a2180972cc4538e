"""`torch.distributed`: the only room of the package, with `testing`, that imports it."""

from syncmetrics.transport.process_group.greeting import set_shared_memory
from syncmetrics.transport.process_group.groups import GroupRef, has_process_group
from syncmetrics.transport.process_group.mesh import MeshRef, bind_process_group, over, transport_on
from syncmetrics.transport.process_group.placements import local_part
from syncmetrics.transport.process_group.transport import ProcessGroupTransport, transport_of, world_transport

__all__ = [
    "GroupRef",
    "MeshRef",
    "ProcessGroupTransport",
    "bind_process_group",
    "has_process_group",
    "local_part",
    "over",
    "set_shared_memory",
    "transport_of",
    "transport_on",
    "world_transport",
]
