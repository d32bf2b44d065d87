"""Where numbers and figures of a training go: TensorBoard writers, loggers of any library, a function."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from padprint.errors import PadprintError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from padprint.results.measurement import LayerMeasurement

QUANTITIES = ("snr", "mae", "mae_floor", "response", "relative", "positional", "rms", "mae_corrected")
"""What is logged of each layer, see `padprint.LayerMeasurement`."""

_METHODS = ("log_metrics", "log_dict", "log")
"""Methods that take a dictionary of numbers: Lightning's and MLflow's, Fabric's, Weights & Biases' and HF Trainer's."""


def scalars(layers: Mapping[str, LayerMeasurement]) -> dict[str, float]:
    """``"layer/quantity"``: the estimate, for each of `QUANTITIES`."""
    return {f"{name}/{what}": getattr(layer, what).value for name, layer in layers.items() for what in QUANTITIES}


class Log:
    """One logger or several behind one face.

    Args:
        target: with ``add_scalar`` (a TensorBoard ``SummaryWriter``); with ``log_metrics``, ``log_dict`` or ``log`` that
            take a dictionary, and the step where they have a ``step``; a function of (dictionary, step); or a list of these.

    Raises:
        PadprintError: there is none, or it can log nothing.
    """

    def __init__(self, target: Any) -> None:
        targets = list(target) if isinstance(target, list | tuple) else [target]
        if not targets or None in targets:
            raise PadprintError(
                "there is no logger: give log=, a SummaryWriter, a logger or a function of (values, step)"
            )
        self._targets = targets
        self._scalars = [_scalars_of(one) for one in targets]

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log the numbers that are finite."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for log in self._scalars:
            log(finite, step)

    @property
    def draws(self) -> bool:
        """Whether any of the loggers takes figures."""
        return any(True for _ in self._drawing())

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure, where that can be done."""
        for add_figure in self._drawing():
            add_figure(name, figure, step)

    def _drawing(self) -> Iterator[Any]:
        """``add_figure`` of the TensorBoard writers among the targets and in them."""
        for target in self._targets:
            callbacks = getattr(getattr(target, "callback_handler", None), "callbacks", ())  # of a HF Trainer
            writers = (getattr(callback, "tb_writer", None) for callback in callbacks)
            for one in (target, getattr(target, "experiment", None), *writers):
                if callable(getattr(one, "add_figure", None)):
                    yield one.add_figure


def _scalars_of(target: Any) -> Callable[[dict[str, float], int], object]:
    """How a logger takes numbers."""
    if callable(getattr(target, "add_scalar", None)):

        def add(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                target.add_scalar(name, value, step)

        return add
    for method in filter(callable, (getattr(target, name, None) for name in _METHODS)):
        if _takes(method, step=0):
            return functools.partial(_with_step, method)
        if _takes(method):
            return functools.partial(_without_step, method)
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise PadprintError(
        f"a {type(target).__name__} cannot log: it has no add_scalar, none of {', '.join(_METHODS)} that takes a dictionary, "
        "and is no function"
    )


def _with_step(method: Callable[..., object], values: dict[str, float], step: int) -> object:
    return method(values, step=step)


def _without_step(method: Callable[..., object], values: dict[str, float], step: int) -> object:  # noqa: ARG001
    return method(values)


def _takes(method: Callable[..., object], **more: object) -> bool:
    """Whether a method can be called with a dictionary and `more`."""
    try:
        inspect.signature(method).bind({}, **more)
    except TypeError:
        return False
    return True
