"""What the commands do, once their options are read."""

# each command imports only what it uses
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padprint.cli import _processes, _show
from padprint.cli._loading import Job, load, warn_uncalibrated
from padprint.cli._options import Files, Screen
from padprint.cli._parse import Lengths
from padprint.errors import PadprintError, ResultError

if TYPE_CHECKING:
    from padprint.geometry.inspection import Inspection
    from padprint.network.loading import LoadedModel
    from padprint.results.comparison import Comparison
    from padprint.results.measurement import Measurement


def measure(job: Job, padding: str | None, files: Files, screen: Screen) -> None:
    """Measure, then write and show the result; only the first process of several shows and writes."""
    with _show.reporting(screen) as console:
        check_output(files.output, plots=files.plots, report=files.report)
        with _processes.joined(job.place.device) as device:
            result = _measured(job, padding, device, progress=_show.wants_progress(screen.quiet))
        if _processes.first():
            written = write(result, files.output, plots=files.plots)
            written += write_report(result, files.output, wanted=files.report)
            if not screen.quiet:
                _show.measurement(console, result)
                _show.lines(console, written)
    if screen.json and _processes.first():
        _show.as_json(result.to_dict())


def compare(job: Job, paddings: Sequence[str], files: Files, screen: Screen) -> None:
    """Compare, then write and show the result; only the first process of several shows and writes."""
    with _show.reporting(screen) as console:
        check_output(files.output, plots=files.plots, report=files.report)
        with _processes.joined(job.place.device) as device:
            result = _compared(job, paddings, device, progress=_show.wants_progress(screen.quiet))
        if _processes.first():
            written = write_comparison(result, files.output, plots=files.plots)
            written += write_report(result, files.output, wanted=files.report)
            if not screen.quiet:
                _show.comparison(console, result)
                _show.lines(console, written)
    if screen.json and _processes.first():
        _show.as_json(result.to_dict())


def report(folders: Sequence[Path], output: Path, screen: Screen) -> None:
    """Write the report of saved results."""
    with _show.reporting(screen) as console:
        from padprint.report import collect, write

        written = write(collect(folders), output)
        if not screen.quiet:
            _show.lines(console, [f"wrote {written}"])


def inspect(model: str, size: Lengths, screen: Screen, folder: Path | None, *, report: bool) -> None:
    """Show every operator of a model that pads, and write what was found, and a page of it, where wanted."""
    with _show.reporting(screen) as console:
        check_output(folder, report=report)
        from padprint.geometry.inspection import inspect
        from padprint.network.example import input_channels
        from padprint.network.loading import load_model
        from padprint.support.progress import phase

        with phase("loading"):
            loaded = load_model(model)
        warn_uncalibrated(loaded)
        with phase("inspecting"):
            result = inspect(loaded.model, size, channels=input_channels(loaded.model))
        written = _write_inspection(result, model, folder, report=report)
        if not screen.quiet:
            if not screen.json:
                _show.inspection(console, result)
            _show.lines(console, written)
    if screen.json:
        _show.as_json(result.to_dict())


def _write_inspection(result: Inspection, model: str, folder: Path | None, *, report: bool) -> list[str]:
    """Save an inspection, with its page where wanted; lines about what was written."""
    if folder is None:
        return []
    from padprint.report import write
    from padprint.results import documents, storage

    document = {"schema": documents.SCHEMA, "model": model, **result.to_dict()}
    storage.write_document(folder / storage.INSPECTION_FILE, document)
    pages = [f"wrote {write(result, folder / 'report.html', name=model)}"] if report else []
    return [f"wrote {folder}/{storage.INSPECTION_FILE}", *pages]


def demo(output: Path, screen: Screen) -> None:
    """Run the demonstration, write its files and show them."""
    with _show.reporting(screen) as console:
        check_output(output, plots=True, report=True)
        from padprint import demo

        result = demo.run(progress=_show.wants_progress(screen.quiet))
        _note_command(result)
        written = write(result, output, plots=True) + write_report(result, output, wanted=True)
        if not screen.quiet:
            _show.measurement(console, result)
            _show.lines(console, written)
    if screen.json:
        _show.as_json(result.to_dict())


