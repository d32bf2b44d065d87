"""Where models come from: torchvision, timm, a Python factory, or an exported program; and their weights."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from padprint.errors import ModelError, readable
from padprint.network.exported import load_program
from padprint.network.weights import fill, read_state
from padprint.support.optional import require
from padprint.support.wording import first_line

Channels: TypeAlias = tuple[float, ...]
_FETCHING = ("urllib", "urllib3", "http", "requests", "httpx", "httpcore", "huggingface_hub", "ssl", "socket")
_SHOWN = 5
_FORMS = "torchvision:NAME[@WEIGHTS], timm:NAME, package.module:factory or FILE.pt2"
_RANDOM = "random initialisation"


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode and where it came from.

    Attributes:
        model: the network, in eval mode, on the CPU unless a factory put it elsewhere.
        name: what to call it in tables and plots.
        mean: per-channel mean its images must be normalised with (pixels in [0, 1]), or None where unknown.
        std: per-channel standard deviation, likewise.
        normalisation_source: in words, who declares `mean` and `std`; None where they are unknown.
        weights_source: in words, where the weights came from.
        random: whether they are random initial weights.
    """

    model: nn.Module
    name: str
    mean: Channels | None
    std: Channels | None
    normalisation_source: str | None
    weights_source: str
    random: bool = False


def load_model(spec: str, weights: str | Path | None = None) -> LoadedModel:
    """Load the model that `spec` names.

    * `torchvision:NAME[@WEIGHTS]`: any name of `torchvision.models.get_model`; WEIGHTS as in `IMAGENET1K_V1`
      or `DEFAULT`, and without it random initial weights (no pretrained backbone either).
    * `timm:NAME`: a name with a tag (`resnet50.a1_in1k`) means those pretrained weights, unless `weights` is
      given; a plain name means random initial weights.
    * `package.module:factory`: imported, with the current directory importable, and called without arguments;
      it may also be an `nn.Module` itself. Lists `mean` and `std` of numbers by channel, of the network or of the Python
      module, say how its images are normalised.
    * `FILE.pt2`: an exported program (`torch.export.save`), unflattened so that its layers keep their dotted
      names. Its archive is checked first, and refused where loading it would run more than a network's operators; like
      a factory it is a program all the same: load only files you trust.

    Args:
        spec: which model, as above.
        weights: a state dict for it, `.safetensors` or `torch.save`d, read without running any code; may be
            wrapped in {"state_dict": ...} or {"model": ...} and carry the prefix "module.".

    Raises:
        ModelError: no such model, a factory that fails, weights that cannot be fetched, read, or do not fit.
        MissingPackageError: torchvision or timm is needed and missing.
    """
    file = None if weights is None else Path(weights)
    state = None if file is None else read_state(file)
    kind, _, name = spec.partition(":")
    if spec.lower().endswith(".pt2"):
        file_name = readable(Path(spec).name)
        loaded = LoadedModel(
            load_program(Path(spec)), Path(file_name).stem, None, None, None, f"exported program {file_name}"
        )
    elif not kind or not name:
        raise ModelError(f"{spec!r} is no model: write {_FORMS}{_meant(spec)}")
    elif kind == "torchvision":
        loaded = _load_torchvision(name, file, state)
    elif kind == "timm":
        loaded = _load_timm(name, file)
    else:
        loaded = _load_factory(kind, name)
    if file is not None and state is not None:
        fill(loaded.model, loaded.name, state, file.name)
        loaded = replace(loaded, weights_source=f"file {readable(file.name)}", random=False)
    if loaded.mean is not None and declared_normalisation(loaded.model) is None:  # as timm's networks carry it
        loaded.model.pretrained_cfg = {"mean": loaded.mean, "std": loaded.std}  # type: ignore[assignment]  # no tensor
    loaded.model.eval()
    return loaded


def as_model(model: nn.Module | str, *, seed: int = 0) -> nn.Module:
    """A network as it was given, or loaded by its name; random initial weights depend on `seed` alone.

    Raises:
        ModelError, MissingPackageError: see `load_model`; or it is neither.
    """
    if isinstance(model, str):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return load_model(model).model
    if not isinstance(model, nn.Module):
        raise ModelError(f"a model is a torch.nn.Module or a name ({_FORMS}), and this is a {type(model).__name__}")
    return model


def declared_normalisation(model: object) -> tuple[Channels, Channels] | None:
    """The (mean, std), a float for each channel, that a network or a Python module of one declares, or None.

    Where: timm's `pretrained_cfg` or `default_cfg`, then attributes `mean` and `std` that are lists or tuples of numbers, as many each.
    Tensors of these names are left alone: a network that holds them mostly normalises its input itself.
    """
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, attribute, None)
        if isinstance(config, Mapping):
            said = _normalisation(config.get("mean"), config.get("std"))
            if said is not None:
                return said
    return _normalisation(getattr(model, "mean", None), getattr(model, "std", None))


