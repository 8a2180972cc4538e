"""Start a training function on the workers of a Ray cluster, or of this machine.

::

    python launch/ray_train.py --workers 2

Ray Train makes the process group before it calls the function, so that there is nothing to set up for the metrics. What
each worker prints is shown with its process before it, and kept in the folder of Ray's session (`/tmp/ray` by default).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

ROOT = Path(__file__).resolve().parents[1]


def worker(config: dict[str, Any]) -> None:
    """Train on this worker; every worker runs this."""
    # EDIT: your own training function. It finds the process group made, as after `init_process_group`.
    from launch.train import train

    train(config["epochs"], Path(config["out"]))


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    # EDIT: what the workers import and read must be where they are. A folder that all machines share is enough;
    # otherwise give `working_dir`, which Ray copies to them.
    ray.init(
        address=options.address,
        include_dashboard=None if options.address else False,  # a cluster that ends with the script needs none
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), **interface(options)}},
    )
    try:
        trainer = TorchTrainer(
            worker,
            train_loop_config={"epochs": options.epochs, "out": str(options.out.resolve())},
            # EDIT: with GPUs, `--gpus`: each worker has one, and the group is that of NCCL.
            scaling_config=ScalingConfig(num_workers=options.workers, use_gpu=options.gpus),
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if options.gpus else "gloo", timeout_s=int(options.timeout)
            ),
            run_config=RunConfig(name="train", storage_path=str((options.out / "ray").resolve())),
        )
        trainer.fit()
    finally:
        ray.shutdown()
    return 0


def interface(options: argparse.Namespace) -> dict[str, str]:
    """Give the variables by which gloo and NCCL take one network interface."""
    if not options.interface:
        return {}
    return {"GLOO_SOCKET_IFNAME": options.interface, "NCCL_SOCKET_IFNAME": options.interface}


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on the workers of a Ray cluster.")
    parser.add_argument("--workers", type=int, default=2, help="ranks (default: %(default)s)")
    parser.add_argument("--gpus", action="store_true", help="give each worker a GPU")
    parser.add_argument("--address", default=None, help='the cluster, or "auto"; Ray starts one here without it')
    parser.add_argument("--interface", default="", help="the network interface by which the machines reach each other")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a rank waits (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training set (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/ray"), help="folder (default: %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
