"""Exported programs (`torch.export.save`): what is in the archive is checked before torch is given a clean copy of it.

Loading a program, torch unpickles what its archive says, hands its size expressions to sympy, which evaluates them as
Python, looks up its operators by dotted name, writes Python source with its names, and loads libraries compiled ahead of
time. A program for measuring needs none of that beyond names, arithmetic and tensors.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import math
import operator
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from padprint.errors import ModelError
from padprint.network.weights import plain
from padprint.support.wording import first_line

_OUT = "padprint does not run code from an exported program; pass the model itself as package.module:factory"
_KEPT = re.compile(r"(archive_format|archive_version|byteorder|version|\.data/(version|serialization_id))")
_GRAPH = re.compile(r"models/[^/]+\.json|serialized_exported_program\.json")
_LISTS = re.compile(r"data/(weights|constants)/\w+_config\.json")
_PICKLES = re.compile(r"data/(weights|constants|sample_inputs)/[^/]+\.pt|serialized_\w+\.(pt|json)")
_TENSORS = re.compile(r"data/(weights|constants)/(weight|tensor)_\d+")

_NAME = re.compile(r"[\w.]*")  # ends up in Python source
_PATH = re.compile(r"[\w.,;:@<>()\[\]'/ +=|-]*")  # of a module, a type, a version: read, or quoted with "
_FREE = {"as_string", "as_strings", "equation"}  # operands, of which Python's repr makes source
_DROPPED = {"stack_trace", "custom", "from_node", "guards_code"}  # nothing that runs a network needs them
_PATHS = {"nn_module_stack", "source_fn_stack", "torch_fn", "torch_version", "class_fqn", "fqn"}
_PATHS |= {"parameter_name", "buffer_name", "tensor_constant_name"}
_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", "collections.namedtuple"}

_ARITHMETIC = "add sub mul floordiv truediv mod pow neg pos abs eq ne lt le gt ge and_ or_ not_ getitem"
_SYMBOLIC = "sym_int sym_float sym_max sym_min sym_not sym_ite sym_sum _sym_sqrt"
_FUNCTIONS = {
    *(f"{operator.add.__module__}.{name}" for name in _ARITHMETIC.split()),
    *(f"math.{name}" for name in dir(math) if not name.startswith("_")),
    *(f"torch.{name}" for name in _SYMBOLIC.split()),
}
_BLOCKS = {"cond", "while_loop", "wrap_with_set_grad_enabled", "wrap_with_autocast"}
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims|torchvision)\.(\w+)\.(\w+)")
_WITH_FILES = {"from_file"}
_OF_SIZES = (
    "FloorDiv CleanDiv CeilDiv ModularIndexing PythonMod Mod IntTrueDiv FloatTrueDiv CeilToInt FloorToInt TruncToInt "
    "RoundToInt TruncToFloat ToFloat Identity Where Max Min Abs floor ceiling Eq Ne Lt Le Gt Ge And Or Not Equality "
    "Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan Integer Rational Add Mul Pow"
)
_CALLED = set(_OF_SIZES.split())


def load_program(path: Path) -> nn.Module:
    """The network in an exported program, its layers under their dotted names.

    Raises:
        ModelError: no such file, no exported program, one that would run code, or one whose layers cannot be told apart.
    """
    if not path.is_file():
        raise ModelError(f"there is no file {str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path.name} is not an exported program: write it with torch.export.save")
    try:
        archive = _clean_copy(path)
        with _cause_kept(), _about_itself():
            program = torch.export.load(archive)
    except ModelError:
        raise
    except Exception as error:  # torch raises what the file's contents lead it to
        raise ModelError(f"{path.name} could not be loaded as an exported program ({first_line(error)})") from error
    try:
        with _about_itself():
            return torch.export.unflatten(program)
    except Exception as error:
        raise ModelError(
            f"{path.name} loads, but its layers cannot be told apart: torch.export.unflatten fails "
            f"({first_line(error)}); pass the model itself as package.module:factory"
        ) from error


@contextmanager
def _about_itself() -> Iterator[None]:
    """Without torch's warnings about what it will do otherwise some day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _cause_kept() -> Iterator[None]:
    """Raise what torch only logs: `torch.export.load` hides an error behind one that points at the log."""
    logger, logged = logging.getLogger("torch.export"), []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            logged.append(record.exc_info[1])
        return False

    logger.addFilter(keep)
    try:
        yield
    except Exception as error:
        raise logged[0] if logged else error from error
    finally:
        logger.removeFilter(keep)


# ---------------------------------------------------------------------------------------------------- the archive


def _clean_copy(path: Path) -> io.BytesIO:
    """A copy with the parts that were checked, and no others, so that no other reader can take the archive for something else.

    Raises:
        ModelError: a part would run code.
    """
    copied = io.BytesIO()
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(copied, "w") as clean:
        infos = [info for info in given.infolist() if not info.is_dir()]
        names = [info.filename for info in infos]
        if len(set(names)) < len(names) or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ModelError(f"{path.name} was not written by torch.export.save: it has compressed or repeated parts")
        roots = {name.partition("/")[0] for name in names}
        root = f"{roots.pop()}/" if len(roots) == 1 else ""
        parts = {name.removeprefix(root): name for name in names}
        pickled = {
            f"{part.rpartition('/')[0]}/{entry.get('path_name')}"
            for part, name in parts.items()
            if _LISTS.fullmatch(part)
            for entry in json.loads(given.read(name)).get("config", {}).values()
            if entry.get("use_pickle")
        }
        for part, name in parts.items():
            content = _checked_part(part, given.read(name), f"{path.name}: {part}", part in pickled)
            if content is not None:
                clean.writestr(name, content)
    copied.seek(0)
    return copied


