"""How much memory a pass takes, told from one small forward; how much there is; and what fits."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from padprint.errors import ImagesError, PadprintError
from padprint.measuring.checked import Traced
from padprint.measuring.crop_plan import CropPlan
from padprint.measuring.forwards import Forwards
from padprint.measuring.options import Settings
from padprint.network.example import example_for
from padprint.network.preserved import as_measured
from padprint.support.axes import CELLS, Size, each_side, times, with_sides

RESERVE = 3.5
"""What a pass takes over what can be told of it, at most: 1.5 to 3.3 times as much on four networks of one to three axes (the libraries below
keep buffers). Kept free within a bound that is stated."""

_UNHEARD_OF = 16384
"""Bytes for each px of the input that no network takes: where there is so much, memory need not be told."""

_SMALL = {1: 4096, 2: 64, 3: 32}
"""Px along each axis, about, of the input that memory is told from, by axes."""


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Counts the bytes of the tensors that are made while it is on, for as long as they live.

    Attributes:
        most: the largest count so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor) and one.layout is torch.strided:
                self._add(one.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self._now += storage.nbytes()
            self.most = max(self.most, self._now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self._now -= self._known.pop(key, 0)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes of tensors alive at once while something runs, of those that it makes."""
    live = _Live()
    with live:
        kept = call()
    del kept
    return live.most


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where nobody says it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [one for one in (_available(), *_within_groups()) if one is not None] if device.type == "cpu" else []
    return min(known, default=None)


def _available() -> int | None:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    return None


