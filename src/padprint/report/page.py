"""Results to one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from padprint.errors import ResultError
from padprint.geometry.inspection import Inspection
from padprint.overlap.result import Halo
from padprint.overlap.saved import load as load_halo
from padprint.report.first_look import saved_first_look
from padprint.report.halos import halo_page
from padprint.report.inspected import inspection_page, saved_inspection
from padprint.report.layout import check_available, fill, publish
from padprint.report.measured import content
from padprint.results import storage
from padprint.results.comparison import Comparison, load_comparison
from padprint.results.measurement import Measurement
from padprint.results.saved import load
from padprint.support.progress import phase


@runtime_checkable
class HasPage(Protocol):
    """A result that makes its page itself, as `padprint.check` returns it."""

    def page(self) -> str:
        """The page as text."""
        ...


Results = Measurement | Comparison | Mapping[str, Measurement] | Inspection | Halo | HasPage


@phase("drawing")
def write(results: Results, path: str | Path, *, name: str | None = None) -> Path:
    """Write the report of a measurement, a comparison, several measurements by name, an inspection, a halo or a first look.

    Args:
        results: what to show.
        path: the HTML file; its folder is made. It takes its place when it is complete.
        name: of the model, as a command takes it; an inspection does not hold it, measurements do.

    Raises:
        ResultError: there is nothing to show, or the path is a folder or its folder a file.
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    return publish(render(results, name=name), path)


def render(results: Results, *, name: str | None = None) -> str:
    """The page as text, everything in it: nothing is fetched when it is shown.

    Args:
        results: as `write` takes them.
        name: as `write` takes it.

    Raises:
        ResultError: there is nothing to show.
        MissingPackageError: jinja2 or matplotlib is missing.
    """
    check_available()
    if isinstance(results, HasPage):
        return results.page()
    if isinstance(results, Inspection):
        return inspection_page(results, name or "MODEL")
    if isinstance(results, Halo):
        return halo_page(results)
    named = _named(results)
    if not any(measured.layers for measured in named.values()):
        raise ResultError("no layer was measured, so there is nothing to report")
    return fill("page.html.j2", **content(named, results if isinstance(results, Comparison) else None))


def collect(folders: Sequence[str | Path]) -> Results:
    """What was saved in one folder (a first look, a measurement, a comparison, a halo, an inspection), or measurements in several, by their names.

    Raises:
        ResultError: nothing is there, or it cannot be read.
    """
    paths = [Path(folder) for folder in folders]
    alone = _alone(paths[0]) if len(paths) == 1 else None
    if alone is not None:
        return alone
    named: dict[str, Measurement] = {}
    for folder in paths:
        if storage.is_saved(folder / storage.COMPARISON_FILE):
            several = load_comparison(folder)
            if len(paths) == 1:
                return several
            added = {f"{folder.name} / {name}": measured for name, measured in several.items()}
        else:
            added = {folder.resolve().name: load(folder)}
        for name, measured in added.items():
            while name in named:
                name += "'"  # noqa: PLW2901  # two folders of one name
            named[name] = measured
    if len(named) == 1:
        return next(iter(named.values()))
    return _compared(named)


def _alone(folder: Path) -> Results | None:
    """What has a page of its own kind; None for measurements and comparisons."""
    if storage.is_saved(folder / storage.HALO[0]):
        return load_halo(folder)
    look = saved_first_look(folder)
    if look is not None:
        return look
    others = (storage.RESULT_FILE, storage.COMPARISON_FILE)
    if storage.is_saved(folder / storage.INSPECTION_FILE) and not any(storage.is_saved(folder / x) for x in others):
        return saved_inspection(folder)
    return None


def _compared(named: dict[str, Measurement]) -> Comparison | dict[str, Measurement]:
    try:
        return Comparison(named)
    except ResultError:  # not over the same crops: shown side by side, without paired differences
        return named


def _named(results: Measurement | Mapping[str, Measurement]) -> dict[str, Measurement]:
    if isinstance(results, Measurement):
        return {str(results.provenance.get("model") or "model"): results}
    return dict(results.items())
