"""The site: it builds without a warning, links hold, nothing is loaded from elsewhere, its pages say what the code says.

What needs the built site is marked ``docs``: run with ``pytest -m docs`` after ``pip install --group docs``. What needs a browser
too is marked ``browser``; see test_report_browser.py.
"""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from test_report_browser import AXE_RUN, axe, browser, keep, opened  # noqa: F401

from padprint import errors
from padprint.support.reasons import Kind, Reason

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MESSAGES = sorted((DOCS / "errors").glob("*.md"))


# ------------------------------------------------------------------------------------------------ what the pages say


def said() -> list[str]:
    """Every text in the source, what is filled in as "...", in one line each."""
    found = []
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            found += filter(None, [text_of(node)])
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
                kind, text = node.args[0], text_of(node.args[1])
                if text is not None and isinstance(kind, ast.Attribute) and ast.unparse(kind.value) == "Kind":
                    found.append(str(Reason(Kind[kind.attr], text)))
    return [" ".join(text.split()) for text in found]


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "..." for one in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^{}]*\}", "...", node.value)
    return None


SAID = said()


def quoted() -> list[tuple[str, str]]:
    """The messages that the error pages explain: lines of their own in code."""
    lines = [(page.name, line) for page in MESSAGES for line in page.read_text().splitlines()]
    return [(page, line.strip("`")) for page, line in lines if re.fullmatch(r"`[^`]+`", line)]


def holds(text: str, message: str) -> bool:
    """Whether a text of the source has the parts of a message in their order."""
    at = 0
    for part in filter(None, (one.strip() for one in message.split("..."))):
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


@pytest.mark.parametrize(("page", "message"), quoted())
def test_every_message_of_the_pages_is_one_of_the_source(page: str, message: str) -> None:
    assert any(holds(text, message) for text in SAID)


def test_a_message_that_no_source_has_would_be_found() -> None:
    assert len(quoted()) > 50
    assert not any(holds(text, "padding is purple: ... and so") for text in SAID)


def test_every_error_has_a_page() -> None:
    index = (DOCS / "errors" / "index.md").read_text()
    classes = [name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)]
    assert len(classes) > 5
    for name in set(classes) - {"PadprintError"}:
        assert f"`{name}`" in index, name


def test_every_kind_of_refusal_has_a_page() -> None:
    """Reasons of layers begin with a word and a colon."""
    kinds = {found[1] for text in SAID if (found := re.match(r"(global|absolute|random|contradicted): ", text))}
    assert kinds == {page.stem for page in MESSAGES} & {"global", "absolute", "random", "contradicted"}


@pytest.mark.parametrize("module", ["", ".padding", ".overlap", ".training", ".baselines", ".plot", ".wholemap"])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    pages = "".join(page.read_text() for page in DOCS.glob("reference/*.md"))
    names = re.findall(r"^::: (\S+)", pages, flags=re.M)
    for name in names:  # of a module and a function of one name the site would show the module
        assert not isinstance(pkgutil.resolve_name(name), ModuleType), name
    parts = (name.rpartition(".") for name in names)
    shown = [getattr(pkgutil.resolve_name(home), name) for home, _, name in parts]
    home = pkgutil.resolve_name(f"padprint{module}")
    for name in home.__all__:
        one = getattr(home, name)
        assert isinstance(one, ModuleType) or any(one is other for other in shown), name


