"""Give a network other padding for good: a copy that trains, saves, compiles and exports like the original."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from padprint.errors import PaddingError
from padprint.network.calls import refuse_opaque
from padprint.network.copies import copied
from padprint.network.layers import unwrapped
from padprint.padding.example import Found, look, run_through
from padprint.padding.layer_scheme import scheme_for
from padprint.padding.scheme import Scheme, make
from padprint.padding.schemes.edges import whole
from padprint.padding.space import Form, Verdict, form
from padprint.padding.stock import PADS, STOCK, may_pad, of_channels, own_way, stated
from padprint.padding.swap import run_replaced, swappable, title
from padprint.padding.windowed import Windowed

_NAMED = 3  # layers named in a warning


def convert(
    model: nn.Module, scheme: str | Scheme, *, seed: int | None = None, example: Tensor | None = None
) -> nn.Module:
    """A copy of `model` whose padding is supplied by `scheme`, to train, save, compile or export. `model` is left alone.

    Every module that pads gets a scheme of its own, as its submodule ``padding_scheme``; all else is kept: classes
    (``isinstance`` holds), hooks, parametrisations, sharing, and the keys of the state dict, to which learned schemes
    add their own. An earlier conversion is replaced. `revert` undoes it.

    Without an example, torch's own modules are converted: convolutions, transposed convolutions, pooling, `nn.Unfold` and
    ``nn.*Pad*d``, subclasses included. Padding in functional calls (`F.pad` in a module's own ``forward``, all of an
    exported program) is not seen, and stays. With an example, one forward pass finds it, and the modules that make these
    calls are converted too, and what pads no space of a map stays (a warning names it). Without one, layers of one
    dimension in a network of more stay, for they may run along channels. What is never swapped is listed at `use`.

    Every parameter of a learned scheme gets a gradient in each pass, zeros where the layer did not use it, so that training
    on several processes does not wait for it. Parametrisations of weights may be put on and taken off at any time.

    Args:
        model: any network of eager modules.
        scheme: a name, with parameters as ``"constant:value=0.5"``, or a scheme.
        seed: of stochastic schemes: each layer's numbers then depend on the seed and the layer's place alone. Without
            it, the scheme's own seed counts.
        example: `(B, C, *spatial)`, an input to find functional calls, and the channels of maps that learned schemes
            need for layers other than convolutions. It is run in evaluation mode, then on shapes alone, at two sizes.

    Returns:
        The converted copy, in the training mode of the model.

    Raises:
        PaddingError: no such scheme; nothing to convert; a layer that the scheme does not fit or that cannot be
            converted; with an example, a scheme that changes sizes and the network then fails. In a forward pass later
            on: the scheme cannot supply what the layer needs.
        ModelError: the model cannot be copied, fails on the example, or is TorchScript.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> import padprint
        >>> blur = nn.Conv2d(3, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.constant_(blur.weight, 1 / 27)
        >>> padded = padprint.padding.convert(blur, "replicate")
        >>> padded.state_dict().keys() == blur.state_dict().keys()
        True
        >>> with torch.no_grad():
        ...     ninths = 9 * padded(torch.ones(1, 3, 8, 8))[0, 0, 0, :3]
        >>> ninths.round().int().tolist()
        [9, 9, 9]
        >>> padprint.padding.revert(padded)
        Conv2d(3, 1, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    wanted = make(scheme)
    seed = None if seed is None else whole(seed, "seed", 0)
    made = _copy(model)
    _revert_all(made)
    calls = Found() if example is None else look(made, example)
    stock = {name for name, module in made.named_modules() if isinstance(module, STOCK) and may_pad(module)}
    if example is None:
        calls.kept |= _unclear(made)
    wanting = (stock - calls.kept) | set(calls.seen)
    layers = {name: module for name, module in made.named_modules() if name in wanting}
    if not layers:
        hint = "give an example, so that functional calls are found" if example is None else "no call pads"
        raise PaddingError(f"{type(made).__name__} has nothing to convert to {title(wanted)} padding: {hint}")
    home = next((parameter.device for parameter in made.parameters()), None)
    for index, (name, module) in enumerate(layers.items()):
        channels = calls.seen.get(name) or calls.passing.get(name) or set()
        own = scheme_for(wanted, name, module, channels, seed, index)
        weights = next(module.parameters(), None)  # of pooling there are none
        device = home if weights is None else weights.device
        _convert(name, module, own if device is None else own.to(device), calls.known.get(name, {}))
    if wanted.changes_size and example is not None:
        run_through(made, example, wanted)
    return made


def revert(model: nn.Module) -> nn.Module:
    """A copy of a converted model with its original padding: the original classes and behaviour, the present weights.

    Raises:
        PaddingError: nothing in the model was converted.
        ModelError: the model cannot be copied, or is TorchScript.
    """
    made = _copy(model)
    if not _revert_all(made):
        raise PaddingError(f"nothing in {type(made).__name__} was converted, so there is nothing to revert")
    return made


def _unclear(model: nn.Module) -> set[str]:
    names = of_channels(model)
    if names:
        few = ", ".join(sorted(names)[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        why = "layers of one dimension in a network of more may pad channels: give an example that tells"
        warnings.warn(f"not converted: {few}: {why}", stacklevel=3)
    return names


def _copy(model: nn.Module) -> nn.Module:
    made = copied(unwrapped(model))
    for name, module in made.named_modules():
        refuse_opaque(module, name)
        _change_class(
            module, lambda own: own
        )  # torch lets a copy share the class of a parametrised module, and edits it
    return made


# ---------------------------------------------------------------------------------------------- one converted module


class _Swapping(TorchFunctionMode):
    """Runs the calls of one module with its scheme."""

    def __init__(self, scheme: Scheme, layer: str, known: dict[Form, Verdict]) -> None:
        super().__init__()
        self.scheme, self.layer, self.known = scheme, layer, known

    def judge(self, op: Windowed) -> Verdict | None:
        """What the example told of calls of this form."""
        return self.known.get(form(op)) if self.known else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        op = swappable(func, args, kwargs, self.judge)
        if op is None:
            return func(*args, **kwargs)
        return run_replaced(op, self.scheme, self.layer, lambda: func(*args, **kwargs))


class Converted(nn.Module):
    """What `convert` mixes into the class of a module.

    Attributes:
        padding_scheme: supplies the cells.
        padding_layer: the module's path in the model that was converted, for messages.
        padding_known: what the example told of its calls, by their form.
        original_class: what `revert` gives back.
    """

    padding_scheme: Scheme
    padding_layer: str
    padding_known: dict[Form, Verdict]
    original_class: type[nn.Module]

    def __setstate__(self, state: dict[str, Any]) -> None:  # of a copy, or loaded in a process that converted nothing
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        _show_pad_to_compilers(self)

    def __reduce_ex__(self, protocol: Any) -> Any:  # the class is made at run time: pickle the one it was made from
        return _blank, (self.original_class,), self.__getstate__()  # type: ignore[no-untyped-call]


@functools.cache
def _converted_class(original: Any) -> type[Converted]:
    @functools.wraps(original.forward)  # exporters read the names of its arguments
    def forward(self: Converted, *args: Any, **kwargs: Any) -> Any:
        with _Swapping(self.padding_scheme, self.padding_layer, self.padding_known):
            out = original.forward(self, *args, **kwargs)
        return _reached(out, [weight for weight in self.padding_scheme.parameters() if weight.requires_grad])

    body = {"original_class": original, "forward": forward, "__module__": original.__module__}
    return cast("type[Converted]", type(f"Padded{original.__name__}", (Converted, original), body))


class _Reached(torch.autograd.Function):
    """Hands a tensor on, and gives zeros for gradients to parameters that may have had no part in it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(out: Tensor, *parameters: Tensor) -> Tensor:  # noqa: ARG004  # they are saved below
        return out.clone()  # what comes next may write to it

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients[0], *map(torch.zeros_like, ctx.saved_tensors)


def _reached(out: Any, parameters: Sequence[Tensor]) -> Any:
    """What a module returned, with every parameter of its scheme in the graph, whichever sides it padded, if any.

    Training on several processes (DDP) waits for the gradient of each.
    """
    if not parameters or not torch.is_grad_enabled():
        return out
    if isinstance(out, tuple) and out:
        return (_reached(out[0], parameters), *out[1:])
    known = isinstance(out, Tensor) and (out.is_floating_point() or out.is_complex())
    return _Reached.apply(out, *parameters) if known else out


def _blank(original: type[nn.Module]) -> Converted:
    made = _converted_class(original)  # type: ignore[arg-type]  # mypy: an instance hash is no class hash
    return made.__new__(made)


def _convert(name: str, module: nn.Module, scheme: Scheme, known: dict[Form, Verdict]) -> None:
    reason = None
    if "forward" in vars(module):
        reason = "it has a forward of its own beside its class's"
    elif isinstance(module, LazyModuleMixin):
        reason = "it is lazy; run the model once, then convert it"
    if reason is not None:
        raise PaddingError(f"{name or 'the model'} ({type(module).__name__}) cannot be converted: {reason}")
    converted = cast("Converted", module)
    _change_class(module, cast("Callable[[type[nn.Module]], type[nn.Module]]", _converted_class))
    converted.padding_scheme = scheme
    converted.padding_layer = name
    converted.padding_known = {**stated(module), **known}
    _show_pad_to_compilers(converted)


def _show_pad_to_compilers(module: Converted) -> None:
    """Where the module may call `F.pad`, have it reach modes under `torch.compile`, which otherwise traces through it.

    This holds for the process: compiled graphs then have `F.pad` as one call. It changes no result.
    """
    copies = getattr(module, "padding_mode", "zeros") != "zeros"
    if copies or isinstance(module, PADS) or own_way(module.original_class):
        torch.compiler.allow_in_graph(F.pad)  # type: ignore[no-untyped-call]


def _revert_all(model: nn.Module) -> bool:
    """Undo every conversion in `model`, in place; whether there was any."""
    converted = [module for module in model.modules() if isinstance(module, Converted)]
    for module in converted:
        del module.padding_scheme, module.padding_layer, module.padding_known
        _change_class(module, lambda own: cast("type[Converted]", own).original_class)
    return bool(converted)


def _change_class(module: nn.Module, change: Callable[[type[nn.Module]], type[nn.Module]]) -> None:
    """Give a module the class that `change` makes of its own.

    A parametrisation (`torch.nn.utils.parametrize`) gives a module a class derived from its own, with the parameter for
    a property, and takes it back by its base: it stays outermost, as a class of this module alone.
    """
    outer = type(module)
    if not is_parametrized(module):
        module.__class__ = change(outer)
        return
    base = change(outer.__bases__[0])
    body = {key: value for key, value in vars(outer).items() if key not in ("__dict__", "__weakref__", "__doc__")}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), body)
