"""What one forward pass on an example shows of a network that is to be converted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from padprint.errors import ModelError, PaddingError, PadprintError
from padprint.network.calls import Call, Interceptor
from padprint.network.preserved import as_measured
from padprint.padding.operators import moves, read_call
from padprint.padding.scheme import Scheme
from padprint.padding.space import Form, Space, Verdict, form
from padprint.padding.swap import channels_of, stays, swappable, title
from padprint.padding.windowed import Windowed
from padprint.support.wording import first_line


@dataclass
class Found:
    """What one forward pass shows, by the path of the module that makes the call.

    Attributes:
        seen: the channels of maps whose padding is to be swapped.
        passing: the channels of those whose windows needed no padding at this size.
        kept: modules all of whose padding stays as it is.
        known: what is known of calls by their form, those of the modules inside included.
    """

    seen: dict[str, set[int]] = field(default_factory=dict)
    passing: dict[str, set[int]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    known: dict[str, dict[Form, Verdict]] = field(default_factory=dict)

    def learn(self, call: Call, op: Windowed, verdict: Verdict) -> None:
        """Note what is known of a call, for the module that makes it and for all that it is in.

        Raises:
            PaddingError: of another call of this form something else is known.
        """
        name = call.module
        while True:
            other = self.known.setdefault(name, {}).setdefault(form(op), verdict)
            if (other.reason is None) != (verdict.reason is None):
                raise PaddingError(
                    f"{name or 'the model'} makes two calls of {op.operator} that pad alike, of which one pads a map "
                    f"and one does not ({other.reason or verdict.reason}); write one of them in a module of its own"
                )
            if not name:
                return
            name = name.rpartition(".")[0]


def look(model: nn.Module, example: Tensor) -> Found:
    """What one forward pass shows. Warns of calls that keep their padding, or may hide some."""
    calls, space = Found(), Space(model, (example,))
    words: dict[str, str] = {}

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        def judge(op: Windowed) -> Verdict | None:
            verdict = space.verdict(call, op)
            if verdict is not None:
                calls.learn(call, op, verdict)
            return verdict

        op = swappable(func, args, kwargs, judge)
        if op is not None:
            calls.seen.setdefault(call.module, set()).add(channels_of(op))
        else:
            reason = stays(func, args, kwargs, judge)
            if reason is not None:
                words[str(call)] = reason
                calls.kept.add(call.module)
            op = None if moves(func) else read_call(func, args, kwargs)
            if op is not None and op.operator != "pad":
                calls.passing.setdefault(call.module, set()).add(channels_of(op))
        return func(*args, **kwargs)

    try:
        with as_measured(model), Interceptor(handle):
            model(example)
    except PadprintError:
        raise
    except Exception as error:
        raise ModelError(f"the model fails on the example of {tuple(example.shape)}: {first_line(error)}") from error
    if words:
        warnings.warn(f"not converted: {'; '.join(f'{call} {why}' for call, why in words.items())}", stacklevel=3)
    return calls


def run_through(made: nn.Module, example: Tensor, scheme: Scheme) -> None:
    """Run a network whose maps now have other sizes.

    Raises:
        PaddingError: a call cannot take them.
    """
    calls: list[Call] = []

    def handle(call: Call, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        calls[:] = [call]
        return func(*args, **kwargs)

    try:
        with as_measured(made), Interceptor(handle):
            made(example)
    except PadprintError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise PaddingError(
            f"{title(scheme)} padding changes the sizes of maps, and {calls[-1]} cannot take them: {reason}"
        ) from error
