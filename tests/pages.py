"""The README and the pages of `docs/`: their blocks of code, as the tests run them.

Every block that begins with ```` ```python ```` is an example, and is run by `tests/ranks/test_pages.py`: by itself in
one process, and on two ranks unless it needs other libraries. In the line above it a page may say otherwise:

- `<!-- goes on -->`: it uses the names of the example before it.
- `<!-- one process -->`: it is no example for ranks, or a test of its own runs it on them.
- `<!-- under torchrun -->`: it is a script, which torchrun starts on two ranks.
- `<!-- a test of its own -->`, `<!-- run on 4 ranks -->`: the test that names this page runs it.

A block ```` ```text title="Output" ```` is what the example above it prints in one process, or what all ranks print.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = tuple(
    str(path.relative_to(ROOT)) for path in [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
)
_BLOCK = re.compile(r"(?:^<!-- (?P<said>[a-z0-9 ]+) -->\n+)?^```(?P<info>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE)
_WORDS = {"goes on", "one process", "under torchrun", "a test of its own"}
_ON_RANKS = re.compile(r"run on \d+ ranks")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: what it is written in, its title, and what the line above it says."""

    language: str
    title: str
    said: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a page, with what has to run before it in `code`."""

    page: str
    index: int
    code: str
    one_process: bool
    script: bool
    elsewhere: bool
    prints: str | None

    @property
    def name(self) -> str:
        """Give what tracebacks and pytest call it."""
        return f"{self.page}[{self.index}]"


def text_of(page: str) -> str:
    """Give the text of a page, named from the root of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(text: str) -> list[Block]:
    """Give the blocks of code of a page."""
    found = []
    for match in _BLOCK.finditer(text):
        language, _, rest = match["info"].partition(" ")
        title = re.search(r'title="(.*?)"', rest)
        found.append(Block(language, title[1] if title else "", match["said"] or "", match["text"]))
    return found


def examples_of(page: str) -> list[Example]:
    """Give the examples of a page, in order.

    Raises:
        ValueError: A line above an example says what nobody understands.
    """
    found: list[Example] = []
    blocks = blocks_of(text_of(page))
    for place, block in enumerate(blocks):
        if block.language != "python":
            continue
        on_ranks = _ON_RANKS.fullmatch(block.said) is not None
        if block.said and block.said not in _WORDS and not on_ranks:
            raise ValueError(f"{page}: the line above an example must say one of {_WORDS}, but says {block.said!r}.")
        goes_on = block.said == "goes on"
        after = blocks[place + 1] if place + 1 < len(blocks) else None
        output = after.text if after and (after.language, after.title) == ("text", "Output") else None
        found.append(
            Example(
                page,
                len(found),
                (found[-1].code + "\n" if goes_on else "") + block.text,
                block.said == "one process" or (goes_on and found[-1].one_process),
                block.said == "under torchrun",
                on_ranks or block.said == "a test of its own",
                output,
            )
        )
    return found