def _checked_part(part: str, content: bytes, what: str, pickled: bool) -> bytes | None:
    """A part's content as torch may have it; None for a part that is not needed."""
    if _GRAPH.fullmatch(part) or _LISTS.fullmatch(part):
        return json.dumps(_checked(json.loads(content), "", what)).encode()
    if _PICKLES.fullmatch(part) or (_TENSORS.fullmatch(part) and pickled):
        if content:
            plain(content, what, _OUT)
        return content
    if _TENSORS.fullmatch(part):
        return content
    if part.startswith(("data/aotinductor/", "data/weights/", "data/constants/")):
        raise ModelError(f"{what} is refused, it holds code or objects of classes: {_OUT}")
    return content if _KEPT.fullmatch(part) else None


# ------------------------------------------------------------------------------------------------------ the graph


def _checked(value: Any, key: str, what: str) -> Any:
    """A JSON value in which every text is what its key allows.

    Raises:
        ModelError: one is not.
    """
    if isinstance(value, dict):
        for name in value:
            _demand((_PATH if key == "config" else _NAME).fullmatch(name), name, "is no name", what)
        return {name: _checked(entry, name, what) for name, entry in value.items() if name not in _DROPPED} | {
            name: [] for name in value if name == "guards_code"
        }
    if isinstance(value, list):
        return [_checked(entry, key, what) for entry in value]
    if not isinstance(value, str) or key in _FREE:
        return value
    if key in ("target", "as_operator"):
        _demand(_is_operator(value), value, "is no operator of a network", what)
    elif key == "expr_str":
        _demand(is_arithmetic(value), value, "is more than arithmetic with sizes", what)
    elif key in ("in_spec", "out_spec"):
        _demand(_is_tree(value, _NAME if key == "in_spec" else _PATH), value, "is no plain container", what)
    else:
        _demand((_PATH if key in _PATHS else _NAME).fullmatch(value), value, "is no name", what)
    return value


def _demand(value: object, text: str, problem: str, what: str) -> None:
    if not value:
        short = text if len(text) <= 80 else f"{text[:80]}..."
        raise ModelError(f"{what} is refused, {short!r} {problem}: {_OUT}")


def _is_operator(target: str) -> bool:
    if target in _FUNCTIONS or target.removeprefix("torch.ops.higher_order.") in _BLOCKS:
        return True
    named = _OPERATOR.fullmatch(target)
    if named is None or named[2] in _WITH_FILES:
        return False
    value: Any = torch.ops
    for name in named.groups():
        value = getattr(value, name, None)
    return isinstance(value, torch._ops.OpOverload)


def is_arithmetic(text: str) -> bool:
    """Whether an expression is arithmetic over numbers, symbols and torch's own functions of sizes, and nothing else.

    As people write it, or as sympy's `srepr` does: ``Add(Symbol('s0', integer=True), Integer(1))``.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return len(text) < 5000 and _is_term(tree.body)


def _is_term(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float, bool)
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _is_call(node.func.id, node.args, node.keywords)
    parts: list[ast.expr] = []
    if isinstance(node, ast.BinOp):
        allowed = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
        power = isinstance(node.op, ast.Pow) and _is_small_power(node.left, node.right)
        parts = [node.left, node.right] if power or isinstance(node.op, allowed) else []
    elif isinstance(node, ast.UnaryOp):
        parts = [node.operand]
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    return bool(parts) and all(map(_is_term, parts))


def _is_call(name: str, given: list[ast.expr], options: list[ast.keyword]) -> bool:
    values = [node.value for node in given if isinstance(node, ast.Constant)]
    settings = [option.value.value if isinstance(option.value, ast.Constant) else None for option in options]
    if name in ("Symbol", "Float"):  # Symbol('s0', integer=True), Float('0.5', precision=53)
        spelled = re.compile(r"\w+" if name == "Symbol" else r"[-+\d.eE]+")
        texts = [text for text in values if isinstance(text, str) and spelled.fullmatch(text)]
        return len(texts) == len(given) == 1 and all(
            isinstance(setting, int) and setting < 1000 for setting in settings
        )
    if name not in _CALLED or options or not all(map(_is_term, given)):
        return False
    return name != "Pow" or (len(given) == 2 and _is_small_power(*given))


def _is_small_power(base: ast.expr, power: ast.expr) -> bool:
    """A power that does not take long to work out: a small one, of what has no power in it."""
    if isinstance(power, ast.Call) and len(power.args) == 1:
        power = power.args[0]  # Integer(2)
    if isinstance(power, ast.UnaryOp) and isinstance(power.op, ast.USub):
        power = power.operand
    powers = [
        node
        for node in ast.walk(base)
        if isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id == "Pow")
    ]
    return isinstance(power, ast.Constant) and power.value in range(64) and not powers


def _is_tree(text: str, names: re.Pattern[str]) -> bool:
    """Whether a tree of containers has only tuples, lists and dicts, whose keys are names."""

    def is_key(value: Any) -> bool:
        if isinstance(value, list):
            return all(map(is_key, value))
        return bool(names.fullmatch(value)) if isinstance(value, str) else not isinstance(value, dict)

    def is_node(node: Any) -> bool:
        if not isinstance(node, dict) or node.get("type") not in _TREES:
            return False
        context, children = node.get("context"), node.get("children_spec")
        if context is not None and not is_key(json.loads(context)):
            return False
        return isinstance(children, list) and all(map(is_node, children))

    try:
        _, tree = json.loads(text)
        return is_node(tree)
    except (ValueError, TypeError, RecursionError):
        return False
