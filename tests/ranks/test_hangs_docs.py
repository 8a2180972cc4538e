"""`docs/hangs.md` shows what a job that stands still says: its script is run, and says that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from syncmetrics import PeerLostError, Standing, SyncTimeoutError
from syncmetrics.testing.ranks import run_ranks_outcomes
from syncmetrics.transport import asking
from tests.ranks import hang_bodies

PAGE = (Path(__file__).parents[2] / "docs" / "hangs.md").read_text()
SCRIPT, RECIPE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WARNING, ERROR = (text.rstrip() for text in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))
SECONDS = "syncmetrics.set_sync_timeout(120, warn_after=30)"


def general(text: str) -> str:
    """Leave out what differs from run to run: processes, and the lines and functions of torch."""
    text = re.sub(r"\[pid \d+ on \S+\]", "[pid ... on ...]", text)
    return re.sub(r"dataloader\.py:\d+ `\w+`", "dataloader.py:... `...`", text)


def test_the_script_says_what_the_page_shows(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    assert SCRIPT.startswith("# train.py\n")
    assert SECONDS in SCRIPT
    script.write_text(SCRIPT.replace(SECONDS, "syncmetrics.set_sync_timeout(2.5, warn_after=1.2)"))
    outcomes = run_ranks_outcomes(hang_bodies.as_on_the_page, 4, str(script), timeout=60)
    assert [o.status for o in outcomes] == ["returned", "died", "died", "died"], [o.error for o in outcomes]
    (warning,), error = outcomes[0].value
    assert isinstance(error, SyncTimeoutError)
    assert re.sub(r"has waited \d+ s", "has waited 30 s", general(warning)) == general(WARNING)
    said = re.sub(r"within [\d.]+ s\.", "within 120 s.", general(str(error)))
    assert said.split("\n") == [ERROR, *general(WARNING).split("\n")[1:]]


def test_what_a_line_may_say_is_on_the_page() -> None:
    said = re.findall(r"\n\| (.*?) \|", PAGE)
    for silence in {*asking._SILENT.values(), asking._UNKNOWN}:
        assert any(word in silence for row in said for word in re.findall("`(.*?)`", row)), silence


@pytest.mark.parametrize("kind", [SyncTimeoutError, PeerLostError])
def test_the_recipe(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(RECIPE, "docs/hangs.md", "exec"), names)

    class Late:
        def compute(self) -> None:
            raise kind("rank 1 did not come", (1,), [Standing(1, silence="its process is stopped", pid=42, host="a")])

    with pytest.raises(kind):
        names["compute_or_tell"](Late())
    assert capsys.readouterr().out == ("1 42 a None \n" if kind is SyncTimeoutError else "")
