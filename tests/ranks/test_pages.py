"""The examples of the README and of every page run as they stand, in one process and on two ranks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from syncmetrics.testing import run_ranks
from syncmetrics.transport import patience
from tests.pages import PAGES, ROOT, Example, blocks_of, examples_of
from tests.ranks import page_bodies

ALL = [example for page in PAGES for example in examples_of(page)]
EXAMPLES = [example for example in ALL if not example.script and not example.elsewhere]
SCRIPTS = [example for example in ALL if example.script]
#: Libraries that a rank would have to import first; the tests of each run its page on ranks.
OTHERS = {"accelerate", "ignite", "lightning", "matplotlib", "torcheval", "torchmetrics", "transformers"}


def needs(code: str) -> set[str]:
    """Give the libraries that an example imports."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    drawn = {"matplotlib"} if ".plot(" in code else set()
    return {word for name in names for word in name.split(".")} & OTHERS | drawn


ON_RANKS = [example for example in EXAMPLES if not example.one_process and not needs(example.code)]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 40
    assert len(ON_RANKS) > 25


def test_what_has_a_test_of_its_own_has_one() -> None:
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    for page in {Path(example.page).name for example in ALL if example.elsewhere}:
        assert any(page in text for text in tests), page


def test_what_a_page_says_of_its_examples_is_read() -> None:
    first = 'a\n\n```python\none\n```\n\n```text title="Output"\n1\n```\n'
    text = first + '\n<!-- goes on -->\n```python title="b.py"\ntwo\n```\n'
    assert [(block.language, block.title, block.said, block.text) for block in blocks_of(text)] == [
        ("python", "", "", "one\n"),
        ("text", "Output", "", "1\n"),
        ("python", "b.py", "goes on", "two\n"),
    ]


@pytest.mark.filterwarnings("ignore:::(?!syncmetrics)")  # what other libraries warn of is not ours to mend
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_in_one_process(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in needs(example.code):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)  # where files may be written
    monkeypatch.setattr(patience, "_patience", None)  # one example sets it for its process
    monkeypatch.setitem(sys.modules, "example", type(sys)("example"))  # what pickles its classes finds them
    names = {"__name__": "example"}
    exec(compile(example.code, example.name, "exec"), names)
    if example.prints is not None:
        assert capsys.readouterr().out == example.prints


@pytest.mark.parametrize("page", sorted({example.page for example in ON_RANKS}))
def test_on_two_ranks(page: str, tmp_path: Path) -> None:
    codes = [(example.name, example.code) for example in ON_RANKS if example.page == page]
    run_ranks(page_bodies.run_examples, 2, str(tmp_path), codes)


@pytest.mark.parametrize("example", SCRIPTS, ids=lambda example: example.name)
def test_under_torchrun(example: Example, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(example.code)
    # Each rank into a file of its own: on one output the ranks' lines run into each other.
    options = ["--standalone", "--nproc-per-node", "2", "--log-dir", "logs", "--redirects", "3"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "script.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # as in scripts/demo: a host name may not resolve
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr + "".join(log.read_text() for log in tmp_path.glob("logs/**/stderr.log"))
    assert example.prints is not None
    printed = [line for log in tmp_path.glob("logs/**/stdout.log") for line in log.read_text().splitlines()]
    assert sorted(printed) == example.prints.splitlines()


def test_tokens_weigh_alike_however_they_are_split() -> None:
    (code,) = (example.code for example in EXAMPLES if "def step(micro_batches)" in example.code)
    at_once = code.replace("step([(tokens[i : i + 1], labels[i : i + 1]) for i in shard])", "step([(tokens, labels)])")
    assert at_once != code
    alone, value = page_bodies.gradient_of(0, 1, at_once)
    for found in [page_bodies.gradient_of(0, 1, code), *run_ranks(page_bodies.gradient_of, 2, code)]:
        torch.testing.assert_close(found, (alone, value))
