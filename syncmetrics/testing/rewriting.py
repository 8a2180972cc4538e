"""Importing this module lets a server of ranks explain assertions as pytest does in the process of the tests.

`assert a == b` in a rank then says what `a` and `b` were. It is a module, and not a function, as modules are what a
server is told to import before that of a function: see `servers.also_imported`. Which modules it is done for is what
pytest does it for if nothing is configured: those whose file is named as that of tests, and every `conftest.py`.
"""

from __future__ import annotations

import contextlib
from typing import Any

__all__: list[str] = []


def _explain_assertions() -> None:
    """Put pytest's import hook in front; without it, assertions are those of Python."""
    # pytest has no public name for these two, which have been there for ten years; a pytest without them explains less.
    from _pytest.assertion import install_importhook
    from _pytest.config import get_config

    config: Any = get_config()
    install_importhook(config)


with contextlib.suppress(Exception):
    _explain_assertions()
