"""Random networks from a grammar of operators: every number is right, or the network is refused; by brute force."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import isfinite
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import padprint
from bruteforce import Verdict, content, context, cut, judge, outside, run
from grammar import Network, network
from grammar_ops import OPERATORS
from handmade import GLOBAL, HARD, PLAIN
from helpers import state_of
from padprint.errors import ImagesError, PadprintError
from padprint.geometry.layer import Geometry
from padprint.geometry.tracing import trace

CROPS = ((32, 32), (32, 32), (40, 36), (33, 35), (30, 45))


class Wrong(AssertionError):
    """What a property found: the property's name first."""


class Permuted(nn.Module):
    """A network whose outputs have their channels in reverse order."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        y = self.net(x)
        return y.flip(1) if isinstance(y, Tensor) else tuple(one.flip(1) for one in y)


def only_padprint_errors(what: str, function: Callable[..., Any]) -> Any:
    """What `function` returns, or the PadprintError it raises; anything else, a warning too, is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel")  # the network's own
            return function()
    except PadprintError as error:
        return error
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(f"{what}: {type(error).__name__}: {error}") from error


# ---------------------------------------------------------------------------------------------------- the properties


def check_trace(net: Network, crop: tuple[int, int], verdict: Verdict) -> Geometry | PadprintError:
    """Refused, or all that brute force sees change lies within the rim."""
    with untouched(net, "trace"):
        found = only_padprint_errors("trace", lambda: trace(net, "output", crop))
    if not isinstance(found, Geometry):
        return found
    for i, name in enumerate(net.names):
        # what is asked of layers that see the whole map is another question, see test_wholemap
        if found[name].reason is None and not found[name].sees_all_through:
            rim = found[name].rim
            beyond = outside(verdict.changed[i], rim)
            by_chance = (
                not verdict.covariant[i] and not verdict.repeatable
            )  # the rim of padding is all that is asked for
            if bool(beyond.any()) and not by_chance:
                kind = "rim too small" if verdict.covariant[i] else "a rim for a network that depends on place"
                raise Wrong(f"trace: {kind}: {name} {rim}, right {verdict.rim(i)} of {tuple(beyond.shape)}")
    return found


