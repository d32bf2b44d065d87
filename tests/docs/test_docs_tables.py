"""The pages' tables are what the committed scripts make of the committed data, and findings use their numbers."""

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "data"))

import atlas  # noqa: E402
import blocks  # noqa: E402
import formation_tables  # noqa: E402
import properties_pages  # noqa: E402
import reliability_pages  # noqa: E402

PAGES = {
    "atlas.md": atlas.MAKERS,
    "formation.md": formation_tables.MAKERS,
    "properties.md": properties_pages.MAKERS,
    "reliability.md": reliability_pages.MAKERS,
}


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_made_from_the_data_beside_them(name):
    page = (DOCS / name).read_text(encoding="utf-8")
    made = blocks.contents(page)
    assert made
    assert blocks.filled(page, PAGES[name]) == page, f"run its script in {DOCS / 'data'}"


def numbers(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)", text))


def test_findings_on_formation_use_numbers_of_the_tables():
    page = (DOCS / "formation.md").read_text(encoding="utf-8")
    findings = page.split("## What it says\n")[1].split("\n## ")[0]
    findings = re.sub(r"\((?:rows?|columns?|table|tables|first|last)[^)]*\)", "", findings)
    there = numbers(" ".join(blocks.contents(page).values()))
    assert len(numbers(findings)) > 10
    assert numbers(findings) <= there


def test_a_block_is_filled_and_the_rest_is_left_alone():
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n"
    found = blocks.filled(page, {"x": lambda: "new", "y": lambda: "1 | 2\n"})
    assert found == "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n<!-- begin y -->\n1 | 2\n<!-- end y -->\n"
    assert blocks.contents(found) == {"x": "new\n", "y": "1 | 2\n"}
