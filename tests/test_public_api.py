"""Names and signatures that people write in their programs: none changes unseen.

``python tests/test_public_api.py`` writes the list anew, for a change that is meant; it goes into the changelog.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import padprint
from padprint.cli import measure as measure_command
from padprint.measuring.options import DEFAULTS

KEPT = Path(__file__).parent / "golden" / "api.txt"
MODULES = (
    "padprint",
    "padprint.baselines",
    "padprint.images",
    "padprint.models",
    "padprint.overlap",
    "padprint.padding",
    "padprint.plot",
    "padprint.report",
    "padprint.scenes",
    "padprint.training",
    "padprint.wholemap",
)


def listed() -> list[str]:
    lines: list[str] = []
    for name in MODULES:
        module = importlib.import_module(name)
        for public in sorted(module.__all__):
            lines += described(f"{name}.{public}", getattr(module, public))
    return lines


def described(name: str, value: object) -> Iterator[str]:
    if inspect.ismodule(value):
        yield f"{name}: module"
    elif inspect.isclass(value):
        yield f"{name}{'' if issubclass(value, Exception) else signature(value)}: class"
        if dataclasses.is_dataclass(value):
            yield from (f"{name}.{field.name}: {field.type}" for field in dataclasses.fields(value))
        for member, own in sorted(vars(value).items()):
            if member.startswith("_") or (dataclasses.is_dataclass(value) and member in value.__dataclass_fields__):
                continue
            function = own.__func__ if isinstance(own, classmethod | staticmethod) else own
            if isinstance(own, property):
                yield f"{name}.{member}: property"
            elif inspect.isfunction(function):
                yield f"{name}.{member}{signature(function)}"
    elif callable(value):
        yield f"{name}{signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def signature(value: object) -> str:
    """Names, kinds and defaults; how annotations are spelt is left to the type checker."""
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def test_names_and_signatures_are_as_they_were() -> None:
    kept, now = KEPT.read_text().splitlines(), listed()
    assert now == kept, "\n".join(difflib.unified_diff(kept, now, "kept", "now", lineterm="", n=0))


def test_defaults_are_the_same_wherever_they_stand() -> None:
    measured = {key: one.default for key, one in inspect.signature(padprint.measure).parameters.items()}
    assert all(measured[key] == value for key, value in DEFAULTS.items())
    metric = inspect.signature(padprint.PatternMetric).parameters
    assert all(metric[key].default == value for key, value in DEFAULTS.items() if key in metric)
    command = {name: one.default for name, one in inspect.signature(measure_command).parameters.items()}
    shared = {"crops_per_image", "groups", "batch_size", "seed", "spend", "margin", "limit", "strict"} & set(command)
    assert len(shared) > 5
    assert {name: command[name] for name in shared} == {name: DEFAULTS[name] for name in shared}


if __name__ == "__main__":
    KEPT.write_text("\n".join(listed()) + "\n")
