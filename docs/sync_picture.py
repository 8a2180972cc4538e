"""Draws `docs/sync.svg`, the seven steps of a sync on three ranks: `python docs/sync_picture.py`.

All text stands on boxes of the picture's own colours, so that it can be read on a light page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WIDTH, LEFT, COLUMN, GAP, HEIGHT, STEP = 660, 15, 200, 15, 58, 88
RANK, BOX, BAR, ARROW = "#546e7a", "#c5cae9", "#3f51b5", "#7986cb"
ON_DARK, ON_BOX = "#ffffff", "#1a237e"

#: Each step: what each rank does, or (a single text) what all of them do together.
STEPS: tuple[tuple[str, ...], ...] = (
    ("1 describe", "1 describe", "1 describe"),
    ("2 exchange: one all_gather of packets",),
    ("3 check", "3 check", "3 check"),
    ("4 plan", "4 plan", "4 plan"),
    ("5 transfer: only what no packet could hold",),
    ("6 fold", "6 fold", "6 fold"),
    ("7 hand over", "7 hand over", "7 hand over"),
)
BELOW = {
    0: ("2 batches", "5 batches", "no data"),
    2: ("same verdict", "same verdict", "same verdict"),
    3: ("same transfers", "same transfers", "same transfers"),
    5: ("in rank order", "in rank order", "in rank order"),
    6: ("compute()", "compute()", "compute()"),
}


def box(x: float, y: float, width: float, fill: str, lines: Sequence[str], colour: str, *, dashed: bool = False) -> str:
    """Give a rounded box with one or two lines of text in its middle."""
    edge = f' stroke="{ARROW}" stroke-width="2" stroke-dasharray="7 5"' if dashed else ""
    found = [f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="9" fill="{fill}"{edge}/>']
    for number, line in enumerate(lines):
        below = y + HEIGHT / 2 + 7 + (number - (len(lines) - 1) / 2) * 23
        weight = ' font-weight="600"' if number == 0 else ""
        found.append(f'<text x="{x + width / 2}" y="{below}" fill="{colour}"{weight}>{line}</text>')
    return "\n".join(found)


def arrow(x: float, y: float) -> str:
    """Give an arrow down to the next step."""
    end = y + STEP - HEIGHT
    return (
        f'<path d="M{x} {y + 3} V{end - 9}" stroke="{ARROW}" stroke-width="3"/>'
        f'<path d="M{x - 7} {end - 11} L{x} {end - 2} L{x + 7} {end - 11} Z" fill="{ARROW}"/>'
    )


def picture() -> str:
    """Give the whole picture as SVG."""
    lefts = [LEFT + number * (COLUMN + GAP) for number in range(3)]
    whole = WIDTH - 2 * LEFT
    parts = [box(x, 10, COLUMN, RANK, (f"rank {number}",), ON_DARK) for number, x in enumerate(lefts)]
    for number, texts in enumerate(STEPS):
        y = 10 + (number + 1) * STEP
        parts += [arrow(x + COLUMN / 2, y - STEP + HEIGHT) for x in lefts]
        if len(texts) == 1:
            parts.append(box(LEFT, y, whole, BAR, texts, ON_DARK, dashed=texts[0].startswith("5")))
        else:
            parts += [
                box(x, y, COLUMN, BOX, lines, ON_BOX) for x, *lines in zip(lefts, texts, BELOW[number], strict=True)
            ]
    height = 10 + len(STEPS) * STEP + HEIGHT + 10
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="19" text-anchor="middle" fill="none">\n'
        f"<title>The seven steps of a sync on three ranks</title>\n{body}\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("sync.svg").write_text(picture(), encoding="utf-8")
