"""The examples in docstrings, run as they stand: each function's in a folder of its own."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import padprint
from padprint import overlap, padding, scenes

FUNCTIONS: list[Callable[..., Any]] = [
    padprint.measure,
    padprint.compare,
    padprint.check,
    padprint.trace,
    padprint.inspect,
    padprint.halo,
    padprint.load,
    padprint.calibrate_batchnorm,
    overlap.structural,
    padding.use,
    padding.convert,
    padding.make,
    scenes.dead_leaves,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_examples_of(function: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs={})
    assert found.examples
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(found, out=told.append).failed == 0, "".join(told)
