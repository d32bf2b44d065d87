"""Several gloo processes on this machine give what one process gives."""

from __future__ import annotations

from pathlib import Path

import nets
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers import ESTIMATES, gap, noise

from padprint import Measurement, PadprintError, load, measure


def images(n: int, broken: int | None) -> list[torch.Tensor]:
    found = noise(n, 48)
    if broken is not None:
        found[broken][0, 0, 0] = float("nan")
    return found


def work(rank: int, world: int, n: int, broken: int | None, folder: str) -> None:
    """One process: measure, and save the result or write down the error."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        result = measure(nets.stride_two(), images(n, broken), crop=16, crops_per_image=4, distributed=True)
        result.save(Path(folder) / f"rank{rank}")
    except PadprintError as error:
        (Path(folder) / f"error{rank}").write_text(str(error))
    finally:
        dist.destroy_process_group()


def together(world: int, n: int, folder: Path, broken: int | None = None) -> None:
    context = mp.spawn(work, (world, n, broken, str(folder)), nprocs=world, join=False)
    for _ in range(60):
        if context.join(timeout=2):
            return
    for process in context.processes:
        process.kill()
    pytest.fail("the processes did not end within two minutes")


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def single(n: int) -> Measurement:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure(nets.stride_two(), images(n, None), crop=16, crops_per_image=4)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("world", "n"), [(2, 7), (3, 7), (3, 2)])
def test_equal_to_one_process(world: int, n: int, tmp_path: Path) -> None:
    together(world, n, tmp_path)
    one = single(n)
    for rank in range(world):
        many = load(tmp_path / f"rank{rank}")
        assert (many.n_images, many.n_crops, many.margin) == (one.n_images, one.n_crops, one.margin)
        assert many.numeric_floor == one.numeric_floor
        for name, layer in one.items():
            for field in ("pattern", "noise"):
                a, b = getattr(layer, field), getattr(many[name], field)
                assert float((a - b).abs().max()) <= 1e-12 * float(a.abs().max())
            for estimate in ESTIMATES:
                assert gap(getattr(layer, estimate), getattr(many[name], estimate)) < 1e-9


def test_an_error_in_one_process_ends_them_all(tmp_path: Path) -> None:
    together(2, 5, tmp_path, broken=3)
    reports = [(tmp_path / f"error{rank}").read_text() for rank in (0, 1)]
    assert "image 3" in reports[1]
    assert reports[0].startswith("process 1:")


def test_distributed_needs_a_process_group() -> None:
    with pytest.raises(PadprintError, match="init_process_group"):
        measure(nets.stack(), noise(2, 32), crop=16, distributed=True)
