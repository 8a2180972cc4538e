"""What every rank imports, once, in the server that ranks are forked from."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    import torch.distributed

    from bench.ours import stay_in_this_tree

    stay_in_this_tree()
    import bench.rows  # noqa: F401  # and with it the peers

torch.set_num_threads(1)