def _within_groups() -> Iterator[int]:
    """What is left of a container's limit, where it has one; files that can be read anew are not counted."""
    names = (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for folder, most, used, cached in names:
        group = Path("/sys/fs/cgroup") / folder
        with suppress(OSError, ValueError):
            limit, taken = int((group / most).read_text()), int((group / used).read_text())  # "max": no limit
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield limit - taken + int(stat.get(cached, 0))


@dataclass(frozen=True)
class Taken:
    """What networks take, bytes.

    Attributes:
        running: at the peak of a forward for each px of the input, the maps of measured layers included.
        kept: of these maps alone, which wait for the crops.
        states: double precision maps of a crop's layers that are kept throughout.
    """

    running: float
    kept: float
    states: int

    def need(self, canvas: Size, batch: int, crop: Size) -> int:
        """Bytes of a canvas and then of a batch of crops beside what is kept of it."""
        alone = self.running * prod(canvas)
        crops = self.kept * prod(canvas) + self.running * batch * prod(crop)
        return ceil(max(alone, crops) + 2 * self.states * self.kept * prod(crop))


def taken_by(traced: Sequence[Traced], channels: int, states: int) -> Taken | None:
    """The most that any of some networks takes; None where one does not run on anything small, which tells nothing.

    Args:
        traced: the networks.
        channels: of the images.
        states: see `Taken`.
    """
    every = [_taken_by(one, channels) for one in traced]
    known = [one for one in every if one is not None]
    if len(known) < len(every):
        return None
    return Taken(max(running for running, _ in known), max(kept for _, kept in known), states)


def _taken_by(traced: Traced, channels: int) -> tuple[float, float] | None:
    """Bytes for each px at the peak of a small forward, and of the maps that it leaves."""
    geometry = traced.geometry
    small = _SMALL[len(geometry.crop)]
    size = tuple(min(n, n % p + p * ceil(small / p)) for n, p in zip(geometry.crop, geometry.period, strict=True))
    x = example_for(traced.model, channels, size)
    forwards = Forwards(traced.model, geometry.maps, geometry.crop, traced.device, traced.dtype)
    try:
        with as_measured(traced.model):
            running = peak_bytes(lambda: forwards.maps(x))
            kept = sum(one.nbytes for one in forwards.maps(x).values())
    except PadprintError:
        return None
    return (running + x.nbytes) / prod(size), (kept + x.nbytes) / prod(size)


def fitted(
    plan: CropPlan, traced: Sequence[Traced], channels: int, settings: Settings, what: str
) -> tuple[CropPlan, Settings]:
    """The plan and the settings with which a pass stays within its memory.

    To a bound that is stated, canvases and batches are cut, with `RESERVE`. What happens to be free cuts nothing, so that a result follows from
    what was asked for: a pass is refused where what can be told of it alone is more.

    Args:
        plan: as it would be without a bound.
        traced: the networks.
        channels: of the images.
        settings: of the pass.
        what: messages call a crop.

    Raises:
        ImagesError: one canvas, or what is free is less than the batch takes.
    """
    batch, crop, stated = settings.batch_size, plan.crop, settings.memory is not None
    bound = free_bytes(traced[0].device) if settings.memory is None else int(1e9 * settings.memory / RESERVE)
    if bound is None:
        return plan, settings
    cells = max(plan.most, prod(plan.smallest), batch * prod(crop))
    if not stated and _UNHEARD_OF * cells < bound:
        return plan, settings
    states = 0 if what == "tile" else settings.groups * max(len(one.paddings) for one in traced)
    taken = taken_by(traced, channels, states)
    if taken is None:
        return plan, settings
    if taken.need(plan.smallest, 1, crop) > bound:
        raise ImagesError(_refused(plan, taken, bound, stated, what))
    fits = _most(lambda n: taken.need(plan.smallest, n, crop) <= bound, batch)
    if not stated:
        if fits < batch:
            raise ImagesError(
                f"batches of {batch} {what}s of {times(crop)} {CELLS[len(crop)]} take {_gb(taken.need(plan.smallest, batch, crop))} or more, and "
                f"{_gb(bound)} are free: use batch_size={fits}, or memory=N (GB), to which batches are cut"
            )
        return plan, settings
    left = bound - taken.need((0,) * len(crop), fits, crop)
    most = min(plan.most, int(left / taken.kept), int((bound - taken.need((0,) * len(crop), 0, crop)) / taken.running))
    return replace(plan, most=max(prod(plan.smallest), most)), replace(settings, batch_size=fits)


def _refused(plan: CropPlan, taken: Taken, bound: int, stated: bool, what: str) -> str:
    """Why a plan does not fit, and what would."""

    def fits(crop: Size, margin: Sequence[int]) -> bool:
        return taken.need(with_sides(crop, margin), 1, crop) <= bound

    def smaller(less: int) -> Size:
        return tuple(n - less * p for n, p in zip(plan.crop, plan.period, strict=True))

    def narrow(periods: int) -> tuple[int, ...]:
        return tuple(min(own, periods * p) for own, p in zip(plan.margin, each_side(plan.period), strict=True))

    most = min(n // p for n, p in zip(plan.crop, plan.period, strict=True))
    less = next((less for less in range(1, most) if fits(smaller(less), plan.margin)), None)
    widest = max(n // p for n, p in zip(plan.margin, each_side(plan.period), strict=True))
    periods = next((n for n in range(widest, 0, -1) if fits(plan.crop, narrow(n))), None)
    option = "tile" if what == "tile" else "crop"
    size, told = plan.smallest, _gb(taken.need(plan.smallest, 1, plan.crop))
    ways = [
        *([] if less is None else [f"a smaller {what} ({option}={_one(smaller(less))})"]),
        *([] if periods is None else [f"a margin below the reach (margin={max(narrow(periods))}: approximate)"]),
        "layers that see less",
    ]
    said = f"of the memory stated {_gb(bound)} are for what can be told of it" if stated else f"{_gb(bound)} are free"
    return (
        f"one canvas of {times(size)} {CELLS[len(size)]}, a {what} of {times(plan.crop)} with the scene that the layers see around it, takes {told} or "
        f"more with batch_size=1, and {said}: use {', '.join(ways)}, or more memory"
    )


def _one(size: Size) -> str:
    return str(size[0]) if len(set(size)) == 1 else f"({', '.join(map(str, size))})"


def _most(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits; 1 does."""
    return next(n for n in range(most, 0, -1) if n == 1 or fits(n))


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
