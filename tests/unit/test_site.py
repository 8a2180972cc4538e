"""The README, its Chinese twin, and the settings of the site: what would go wrong there without a word."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

import syncmetrics
from bench.readme import between_markers, markdown, short, short_chinese
from tests.pages import PAGES, ROOT, blocks_of, text_of

ENGLISH, CHINESE = text_of("README.md"), text_of("README.zh-CN.md")
API = [page for page in PAGES if page.startswith("docs/api/")]


def headings(text: str) -> list[str]:
    """Give the level of every heading, in order."""
    return re.findall(r"^(#+) ", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)


def targets(text: str) -> set[str]:
    return set(re.findall(r"\]\((.*?)\)", text))


def test_both_readmes_have_the_same_sections_code_and_links() -> None:
    assert headings(ENGLISH) == headings(CHINESE)
    assert blocks_of(ENGLISH) == blocks_of(CHINESE)
    assert targets(ENGLISH) - {"README.zh-CN.md"} == targets(CHINESE) - {"README.md"}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_links_of_a_readme_lead_somewhere(text: str) -> None:
    assert [target for target in targets(text) if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_a_readme_names_what_the_suite_runs_on(text: str) -> None:
    (torch_version,) = re.findall(r"^torch==(.+)$", text_of("constraints.txt"), re.MULTILINE)
    assert f"torch {torch_version}" in text
    assert 'requires-python = ">=3.10"' in text_of("pyproject.toml")
    assert "Python 3.10" in text
    assert 'dependencies = ["torch>=2.4"]' in text_of("pyproject.toml")
    assert "torch 2.4" in text


def test_the_first_readme_is_short() -> None:
    (twelve,) = (block.text for block in blocks_of(ENGLISH) if "for epoch in" in block.text)
    assert len(twelve.splitlines()) <= 12
    assert len(ENGLISH.splitlines()) < 125
    assert "bash scripts/demo" in ENGLISH
    assert "bash scripts/test" in ENGLISH


@pytest.mark.parametrize(
    ("page", "table", "name"),
    [
        ("README.md", short, "bench, short"),
        ("README.zh-CN.md", short_chinese, "bench, short, zh"),
        ("docs/comparison.md", short, "bench, short"),
        ("docs/benchmarks.md", markdown, "bench"),
    ],
)
def test_the_tables_are_those_of_the_stored_run(page: str, table: object, name: str) -> None:
    stored = json.loads(text_of("bench/results.json"))
    made = table(stored["results"], stored["facts"])  # type: ignore[operator]
    assert between_markers(text_of(page), made, f"<!-- {name} -->", f"<!-- /{name} -->") == text_of(page)


def test_every_page_begins_with_a_title_and_a_sentence() -> None:
    for page in PAGES:
        first, blank, then = text_of(page).splitlines()[:3]
        assert first.startswith("# "), page
        assert blank == "", page
        assert re.match(r"[A-Z\[面]", then), page


def test_every_room_with_public_names_is_in_the_api() -> None:
    text = "\n".join(map(text_of, API))
    shown = set(re.findall(r"^::: syncmetrics\.(\w+)$", text, re.MULTILINE))
    for rooms in re.findall(r"^::: public (.+)$", text, re.MULTILINE):
        shown |= set(rooms.split())
    assert {room for room, names in syncmetrics._ROOMS.items() if names} - shown == set(), "it needs a page in docs/api"


def test_the_picture_of_a_sync_is_what_its_script_draws() -> None:
    spec = importlib.util.spec_from_file_location("sync_picture", ROOT / "docs" / "sync_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert text_of("docs/sync.svg") == module.picture()


def test_the_site_asks_nobody_for_anything() -> None:
    settings = text_of("mkdocs.yml")
    assert "font: false" in settings
    assert "http" not in settings
    assert "http" not in text_of("docs/site.css")