def check_output(folder: Path | None, *, plots: bool = False, report: bool = False) -> None:
    """Refuse what cannot be written before the work, not after it.

    Raises:
        ResultError: the path, or one of its parents, is a file, or is closed to writing.
        MissingPackageError: what draws pictures or writes reports is missing.
    """
    if report:
        from padprint.report import check_available

        check_available()
    elif plots:
        from padprint.plot import check_available

        check_available()
    for path in () if folder is None else (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ResultError(f"{path} cannot be a folder, a file has that name; choose another --output")
        if path.is_dir():
            if not os.access(path, os.W_OK | os.X_OK):
                raise ResultError(
                    f"nothing can be written into {path}, its permissions forbid it; choose another --output"
                )
            return


def write(result: Measurement, folder: Path | None, *, plots: bool) -> list[str]:
    """Save a result, with pictures where wanted; returns a line about what was written."""
    if folder is None:
        return []
    result.save(folder)
    if not plots:
        return [f"wrote {folder}/result.json and patterns.safetensors"]
    from padprint.plot import save_patterns

    pictures = save_patterns(result, folder)
    return [f"wrote {folder}/result.json, patterns.safetensors and {len(pictures)} pictures (pattern-*.png)"]


def write_comparison(result: Comparison, folder: Path | None, *, plots: bool) -> list[str]:
    """Save a comparison, with its picture where wanted; returns a line about what was written."""
    if folder is None:
        return []
    result.save(folder)
    if not plots:
        return [f"wrote {folder}/comparison.json and a folder for each of {len(result)} measurements"]
    from padprint.plot import comparison
    from padprint.support.atomic import publish_file

    publish_file(folder / "comparison.png", comparison(result).savefig)
    return [f"wrote {folder}/comparison.json, comparison.png and a folder for each of {len(result)} measurements"]


def write_report(result: Measurement | Comparison, folder: Path | None, *, wanted: bool) -> list[str]:
    """Write a report into the output folder, where wanted; returns a line about it."""
    if not wanted or folder is None:
        return []
    from padprint import report

    return [f"wrote {report.write(result, folder / 'report.html')}"]


def _measured(job: Job, padding: str | None, device: str | None, *, progress: bool) -> Measurement:
    from padprint.measuring.engine import measure

    loaded = load(job)
    result: Measurement = measure(
        loaded.model.model,
        loaded.images,
        device=device,
        progress=progress,
        distributed=_processes.several(),
        name=next(iter(loaded.models)),
        padding=padding,
        **loaded.normalisation,
        **job.options,
    )
    _note(result, job, loaded.model, _strides(loaded.model, result.crop))
    return result


def _compared(job: Job, padding: Sequence[str], device: str | None, *, progress: bool) -> Comparison:
    from padprint.measuring.engine import compare
    from padprint.measuring.options import OWN

    loaded = load(job)
    paddings = list(padding) or [OWN]
    result = compare(
        {name: model.model for name, model in loaded.models.items()},
        loaded.images,
        paddings,
        device=device,
        progress=progress,
        distributed=_processes.several(),
        **loaded.normalisation,
        **job.options,
    )
    crop = next(iter(result.values())).crop
    noted = [(model, _strides(model, crop)) for model in loaded.models.values()]
    for i, measured in enumerate(result.values()):  # the paddings of the first model, then those of the second
        _note(measured, job, *noted[i // len(paddings)])
    return result


def _note(result: Measurement, job: Job, loaded: LoadedModel, strides: dict[str, Any] | None) -> None:
    """Put into a result's provenance what only the command knows."""
    given = job.photographs.rgb != (None, None)
    _note_command(result)
    result.provenance.update(
        weights_source=loaded.weights_source,
        normalisation_source="command line" if given else loaded.normalisation_source,
        calibrated_on=job.place.calibrate,
        strides=strides,
    )


def _strides(loaded: LoadedModel, crop: tuple[int, ...]) -> dict[str, Any] | None:
    """How many strides are uneven at the crop's size, for the report; None where the model cannot be inspected."""
    from padprint.geometry.inspection import inspect, stride_record
    from padprint.network.example import input_channels

    try:
        return stride_record(inspect(loaded.model, crop, channels=input_channels(loaded.model)))
    except PadprintError:
        return None


def _note_command(result: Measurement) -> None:
    from padprint.report.command import command_line

    result.provenance["command"] = command_line(sys.argv[1:])