# ---------------------------------------------------------------------------------------------------- the built site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install --group docs")
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to by."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        if "id" in have:
            self.ids.add(have["id"])
        if tag == "a" and "href" in have:
            self.links.append(have["href"])
        if tag in ("script", "img", "iframe") and "src" in have:
            self.loaded.append(have["src"])
        if tag == "link" and have.get("rel") not in ("prev", "next", "canonical"):
            self.loaded.append(have["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}


def inside(pages: dict[Path, Page], *, loaded: bool) -> Iterator[tuple[Path, str]]:
    """Links to the site itself, or what pages load."""
    for file, page in pages.items():
        for link in page.loaded if loaded else page.links:
            if link and not urlsplit(link).scheme:
                yield file, link


@pytest.mark.docs
def test_links_lead_to_pages_and_places_that_exist(pages: dict[Path, Page]) -> None:
    found = list(inside(pages, loaded=False))
    assert len(found) > 1000
    for file, link in found:
        parts = urlsplit(link)
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        assert target.exists(), (file.name, link)
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in pages[target].ids, (file.name, link)


@pytest.mark.docs
def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        for link in page.loaded:
            assert urlsplit(link).scheme in ("", "data"), (file.name, link)
    for file, link in inside(pages, loaded=True):
        assert (file.parent / unquote(urlsplit(link).path)).exists(), (file.name, link)


@pytest.mark.docs
def test_no_path_of_the_machine_that_built_it(site: Path) -> None:
    words = [str(ROOT), str(Path.home()), str(site)]
    for file in site.rglob("*"):
        if file.suffix in (".html", ".js", ".json", ".xml", ".css", ".md"):
            text = file.read_text(encoding="utf-8")
            assert not [word for word in words if len(word) > 5 and word in text], file.name


@pytest.mark.docs
def test_options_and_columns_can_be_searched(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    texts = {one["location"]: one["text"] for one in found}
    for word in ("--error", "channel_frame", "--resize-short-side", "mae_corrected"):
        assert any(word in text for text in texts.values()), word
    assert (site / "search" / "search_index.js").exists()  # for browsers that open files


# ------------------------------------------------------------------------------------------------------ in a browser

QUESTIONS = {
    "halo label maps": "questions/tiles.html",
    "q values channels": "channels.html",
    "positional": "glossary.html",
    "smallest image": "geometry.html",
    "swap padding": "questions/padding.html",
    "overlap sliding window": "halo.html",
    "error labels": "command-line.html",
    "images too small": "errors/images.html",
    "lightning callback": "training.html",
    "align_corners": "errors/absolute.html",
    "resize-short-side": "measuring.html",
    "channel_frame": "tables.html",
    "resnet50 structural halo": "atlas.html",
    "smallest image of vgg16": "atlas.html",
    "notebook segmentation tiles": "notebooks/tiles.html",
    "how are images normalised": "measuring.html",
    "what padprint cannot see": "limits.html",
    "formula of snr": "definitions.html",
    "interval jackknife": "definitions.html",
    "is my network supported": "coverage.html",
    "squeeze-and-excitation": "global.html",
    "PosENet": "baselines.html",
    "checkpoints compare": "questions/training.html",
    "receptive field": "geometry.html",
}
"""What a user may type, and a page among the first results that answers it."""

FIRST = """return [...document.querySelectorAll('.md-search-result__item > .md-search-result__link')].map((one) => one.href)"""


def shown(window, page: Path, scheme: str = "light", width: int = 1280) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(window, page, width)


@pytest.mark.browser
def test_questions_are_answered_by_the_search_without_a_server(browser, site: Path) -> None:  # noqa: F811
    shown(browser, site / "index.html")
    missed = {}
    for words, page in QUESTIONS.items():
        browser.execute_script("document.querySelector('.md-search__input').focus()")
        field = browser.find_element("css selector", ".md-search__input")
        field.clear()
        before = browser.execute_script(FIRST)
        field.send_keys(words)
        wanted = (site / page).as_uri()
        found, same = before, 0
        for _ in range(80):  # until the results of all that was typed stand still
            last, found = found, browser.execute_script(FIRST)
            same = same + 1 if found == last != before else 0
            if same == 5:
                break
            time.sleep(0.1)
        if not any(one.startswith(wanted) for one in found[:10]):
            missed[words] = [one.removeprefix(site.as_uri()) for one in found[:10]]
    assert not missed


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_the_site(browser, site: Path, axe: str, scheme: str) -> None:  # noqa: F811
    files = sorted(file for file in site.rglob("*.html") if file.name != "404.html")
    assert len(files) > 50
    for file in files:
        shown(browser, file, scheme)
        browser.execute_script(axe)
        name = file.relative_to(site).as_posix()
        assert (name, browser.execute_async_script(AXE_RUN)) == (name, [])


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(browser, site: Path, width: int) -> None:  # noqa: F811
    for file in sorted(file for file in site.rglob("*.html") if file.name != "404.html"):
        shown(browser, file, width=width)
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, file.name
        keep(browser, f"site-{file.relative_to(site).as_posix().replace('/', '-')}-{width}")
