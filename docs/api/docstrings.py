"""Reads docstrings for the site: what is written for a terminal becomes what Markdown calls it."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Make `Example:` a section of examples, and a paragraph that ends with `::` one before a block of code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the text of a docstring before it is parsed."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            text = re.sub(r"(^| )::$", "", text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
