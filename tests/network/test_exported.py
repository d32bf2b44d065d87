"""Exported programs: what would run code while it is loaded is refused, and never runs; what is plain is loaded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import OLD_EXPORT
from padprint.errors import ModelError
from padprint.network.exported import is_arithmetic
from padprint.network.loading import load_model

BAD = "__import__('os').mkdir('harmed')"


class Harmful:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harmed",)


class Outputs(nn.Module):
    """Named and nested outputs, a tensor that is no parameter, an operand that is text, sizes, and a block of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.shift = torch.ones(4, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = nn.functional.interpolate(self.stem(x) + self.shift, size=x.shape[-2:], mode="bilinear")
        with torch.no_grad():
            mean = torch.einsum("bchw->bc", y)
        return {"out": y, "aux head": [mean, y.reshape(y.shape[0], -1)]}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts of a program's archive, by name."""
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        Outputs().eval(), (torch.randn(2, 3, 16, 16),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    if not any(name.endswith("archive_format") for name in found):
        pytest.skip("this torch writes the older archives")
    return found


Parts = dict[str, bytes]


def part(parts: Parts, ending: str) -> str:
    (found,) = (name for name in parts if name.endswith(ending))
    return found


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def in_part(ending: str, content: bytes) -> Callable[[Parts], None]:
    return lambda parts: parts.update({part(parts, ending): content})


def edited(ending: str, edit: Callable[[Any], object]) -> Callable[[Parts], None]:
    """Changes a JSON part."""

    def change(parts: Parts) -> None:
        name = part(parts, ending)
        document = json.loads(parts[name])
        edit(document)
        parts[name] = json.dumps(document).encode()

    return change


def graph(edit: Callable[[Any], object]) -> Callable[[Parts], None]:
    return edited("models/model.json", lambda document: edit(document["graph_module"]))


def sizes(expression: str) -> Callable[[Parts], None]:
    """Puts an expression into the first size that is one."""

    def edit(module: Any) -> None:
        for value in module["graph"]["sym_int_values"].values():
            value["as_expr"]["expr_str"] = expression
            return

    return graph(edit)


def renamed(module: Any) -> None:
    """An input whose name is Python."""
    text = json.dumps(module)
    module.update(json.loads(text.replace('"x"', json.dumps(f"x=({BAD})"))))


def both(*changes: Callable[[Parts], None]) -> Callable[[Parts], None]:
    return lambda parts: [change(parts) for change in changes] and None


def weights_with_pickle(parts: Parts) -> None:
    edited("model_weights_config.json", lambda d: d["config"]["stem.weight"].update(use_pickle=True))(parts)
    in_part("data/weights/weight_0", pickled(Harmful()))(parts)


def added(name: str, content: bytes) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        root = next(iter(parts)).partition("/")[0]
        parts[f"{root}/{name}"] = content

    return change


def spec(text: str) -> Callable[[Parts], None]:
    return graph(lambda module: module["module_call_graph"][0]["signature"].update(in_spec=text))


def enum_spec(module: Any) -> None:
    """A dict whose key is looked up in a module that is imported for it."""
    signature = module["module_call_graph"][0]["signature"]
    key = json.dumps([{"__enum__": True, "fqn": "os:mkdir", "name": "harmed"}])
    signature["in_spec"] = signature["in_spec"].replace('"[]"', json.dumps(key))


HOSTILE = {
    "sample inputs": (in_part("sample_inputs/model.pt", pickled(((Harmful(),), {}))), "it asks Python for .*mkdir"),
    "weights": (weights_with_pickle, "it asks Python for .*mkdir"),
    "old weights": (added("data/weights/model.pt", pickled(Harmful())), "it asks Python for .*mkdir"),
    "old constants": (added("data/constants/model.pt", pickled(Harmful())), "it asks Python for .*mkdir"),
    "opaque constant": (added("data/constants/opaque_obj_0", b"..."), "holds code or objects of classes"),
    "custom constant": (added("data/constants/custom_obj_0", b"..."), "holds code or objects of classes"),
    "library": (added("data/aotinductor/model/net.so", b"..."), "holds code or objects of classes"),
    "size": (sizes(BAD), "is more than arithmetic with sizes"),
    "size by attribute": (sizes("Symbol('s0').__class__"), "is more than arithmetic"),
    "endless size": (sizes("Pow(Integer(9), Integer(999999999999))"), "is more than arithmetic"),
    "operator": (graph(lambda m: m["graph"]["nodes"][0].update(target="torch.os.mkdir")), "'torch.os.mkdir' is no op"),
    "library by operator": (
        graph(lambda m: m["graph"]["nodes"][0].update(target="torch.ops.load_library")),
        "'torch.ops.load_library' is no operator",
    ),
    "attribute of an operator": (
        graph(lambda m: m["graph"]["nodes"][0].update(target="torch.ops.aten.conv2d.__class__")),
        "is no operator",
    ),
    "file operator": (
        graph(lambda m: m["graph"]["nodes"][0].update(target="torch.ops.aten.from_file.default")),
        "is no operator",
    ),
    "name": (graph(renamed), "is no name"),
    "key": (graph(lambda m: m["graph"]["tensor_values"].update({f"x=({BAD})": {}})), "is no name"),
    "module": (
        graph(lambda m: m["graph"]["nodes"][0]["metadata"].update(nn_module_stack=f'a,b"+{BAD}+",c')),
        "is no name",
    ),
    "container": (spec('[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'), "container"),
    "key of a container": (graph(enum_spec), "is no plain container"),
    "no container": (spec(BAD), "is no plain container"),
}


def write(parts: Parts, path: Path, how: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return str(path)


@pytest.mark.parametrize("name", HOSTILE)
def test_code_in_an_archive_is_refused_and_not_run(
    name: str, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, words = HOSTILE[name]
    changed = dict(parts)
    change(changed)
    assert changed != parts
    with pytest.raises(ModelError, match=rf"^net\.pt2: .* is refused.*{words}") as caught:
        load_model(write(changed, tmp_path / "net.pt2"))
    assert "does not run code from an exported program; pass the model itself" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "net.pt2"]


OLD = ("serialized_state_dict.pt", "serialized_constants.pt", "serialized_example_inputs.pt")


@pytest.mark.parametrize("bad", [*OLD, "serialized_state_dict.json", "serialized_constants.json"])
def test_code_in_an_older_archive_is_refused_and_not_run(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = json.dumps({"graph_module": {}}).encode()
    older = {"version": b"8.1", "serialized_exported_program.json": program}
    older |= dict.fromkeys(OLD, pickled({})) | {bad: pickled(Harmful())}
    with pytest.raises(
        ModelError, match=rf"^net\.pt2: {bad} is refused \(it asks Python for .*mkdir\): padprint does not"
    ):
        load_model(write(older, tmp_path / "net.pt2"))
    assert list(tmp_path.iterdir()) == [tmp_path / "net.pt2"]


def test_the_hostile_archives_do_run_code_in_torch(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would refuse what is harmless."""
    monkeypatch.chdir(tmp_path)
    for name in ("sample inputs", "weights", "size"):
        changed = dict(parts)
        HOSTILE[name][0](changed)
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # by then it has run
            warnings.simplefilter("ignore")
            torch.export.load(write(changed, tmp_path / "net.pt2"))
        assert Path("harmed").is_dir(), name
        Path("harmed").rmdir()


def test_parts_that_nobody_needs_are_left_out(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed = dict(parts)
    for change in (
        added("extra/notes.txt", b"..."),
        edited("models/model.json", lambda document: document.update(guards_code=[BAD])),
        graph(lambda module: module["graph"]["nodes"][0]["metadata"].update(stack_trace=f'"); {BAD}', custom=BAD)),
    ):
        change(changed)
    loaded = load_model(write(changed, tmp_path / "net.pt2"))
    assert "stem" in dict(loaded.model.named_modules())
    loaded.model(torch.randn(1, 3, 16, 16))
    assert not Path("harmed").exists()


@pytest.mark.skipif(OLD_EXPORT, reason="this torch's unflatten fails on such programs, which padprint says")
def test_a_plain_program_keeps_its_outputs_and_sizes(tmp_path: Path) -> None:
    net = Outputs().eval()
    auto = torch.export.Dim.AUTO
    x = torch.randn(2, 3, 16, 16)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    torch.export.save(program, tmp_path / "net.pt2", extra_files={"notes.txt": "mine"})
    loaded = load_model(str(tmp_path / "net.pt2"))
    for size in ((16, 16), (20, 28)):
        x = torch.randn(2, 3, *size)
        found, expected = loaded.model(x), net(x)
        assert list(found) == ["out", "aux head"]
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif(OLD_EXPORT, reason="this torch's unflatten fails on such programs, which padprint says")
def test_layers_may_have_any_name_that_is_no_code(tmp_path: Path) -> None:
    net = nn.Sequential()
    for name in ("conv-1", "block 2", "größe"):
        net.add_module(name, nn.Conv2d(3, 3, 3, padding=1))
    torch.export.save(torch.export.export(net.eval(), (torch.randn(2, 3, 8, 8),)), tmp_path / "net.pt2")
    loaded = load_model(str(tmp_path / "net.pt2"))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(loaded.model(x), net(x))
    assert set(loaded.model.state_dict()) == set(net.state_dict())


def test_archives_that_were_repacked_or_repeat_a_part(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.pt2 was not written by torch\.export\.save: it has compressed"):
        load_model(write(parts, tmp_path / "net.pt2", zipfile.ZIP_DEFLATED))
    path = tmp_path / "twice.pt2"
    write(parts, path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(part(parts, "models/model.json"), b"{}")
    with pytest.raises(ModelError, match=r"twice\.pt2 was not written by torch\.export\.save.*repeated parts"):
        load_model(str(path))


def test_what_torch_says_is_kept(parts: Parts, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Torch logs the cause and raises an error that points at the log."""
    changed = dict(parts)
    graph(lambda module: module["graph"]["nodes"][0]["inputs"][0].update(arg={"as_tensor": {"name": "nobody"}}))(
        changed
    )
    with pytest.raises(ModelError, match=r"net\.pt2 could not be loaded as an exported program \(.*nobody"):
        load_model(write(changed, tmp_path / "net.pt2"))
    for ending in ("archive_version", "models/model.json"):
        changed = {name: content for name, content in parts.items() if not name.endswith(ending)}
        with pytest.raises(ModelError, match=r"net\.pt2 could not be loaded as an exported program") as caught:
            load_model(write(changed, tmp_path / "net.pt2"))
        assert "check the warnings" not in str(caught.value).lower() or ending == "models/model.json"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s0 + 1",
        "(s0 - 1)//2 + 1",
        "s0**2",
        "-s0",
        "Max(1, s0)",
        "Eq(s0, 3)",
        "(s0 > 2) & (s1 < 4)",
        "FloorDiv(s0, 2)",
        "Symbol('s0', positive=True, integer=True)",
        "Add(Mul(Integer(-1), Symbol('s0')), Pow(Symbol('s1', integer=True), Integer(2)))",
        "Pow(Symbol('s1'), Integer(-1))",
        "Float('0.5', precision=53)",
        "Rational(1, 2)",
        "1.5",
    ],
)
def test_arithmetic(text: str) -> None:
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        BAD,
        "",
        "s0;s1",
        "x.y",
        "x[0]",
        "'text'",
        "[s0]",
        "lambda: 0",
        "(y := 3)",
        "s0 if s1 else s2",
        "f(s0)",
        "open('file')",
        "Symbol(open('file'))",
        "Symbol('s0', open('file'))",
        "Symbol('s0', integer=open('file'))",
        "Symbol('s0)+f(')",
        "Symbol(*s0)",
        "Max(s0, *s1)",
        "Max(key=s0)",
        "Float('f(x)')",
        "Float('1', precision=10000000)",
        "Integer('9')",
        "9**9**9**9",
        "(s0**60)**60",
        "2**100",
        "Pow(Integer(9), Integer(10000000))",
        "Pow(Pow(Integer(9), Integer(60)), Integer(60))",
        "s0 << 100000000",
        "__builtins__",
        "(" * 3000 + "s0" + ")" * 3000,
        "1+" * 5000 + "1",
        "\0",
    ],
)
def test_more_than_arithmetic(text: str) -> None:
    assert not is_arithmetic(text)
