"""Examples in docstrings: every metric has one, and each prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import syncmetrics

_NEEDS = {"syncmetrics.text.bleu": "sacrebleu"}


def _modules() -> list[str]:
    found = ["syncmetrics"]
    for info in pkgutil.walk_packages(syncmetrics.__path__, "syncmetrics."):
        if not info.name.startswith(("syncmetrics.foreign", "syncmetrics.frameworks")):
            found.append(info.name)
    return found


def _examples(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__) if test.examples]


@pytest.mark.parametrize("name", _modules())
@pytest.mark.filterwarnings("ignore:.*before any update")
def test_examples_print_what_they_say(name: str) -> None:
    if name in _NEEDS:
        pytest.importorskip(_NEEDS[name])
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in _examples(module):
        said: list[str] = []
        runner.run(test, out=said.append)
        assert runner.failures == 0, "".join(said)


def test_every_metric_has_an_example() -> None:
    rooms = ("aggregation", "classification", "image", "regression", "retrieval", "segmentation", "text", "wrappers")
    without = [
        name
        for room in rooms
        for name in syncmetrics._ROOMS[room]
        if ">>> " not in (getattr(syncmetrics, name).__doc__ or "")
    ]
    assert without == []
