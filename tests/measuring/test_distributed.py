"""Several gloo processes on this machine give what one process gives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn

import nets
from helpers import ESTIMATES, gap, in_processes, noise
from padprint import Measurement, PadprintError, load, measure

CASES = {
    2: {
        "seven": (7, None),
        "broken": (5, 3),
        "count": (4, None),
        "values": (4, None),
        "files": (4, None),
        "ends": (4, None),
        "again": (4, None),
    },
    3: {"seven": (7, None), "two": (2, None)},
}
"""By number of processes: how many images, and which of them is broken."""
NORM = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def images(n: int, broken: int | None) -> list[torch.Tensor]:
    found = noise(n, 48)
    if broken is not None:
        found[broken][0, 0, 0] = float("nan")
    return found


class Ends(nn.Module):
    """Ends the program in the second process, as a model's own code may."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if dist.get_rank() == 1:
            sys.exit(0)
        return x


def given(folder: Path, case: str, rank: int) -> Any:
    """What this process is given: the same as the others, unless the case says otherwise."""
    n, broken = CASES[dist.get_world_size()][case]
    if case == "files":
        return sorted((folder / "photographs").iterdir())[rank : rank + n - 1]
    if case == "values":
        return noise(n, 48, seed=rank)
    if case == "again":
        first, _, *rest = images(n, broken)
        return [first, first, *rest]
    return images(n - rank if case == "count" else n, broken)


def write(folder: Path, case: str, rank: int) -> None:
    """Measure, and save the result or write down the error."""
    path, options = folder / f"{case}{rank}", NORM if case == "files" else {}
    net = nets.stride_two()
    try:
        result = measure(
            nn.Sequential(net, Ends()) if case == "ends" else net,
            given(folder, case, rank),
            crop=16,
            crops_per_image=4,
            distributed=True,
            strict=case == "broken",
            **options,
        )
    except (PadprintError, SystemExit) as error:
        path.write_text(str(error))
    else:
        result.save(path)


def work(rank: int, world: int, folder: str) -> None:
    """One process: each case in turn."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        for case in CASES[world]:
            write(Path(folder), case, rank)
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder with everything that so many processes measured; each number of processes runs once."""

    @cache
    def run(world: int) -> Path:
        folder = tmp_path_factory.mktemp(f"processes{world}")
        (folder / "photographs").mkdir()
        for i in range(5):
            Image.new("RGB", (48, 48), (i * 40, 90, 20)).save(folder / "photographs" / f"{i}.png")
        in_processes(work, world, world, str(folder))
        return folder

    return run


def single(n: int) -> Measurement:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure(nets.stride_two(), images(n, None), crop=16, crops_per_image=4)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("world", "case"), [(2, "seven"), (3, "seven"), (3, "two")])
def test_equal_to_one_process(world: int, case: str, measured: Callable[[int], Path]) -> None:
    one = single(CASES[world][case][0])
    for rank in range(world):
        many = load(measured(world) / f"{case}{rank}")
        assert (many.n_images, many.n_crops, many.margin) == (one.n_images, one.n_crops, one.margin)
        assert many.numeric_floor == one.numeric_floor
        for name, layer in one.items():
            for field in ("pattern", "noise"):
                a, b = getattr(layer, field), getattr(many[name], field)
                assert float((a - b).abs().max()) <= 1e-12 * float(a.abs().max())
            for estimate in ESTIMATES:
                assert gap(getattr(layer, estimate), getattr(many[name], estimate)) < 1e-9


def test_one_process_in_a_group_of_one(tmp_path: Path) -> None:
    dist.init_process_group("gloo", f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        alone = measure(nets.stack(), noise(3, 48), crop=16, distributed=True)
    finally:
        dist.destroy_process_group()
    assert alone["4"] == measure(nets.stack(), noise(3, 48), crop=16)["4"]


def test_an_error_in_one_process_ends_them_all(measured: Callable[[int], Path]) -> None:
    reports = [(measured(2) / f"broken{rank}").read_text() for rank in (0, 1)]
    assert "image 3" in reports[1]
    assert reports[0].startswith("process 1:")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("count", "process 0 has list (4 images), and process 1 list (3 images)"),
        ("values", "process 0 has list (4 images), and process 1 list (4 images), other names, sizes or values"),
        ("files", "process 0 has list (3 image files), and process 1 list (3 image files), other names"),
    ],
)
def test_processes_with_different_images_are_refused(case: str, words: str, measured: Callable[[int], Path]) -> None:
    for rank in (0, 1):
        report = (measured(2) / f"{case}{rank}").read_text()
        assert report.startswith("the processes were given different images: ")
        assert words in report


def test_code_that_ends_one_process_is_an_error_in_all(measured: Callable[[int], Path]) -> None:
    reports = [(measured(2) / f"ends{rank}").read_text() for rank in (0, 1)]
    assert reports == ["process 1: code that was run ended the program (SystemExit: 0)", "0"]


def test_an_image_that_two_processes_have_is_counted(measured: Callable[[int], Path]) -> None:
    for rank in (0, 1):
        assert any(w.startswith("1 of 4 images are the same") for w in load(measured(2) / f"again{rank}").warnings)


def test_distributed_needs_a_process_group() -> None:
    with pytest.raises(PadprintError, match="init_process_group"):
        measure(nets.stack(), noise(2, 32), crop=16, distributed=True)
