"""Templates to pages: one HTML text with everything in it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from padprint.errors import MissingPackageError, ResultError
from padprint.support import atomic
from padprint.support.version import __version__

_CAPITALS = {
    "MODEL": "a network: torchvision:resnet50, timm:NAME, package.module:factory or a .pt2 file",
    "IMAGES": "a folder of images",
    "OTHERS": "a folder of images that were not measured on",
    "FOLDER": "the folder that holds this result",
}
_ASSETS = Path(__file__).parent / "assets"


def check_available() -> None:
    """Say early that no report can be written.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    from padprint import plot

    if find_spec("jinja2") is None:
        raise MissingPackageError("jinja2 is needed to write a report: pip install jinja2")
    plot.check_available()


def fill(template: str, **content: Any) -> str:
    """A page as text; nothing is fetched when it is shown.

    Every page extends ``base.html.j2`` and gives it `title`, `verdict` and `steps` (each a `text` and a `command` or
    None), and may give it `voids` (what takes the verdict its worth), `lead` (lines below the verdict) and `data` (for the
    page's script).

    Args:
        template: a file of ``report/assets``.
        content: what the template names.

    Raises:
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    check_available()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from padprint.report.terms import GLOSSARY, marked, slug

    environment = Environment(
        loader=PackageLoader("padprint", "report/assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"terms": marked, "slug": slug}
    page = environment.get_template(template).render(
        css=(_ASSETS / "page.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "page.js").read_text(encoding="utf-8"),
        version=__version__,
        glossary=GLOSSARY,
        capitals=_CAPITALS,
        **content,
    )
    return page.encode(errors="backslashreplace").decode()  # file names that are no UTF-8


def publish(page: str, path: str | Path) -> Path:
    """Write a page; its folder is made, and the file takes its place when it is complete.

    Raises:
        ResultError: the path is a folder, or its folder a file.
    """
    path = Path(path)
    if path.is_dir():
        raise ResultError(f"{path} is a folder; name the file to write, such as {path / 'report.html'}")
    atomic.publish_file(path, lambda unfinished: unfinished.write_text(page, encoding="utf-8"))
    return path
