"""Libraries that are imported where they are used, and not before."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["load"]


def load(module: str, *, needed_by: str, install: str) -> Any:
    """Import a module of a library that need not be installed.

    Args:
        module: Its full name.
        needed_by: What needs it, for the message.
        install: What to give to `pip install`.

    Raises:
        ImportError: It cannot be imported; the text says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise ImportError(
            f"{needed_by} needs `{library}`, which cannot be imported ({error}); pip install {install}",
            name=error.name,
            path=error.path,
        ) from error
