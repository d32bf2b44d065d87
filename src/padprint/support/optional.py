"""Optional and fragile imports, in one place.

`import padprint` must work, and measure, with torchvision absent, present or broken. torchmetrics imports
torchvision when it finds it, so a broken torchvision would take torchmetrics down with it; `torchmetrics_module`
hides a torchvision that cannot be imported for the length of that one import.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from types import ModuleType

from padprint.errors import MissingPackageError


def require(name: str, *, why: str, extra: str) -> ModuleType:
    """Import an optional package or say what to install.

    Args:
        name: the package to import.
        why: what it is needed for, as the end of "... is needed".
        extra: the padprint extra that installs it.

    Raises:
        MissingPackageError: the package is missing, or is installed and fails to import.
    """
    if find_spec(name) is None:
        raise MissingPackageError(f"{name} is needed {why}: pip install 'padprint[{extra}]'")
    reason = _broken(name)
    if reason is not None:
        raise MissingPackageError(
            f"{name} is needed {why}, and is installed but fails to import ({reason}); "
            "install torch and torchvision builds that belong together, in one pip command"
        )
    return importlib.import_module(name)


@lru_cache(maxsize=1)
def torchmetrics_module() -> ModuleType:
    """torchmetrics, also where the installed torchvision is broken."""
    if "torchmetrics" in sys.modules or find_spec("torchvision") is None or _broken("torchvision") is None:
        return importlib.import_module("torchmetrics")
    with _hidden("torchvision"):
        return importlib.import_module("torchmetrics")


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """As if a package were not installed: neither modules nor a distribution of that name are found."""
    saved = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == name}
    sys.modules[name] = None  # type: ignore[assignment]  # how Python itself marks "not importable"
    find = Distribution.from_name

    def from_name(asked: str) -> Distribution:
        if asked == name:
            raise PackageNotFoundError(name)
        return find(asked)

    Distribution.from_name = from_name  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Distribution.from_name = find  # type: ignore[method-assign]
        del sys.modules[name]
        sys.modules.update(saved)


@lru_cache
def _broken(name: str) -> str | None:
    """The reason why an installed package cannot be imported, or None where it can."""
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # a mismatched torchvision raises RuntimeError, others OSError
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