def _load_torchvision(name: str, file: Path | None, state: Mapping[str, Tensor] | None) -> LoadedModel:
    name, _, tag = name.partition("@")
    models = require("torchvision", why=f"for torchvision:{name}", extra="models").models
    if name not in models.list_models():
        raise ModelError(f"torchvision has no model {name!r}{_nearest(name, models.list_models())}")
    if tag and file is not None:
        raise ModelError(f"torchvision:{name}@{tag} and the weights file {file.name}: give one of the two")
    known = models.get_model_weights(name)
    if tag and tag not in known.__members__:
        raise ModelError(
            f"torchvision's {name} has no weights {tag!r}; it has: {', '.join(known.__members__) or 'none'}"
        )
    accepted = inspect.signature(models.get_model_builder(name)).parameters
    options: dict[str, Any] = {"weights": known[tag] if tag else None}
    if "weights_backbone" in accepted:
        options["weights_backbone"] = None
    if "aux_loss" in accepted and state is not None and any("aux_classifier." in key for key in state):
        options["aux_loss"] = True
    model: Any = _build(f"torchvision:{name}", bool(tag), lambda: models.get_model(name, **options))

    declared = known[tag] if tag else None
    if file is not None:
        declared = next((weights for weights in known if weights.url.rsplit("/", 1)[-1] == file.name), None)
        if declared is not None and hasattr(model, "transform_input"):
            model.transform_input = True  # what torchvision's Inception and GoogLeNet do with these weights
    preset = declared.transforms() if declared is not None else None
    mean, std = _normalisation(getattr(preset, "mean", None), getattr(preset, "std", None)) or (None, None)
    source = _RANDOM if declared is None else f"torchvision {declared}"
    return LoadedModel(model, name, mean, std, source if mean else None, source, declared is None)


def _load_timm(name: str, file: Path | None) -> LoadedModel:
    timm = require("timm", why=f"for timm:{name}", extra="models")
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        raise ModelError(f"timm has no model {plain!r}{_nearest(plain, timm.list_models())}")
    tags = [tag.partition(".")[2] for tag in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise ModelError(f"timm's {plain} has no weights {tag!r}; it has: {', '.join(tags) or 'none'}")
    fetch = bool(tag) and file is None
    model = _build(f"timm:{name}", fetch, lambda: timm.create_model(name, pretrained=fetch))
    mean, std = declared_normalisation(model) or (None, None)
    words = f"timm's pretrained_cfg of {name}" if mean else None
    return LoadedModel(model, name, mean, std, words, f"timm {name}" if fetch else _RANDOM, not fetch)


def _build(what: str, fetches: bool, build: Callable[[], nn.Module]) -> nn.Module:
    """Call a library's builder; say what to do where its weights cannot be fetched."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "the default initialisation will change"
            return build()
    except Exception as error:  # network libraries raise what they like
        if fetches and _is_of_network(error):
            raise ModelError(
                f"the weights of {what} could not be fetched ({first_line(error)}); "
                "get the file on a machine with network access and pass it as --weights FILE"
            ) from error
        raise ModelError(f"{what} could not be built ({first_line(error)})") from error


def _is_of_network(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, comes from fetching a file."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        home = type(error).__module__.partition(".")[0]
        if home in _FETCHING or isinstance(error, OSError):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _meant(spec: str) -> str:
    """What a name without its kind may stand for: a network of torchvision or timm, or a Python file of the user's."""
    proposals = []
    if Path(f"{spec}.py").is_file():
        proposals.append(f"{spec}:NAME, with what the file {spec}.py calls the network")
    for kind, listed in (("torchvision", "torchvision.models"), ("timm", "timm")):
        try:
            names = importlib.import_module(listed).list_models()
        except ImportError:
            continue
        proposals += [f"{kind}:{spec}"] if spec in names else []
    return f"; perhaps {' or '.join(proposals)}" if proposals else ""


def _load_factory(module_name: str, name: str) -> LoadedModel:
    spec = f"{module_name}:{name}"
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = _import(module_name)
        made = _attribute(module, name)
        if not isinstance(made, nn.Module):
            made = _call(made, spec)
    finally:
        sys.path.remove(here)
    if not isinstance(made, nn.Module):
        raise ModelError(f"{spec} must return a torch.nn.Module, and returned a {type(made).__name__}")
    for holder, words in ((made, f"the model of {spec}"), (module, f"the module {module_name}")):
        declared = declared_normalisation(holder)
        if declared is not None:
            return LoadedModel(made, spec, *declared, words, f"the factory {spec}")
    return LoadedModel(made, spec, None, None, None, f"the factory {spec}")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            hint = _nearest(name, ["torchvision", "timm"])
            raise ModelError(f"there is no module {missing!r}{hint}; a model is written {_FORMS}") from error
        raise ModelError(f"importing {name} failed ({first_line(error)})") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's module does on import, sys.exit() included
        raise ModelError(f"importing {name} failed ({_ended(error)})") from error


def _attribute(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as error:
        near = _nearest(name, dir(module)) or _made_there(module)
        raise ModelError(f"{module.__name__} has no {name!r}{near}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may make its attributes when they are asked for
        raise ModelError(f"looking up {name!r} in {module.__name__} failed ({_ended(error)})") from error


def _made_there(module: Any) -> str:
    """Functions and classes that a module defines itself, a few."""
    own = [
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not key.startswith("_")
    ]
    return f"; it defines {', '.join(own[:_SHOWN])}{', ...' * (len(own) > _SHOWN)}" if own else ""


def _call(factory: Any, spec: str) -> Any:
    try:
        return factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's factory can fail in any way, sys.exit() included
        raise ModelError(f"{spec} failed when called without arguments ({_ended(error)})") from error


def _ended(error: BaseException) -> str:
    """An error in one line; of one that ends programs, which says little itself, that it does."""
    words = first_line(error)
    return words if isinstance(error, Exception) else f"it tried to end the program, {words.rstrip(': ')}"


def _normalisation(mean: Any, std: Any) -> tuple[Channels, Channels] | None:
    if not isinstance(mean, Sequence) or not isinstance(std, Sequence) or not 1 <= len(mean) == len(std):
        return None
    if not all(isinstance(number, int | float) for number in (*mean, *std)):
        return None
    return tuple(map(float, mean)), tuple(map(float, std))


def _nearest(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
