"""Which versions the tests of this package have run with. What is not named here is expected to work."""

from __future__ import annotations

__all__ = ["LIBRARIES", "PYTHONS", "TORCH", "TORCH_LEAST", "was_tested"]

#: Versions of Python, without their patches, on which the whole suite has passed.
PYTHONS = ("3.11",)
#: The version of torch that it ran with, and the oldest that the package can be installed beside.
TORCH, TORCH_LEAST = "2.13.0", "2.4"
#: The optional libraries, with the version that it ran with: those of `constraints.txt`, which a test compares.
LIBRARIES = {
    "accelerate": "1.15.0",
    "lightning": "2.6.6",
    "matplotlib": "3.11.2",
    "psutil": "7.2.2",
    "pytorch-ignite": "0.5.5",
    "pytorch-lightning": "2.6.6",
    "ray": "2.60.0",
    "rich": "15.0.0",
    "sacrebleu": "2.6.0",
    "tensorboard": "2.21.0",
    "torcheval": "0.0.7",
    "torchmetrics": "1.9.0",
    "transformers": "5.23.0",
    "typer": "0.29.2",
}


def was_tested(version: str, tested: str) -> bool:
    """Whether a version is the one that the tests ran with; what a build adds behind `+` does not count.

    Example:
        >>> was_tested("2.13.0+cu130", "2.13.0"), was_tested("2.4.1", "2.13.0")
        (True, False)
    """
    return version.partition("+")[0] == tested