class Scenes:
    """Scenes that hold one crop each, cut from worlds with ample surroundings."""

    def __init__(
        self, net: Network, crop: tuple[int, int], margin: tuple[int, int, int, int], kinds: Sequence[int]
    ) -> None:
        self.net, self.crop = deepcopy(net), crop
        top, bottom, left, right = margin
        self.images, self.worlds = [], []
        (ry, rx), (py, px) = context(net), net.period
        self.corner = (ry + -(-top // py) * py, rx + -(-left // px) * px)
        size = (self.corner[0] + crop[0] + bottom + ry, self.corner[1] + crop[1] + right + rx)
        size = tuple(c + -(-(n - c) // p) * p for n, c, p in zip(size, crop, net.period, strict=True))  # type: ignore[assignment]
        for i, kind in enumerate(kinds):
            world = content(kind, size, torch.Generator().manual_seed(100 + i))
            self.worlds.append(world)
            y, x = self.corner
            self.images.append(world[0, :, y - top : y + crop[0] + bottom, x - left : x + crop[1] + right].clone())

    def response(self) -> list[float]:
        """mean |D| of each output by brute force."""
        sums = [0.0] * len(self.net.strides)
        y, x = self.corner
        for world in self.worlds:
            alone = run(self.net, world[..., y : y + self.crop[0], x : x + self.crop[1]])
            within = cut(run(self.net, world), self.net, self.corner, alone)
            for i, (a, b) in enumerate(zip(alone, within, strict=True)):
                sums[i] += float("nan") if b is None else float((a - b).abs().mean()) / len(self.worlds)
        return sums

    def size_of(self, output: int) -> float:
        """The largest feature, for what is rounding."""
        y, x = self.corner
        return max(
            float(run(self.net, w[..., y : y + self.crop[0], x : x + self.crop[1]])[output].abs().max())
            for w in self.worlds
        )


def single_crops(
    net: Network, crop: tuple[int, int], verdict: Verdict, margin: Any, use: Callable[[Any], Any]
) -> tuple[Scenes, Any]:
    """`use` scenes that hold exactly one crop with the margins of its own result."""
    margin = tuple(margin)
    for _ in range(6):
        scenes = Scenes(net, crop, margin, verdict.steady)
        images = [one.clone() for one in scenes.images]
        result = only_padprint_errors("run", lambda images=images: use(images))
        if isinstance(result, ImagesError):
            margin = tuple(
                2 * m + 2 * p for m, p in zip(margin, (*net.period[:1] * 2, *net.period[1:] * 2), strict=True)
            )
        elif isinstance(result, PadprintError) or tuple(result.margin) == margin:
            break
        else:
            margin = tuple(result.margin)
    return scenes, result


@contextmanager
def untouched(net: Network, what: str) -> Iterator[None]:
    """Fails where parameters, buffers, flags, hooks, random state or other attributes differ afterwards."""
    values = {name: value.clone() for name, value in net.state_dict().items()}
    memory, state = deepcopy(memory_of(net)), flags_of(net)
    yield
    if not same(values, dict(net.state_dict())) or flags_of(net) != state:
        raise Wrong(f"{what}: the network's parameters, buffers, flags or hooks, or the random state, were changed")
    if not same(memory, memory_of(net)):
        raise Wrong(f"{what}: an attribute of the network was changed")


def flags_of(net: Network) -> dict[str, Any]:
    """All but the tensors, which may have been changed and put back, and are compared by value."""
    return {key: value for key, value in state_of(net).items() if key != "tensors"}


def memory_of(net: Network) -> dict[str, Any]:
    """What a network keeps besides parameters."""
    return {
        f"{name}.{key}": getattr(module, key)
        for name, module in net.named_modules()
        for key in ("kept", "outputs")
        if hasattr(module, key)
    }


def same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    return one is two or (type(one) is type(two) and one == two)


def start_margin(net: Network, found: Geometry | PadprintError) -> tuple[int, ...]:
    if isinstance(found, Geometry) and found.maps:
        return found.margin
    return (*context(net)[:1] * 2, *context(net)[1:] * 2)


def check_measure(
    net: Network, crop: tuple[int, int], verdict: Verdict, margin: Any, layers: str | Geometry = "output"
) -> Any:
    """Refused, or the response is that of brute force; network and images are left as found."""

    def use(images: list[Tensor]) -> Any:
        before = [one.clone() for one in images]
        try:
            return padprint.measure(net, images, layers=layers, crop=crop, crops_per_image=1)
        finally:
            if not all(torch.equal(a, b) for a, b in zip(before, images, strict=True)):
                raise Wrong("measure: the images were changed")

    with untouched(net, "measure"):
        scenes, result = single_crops(net, crop, verdict, margin, use)
    if isinstance(result, PadprintError):
        return result
    if result.n_crops != len(scenes.images):
        raise Wrong(f"measure: {result.n_crops} crops of {len(scenes.images)} scenes")
    right = scenes.response()
    for i, name in enumerate(net.names):
        if name in result.unmeasured or result[name].sees_all_through:
            continue
        got = result[name].response.value
        if not verdict.covariant[i]:
            raise Wrong(
                f"measure: a number for a network that depends on place: {name} {got:.6g}, in its scene {right[i]:.6g}"
            )
        single = next(net.parameters(), torch.zeros(1)).dtype == torch.float32
        rounding = (1e-5 if single else 1e-9) * scenes.size_of(i)
        known = isfinite(right[i])
        if verdict.repeatable and known and not abs(got - right[i]) <= 1e-3 * right[i] + rounding:
            raise Wrong(f"measure: response {got:.6g}, right {right[i]:.6g}: {name}, margin {result.margin}")
        beyond = outside(verdict.changed[i], result[name].rim)
        if bool(beyond.any()):
            raise Wrong(
                f"measure: rim too small: {name} {result[name].rim}, right {verdict.rim(i)} of {tuple(beyond.shape)}"
            )
    return result


def check_halo(net: Network, crop: tuple[int, int], verdict: Verdict, margin: Any) -> Any:
    """Refused, or what lies beyond the structural halo of a tile is what it is in the whole scene."""

    def use(images: list[Tensor]) -> Any:
        return padprint.halo(net, images, tile=crop, tiles_per_image=1, tolerance=1e9, error="absolute")

    with untouched(net, "halo"):
        _, result = single_crops(net, crop, verdict, margin, use)
    if isinstance(result, PadprintError):
        return result
    for i, name in enumerate(net.names):
        if name in result.unmeasured or name in result.first.floors:  # beside the halo, what no overlap mends is told
            continue
        halo = result.first.outputs[name].structural
        beyond = outside(
            verdict.changed[i], [min(n, s) for n, s in zip(halo, _each(verdict.changed[i].shape), strict=True)]
        )
        if bool(beyond.any()):
            kind = "structural halo too small" if verdict.covariant[i] else "a halo for a network that depends on place"
            raise Wrong(f"halo: {kind}: {name} {halo}, right {verdict.rim(i)} of {tuple(beyond.shape)}")
    return result


def _each(size: Any) -> tuple[int, int, int, int]:
    return size[0], size[0], size[1], size[1]


def check_relations(net: Network, crop: tuple[int, int], result: Any, verdict: Verdict) -> None:
    """Batch size, the order of images and the order of channels change nothing; crops at several places agree too."""
    if not isinstance(result, padprint.Measurement) or not all(verdict.covariant) or not verdict.repeatable:
        return
    top, bottom, left, right = result.margin
    (py, px), kinds = net.period, verdict.steady[:3]
    scenes = Scenes(net, crop, (top, bottom + 2 * py, left, right + 2 * px), kinds)
    wide = scenes.images
    options: dict[str, Any] = {"layers": "output", "crop": crop, "crops_per_image": 3}
    usual = only_padprint_errors("relations", lambda: padprint.measure(net, wide, batch_size=1, **options))
    if isinstance(usual, PadprintError):
        raise Wrong(f"relations: refused on larger scenes: {usual}")
    tight = Scenes(net, crop, result.margin, kinds).images
    options_one = {**options, "crops_per_image": 1}
    pairs = {
        "batch size 3": (usual, lambda: padprint.measure(net, wide, batch_size=3, **options)),
    }
    if net.ending == "map":
        permuted = Permuted(net)
        pairs["channels in another order"] = (usual, lambda: padprint.measure(permuted, wide, batch_size=1, **options))
    if verdict.repeatable:
        forward = only_padprint_errors("relations", lambda: padprint.measure(net, tight, **options_one))
        pairs["images in another order"] = (forward, lambda: padprint.measure(net, tight[::-1], **options_one))
    for what, (one, again) in pairs.items():
        two = only_padprint_errors("relations", again)
        if isinstance(one, PadprintError) or isinstance(two, PadprintError):
            raise Wrong(f"relations: {what}: refused: {two if isinstance(two, PadprintError) else one}")
        for i, name in enumerate(net.names):
            if name not in one:
                continue
            a, b = one[name], two[name]
            if not isfinite(a.response.value) and not isfinite(b.response.value):
                continue
            pattern = b.pattern.flip(0) if what.startswith("channels") else b.pattern
            single = next(net.parameters(), torch.zeros(1)).dtype == torch.float32
            tolerance = 1e-4 if single else 1e-8
            size = a.pattern.abs().amax((1, 2), keepdim=True)
            scale = scenes.size_of(i)
            if not bool(((a.pattern - pattern).abs() <= tolerance * scale + (1e-3 if single else 1e-6) * size).all()):
                raise Wrong(f"relations: {what}: another pattern of {name}")
            if not abs(a.response.value - b.response.value) <= tolerance * max(a.response.value, scale) + 1e-300:
                raise Wrong(f"relations: {what}: response {a.response.value:.6g}, then {b.response.value:.6g}")


def check(
    net: Network, crop: tuple[int, int], depth: int = 3, verdict: Verdict | None = None, *, once: bool = False
) -> dict[str, Any]:
    """Every property of one network; what padprint made of it. `depth`: 0 the trace alone, then measure, halo, relations.

    `once`: measure by the geometry that was found, which saves most of the time.
    """
    verdict = judge(net, crop) if verdict is None else verdict
    if len(verdict.steady) < 3:  # rounding decides what comes out: there is no right answer
        return {"verdict": verdict}
    found = check_trace(net, crop, verdict)
    outcome: dict[str, Any] = {"verdict": verdict, "trace": found}
    margin = start_margin(net, found)
    if depth > 0:
        layers = found if once and isinstance(found, Geometry) and found.maps else "output"
        outcome["measure"] = check_measure(net, crop, verdict, margin, layers)
    if depth > 1:
        outcome["halo"] = check_halo(net, crop, verdict, margin)
    if depth > 2:
        check_relations(net, crop, outcome["measure"], verdict)
    return outcome


# ------------------------------------------------------------------------------ one network of each kind, by hand


@pytest.mark.parametrize("name", [*PLAIN, *HARD])
def test_rims_by_hand(name: str) -> None:
    make, crop, rim = {**PLAIN, **HARD}[name]
    verdict = judge(make(), crop)
    assert all(verdict.covariant) and len(verdict.steady) >= 3
    assert verdict.rim(0) == rim
    outcome = check(make(), crop, 1, verdict)
    found = outcome["trace"]
    if name in PLAIN:
        assert found["output"].rim == rim
        assert isinstance(outcome["measure"], padprint.Measurement) and "output" in outcome["measure"]


HALOS = {"conv, stride 2", "F.pad", "transposed conv", "U-Net", "unpool", "cat", "roll", "warp", "labels"}
"""One network of each way in which a halo comes about."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in HALOS else pytest.mark.slow) for n in (*PLAIN, *HARD)]
)
def test_halos_by_hand(name: str) -> None:
    make, crop, _ = {**PLAIN, **HARD}[name]
    verdict = judge(make(), crop)
    tiles = check_halo(make(), crop, verdict, start_margin(make(), check_trace(make(), crop, verdict)))
    assert isinstance(tiles, padprint.Halo) or name in HARD


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "running sum" else []) for n in GLOBAL]
)
def test_networks_that_depend_on_place_are_refused(name: str) -> None:
    verdict = judge(GLOBAL[name](), (32, 32))
    assert not any(verdict.covariant) or bool(verdict.changed[0].all())
    outcome = check(GLOBAL[name](), (32, 32), 2, verdict)
    result = outcome["measure"]
    assert isinstance(result, PadprintError) or "output" in result.unmeasured or result["output"].sees_all_through
    tiles = outcome["halo"]
    assert isinstance(tiles, PadprintError) or "output" in tiles.unmeasured or "output" in tiles.first.floors


# ------------------------------------------------------------------------------------------------- random networks

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
    pytest.mark.usefixtures("one_thread"),
]


def drawn(random: Random, there: str) -> tuple[Network, tuple[int, int]]:
    """A network with an operator of the kind `there`, and its crop."""
    crop = random.choice(CROPS)
    net = network(random, crop, there=there)
    return net.to(random.choice([torch.float64, torch.float64, torch.float32])).train(random.random() < 0.2), crop


def fault(net: Network, crop: tuple[int, int], depth: int, *, once: bool = False) -> str | None:
    """What is wrong with what padprint makes of a network; None where nothing is."""
    try:
        check(deepcopy(net), crop, depth, once=once)
    except Wrong as wrong:
        return str(wrong)
    return None


def smallest(net: Network, crop: tuple[int, int], depth: int, wrong: str) -> tuple[Network, str]:
    """Leave out operators for as long as the same property fails."""
    for i in range(len(net.ops)):
        less = net.without(i)
        try:
            found = None if less is None else fault(less, crop, depth)
        except Exception:  # noqa: BLE001  # the others do not fit together
            continue
        if less is not None and found is not None and found.split(":")[:2] == wrong.split(":")[:2]:
            return smallest(less, crop, depth, found)
    return net, wrong


def right_or_refused(random: Random, there: str, depth: int, *, once: bool = False) -> None:
    net, crop = drawn(random, there)
    wrong = fault(net, crop, depth, once=once)
    if wrong is not None:
        less, why = smallest(net, crop, depth, wrong)
        dtype = next(net.parameters(), torch.zeros(1)).dtype
        raise Wrong(f"{wrong}\ncrop {crop}, {dtype}: {net.describe()}\nsmallest: {why}\n{less.describe()}")


# Numbers that hypothesis draws decide everything; `smallest` makes networks smaller by leaving operators out, which shrinking
# of numbers does not.
RANDOM = st.randoms(use_true_random=True)
EACH = settings(
    deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
DEPTHS = st.sampled_from((1, 2, 1, 2, 3))  # relations take many measurements


@settings(EACH, max_examples=40)
@given(RANDOM, st.sampled_from(list(OPERATORS)), st.sampled_from((1, 1, 1, 1, 2)))
def test_random_networks_are_right_or_refused(random: Random, there: str, depth: int) -> None:
    right_or_refused(random, there, depth, once=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_networks_are_right_or_refused(part: int) -> None:
    """Each kind of operator in its turn, so that none is left out."""
    kinds = iter(list(OPERATORS) * 25)
    known: dict[Any, str] = {}  # a failing example is run again

    @settings(EACH, max_examples=25, derandomize=False)
    @seed(part)
    @given(RANDOM, DEPTHS)
    def test(random: Random, depth: int) -> None:
        there = known[random.getstate()] = known.get(random.getstate()) or next(kinds)
        right_or_refused(random, there, depth)

    for _ in range(25 * part % len(OPERATORS)):
        next(kinds)
    test()


@pytest.mark.parametrize(
    ("number", "there"),
    [
        (146, "position"),
        (217, "halves"),
        pytest.param(440, "recursion", marks=pytest.mark.slow),
        pytest.param(536, "fold_of_unfold", marks=pytest.mark.slow),
        pytest.param(537, "windows_by_unfold", marks=pytest.mark.slow),
        pytest.param(3920474377, "recursion", marks=pytest.mark.slow),
        (66696, "recursion"),
        (18589, "by_size"),
        (3933434432471785472, "by_size"),
    ],
)
def test_networks_that_once_were_wrong(number: int, there: str) -> None:
    """A mask that content seldom sets; a seam seen through labels; recursions that fade below what was looked for, or whose
    tail the strip's own border reached; labels that seldom change with the size; another way in maps three times as large."""
    right_or_refused(Random(number), there, 1)
