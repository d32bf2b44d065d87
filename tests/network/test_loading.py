"""Models: every way of naming one works, and every way of getting it wrong has one clear line."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import padprint
from helpers import OLD_EXPORT, fresh_module
from padprint.errors import ImagesError, ModelError
from padprint.network.batchnorm import calibrate_batchnorm
from padprint.network.loading import declared_normalisation, load_model
from padprint.network.weights import weights_sha256

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FRESH = (f"factory_module_{number}" for number in count())
FACTORY = """
from torch import nn
CONSTANT = 3
instance = nn.Conv2d(3, 2, 3)
def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
def fails():
    raise RuntimeError("no luck today")
def wrong():
    return 3
"""


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """A fresh module with factories in the current directory."""
    return fresh_module(FRESH, FACTORY, tmp_path, monkeypatch)


class Harmful:
    def __reduce__(self):
        return (exec, ("open('harmed', 'w').close()",))


# ---- factories and exported programs -------------------------------------------------------------------


def test_importing_models_imports_no_model_library():
    code = "import sys, padprint.models; sys.exit('torchvision' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_factory_and_instance_from_the_current_directory(module):
    path = list(sys.path)
    loaded = load_model(f"{module}:small")
    assert isinstance(loaded.model, nn.Sequential)
    assert not any(part.training for part in loaded.model.modules())
    assert (loaded.name, loaded.mean, loaded.std, loaded.normalisation_source) == (
        f"{module}:small",
        None,
        None,
        None,
    )
    assert loaded.weights_source == f"the factory {module}:small"
    assert isinstance(load_model(f"{module}:instance").model, nn.Conv2d)
    assert sys.path == path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}:smal", "has no 'smal'; did you mean small?"),
        ("{}:fails", "failed when called without arguments .RuntimeError: no luck today"),
        ("{}:wrong", "must return a torch.nn.Module, and returned a int"),
        ("{}:CONSTANT", "failed when called without arguments .TypeError"),
        ("{}.inner:small", "there is no module '{}.inner'"),
        ("torchvison:resnet18", "no module 'torchvison'; did you mean torchvision.*package.module:factory"),
        ("{}:unlike", "has no 'unlike'; it defines "),
        ("resnet18", "'resnet18' is no model: write torchvision:NAME"),
        ("{}", "is no model: .*; perhaps {}:NAME, with what the file {}.py calls the network"),
        ("torchvision:", "'torchvision:' is no model"),
        ("gone.pt2", "there is no file 'gone.pt2'"),
    ],
)
def test_bad_specs_are_named(module, spec, message):
    path = list(sys.path)
    with pytest.raises(ModelError, match=message.replace("{}", module)) as caught:
        load_model(spec.format(module))
    assert "\n" not in str(caught.value)
    assert sys.path == path


def test_a_module_that_fails_on_import_is_told_from_a_missing_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for body, message in (
        ("import missing_dependency_x", "missing_dependency_x"),
        ("1 / 0", "ZeroDivisionError"),
    ):
        name = next(FRESH)
        Path(f"{name}.py").write_text(body)
        with pytest.raises(ModelError, match=rf"importing {name} failed .*{message}"):
            load_model(f"{name}:small")


@pytest.mark.skipif(OLD_EXPORT, reason="this torch's unflatten fails on such programs, which padprint says")
def test_exported_program_keeps_names_hooks_and_dynamic_shapes(tmp_path):
    net = nn.Sequential()
    net.add_module("stem", small())
    net.add_module("head", nn.Conv2d(4, 2, 3, stride=2, padding=1))
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        net.eval(), (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = load_model(str(tmp_path / "net.pt2"))
    assert (loaded.name, loaded.weights_source) == ("net", "exported program net.pt2")
    modules = dict(loaded.model.named_modules())
    seen = {}
    for name in ("stem.0", "stem", "head"):
        modules[name].register_forward_hook(lambda m, i, out, name=name: seen.update({name: tuple(out.shape)}))
    x = torch.randn(1, 3, 40, 56)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(x), net(x))
    assert seen == {"stem.0": (1, 4, 40, 56), "stem": (1, 4, 40, 56), "head": (1, 2, 20, 28)}
    assert weights_sha256(loaded.model) == weights_sha256(net)


def test_broken_and_unflattenable_programs(tmp_path, monkeypatch):
    (tmp_path / "junk.pt2").write_text("junk")
    with pytest.raises(ModelError, match=r"junk\.pt2 is not an exported program"):
        load_model(str(tmp_path / "junk.pt2"))
    torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(1),)), tmp_path / "ok.pt2")

    def fails(program):
        raise AssertionError("no module call graph")

    monkeypatch.setattr(torch.export, "unflatten", fails)
    with pytest.raises(ModelError, match=r"ok\.pt2 loads, but .*unflatten fails .*no module call graph"):
        load_model(str(tmp_path / "ok.pt2"))


# ---- weights files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("w.safetensors", None),
        ("w.pth", lambda state: state),
        ("w.pt", lambda state: {"epoch": 3, "state_dict": state}),
        ("w.ckpt", lambda state: {"model": state, "optimizer": {}}),
        ("w.bin", lambda state: {f"module.{key}": value for key, value in state.items()}),
    ],
)
def test_weights_files_are_loaded(module, name, wrap):
    source = small()
    nn.init.normal_(source[1].running_mean)
    if wrap is None:
        safetensors.torch.save_file(source.state_dict(), name)
    else:
        torch.save(wrap(source.state_dict()), name)
    loaded = load_model(f"{module}:small", weights=name)
    assert weights_sha256(loaded.model) == weights_sha256(source)
    assert loaded.weights_source == f"file {name}"


def test_wrong_keys_and_shapes_are_listed(module):
    state = small().state_dict()
    del state["0.weight"]
    torch.save({**state, **{f"extra{number}": torch.zeros(1) for number in range(7)}}, "keys.pth")
    expected = r"1 missing keys \(0\.weight\) and 7 unexpected keys \(extra0, .*extra4, \.\.\.\)"
    with pytest.raises(ModelError, match=rf"keys\.pth does not fit {module}:small: {expected}"):
        load_model(f"{module}:small", "keys.pth")
    torch.save({**small().state_dict(), "0.bias": torch.zeros(5)}, "shape.pth")
    with pytest.raises(ModelError, match=r"shape\.pth does not fit .*1 of another shape: size mismatch for 0\.bias"):
        load_model(f"{module}:small", "shape.pth")


def test_pickles_with_code_are_refused_and_not_run(module):
    torch.save({"state_dict": Harmful()}, "zip.pth")
    Path("plain.pth").write_bytes(pickle.dumps(Harmful(), protocol=2))
    torch.save(small(), "module.pth")
    for name, asked in (("zip.pth", "exec"), ("plain.pth", "exec"), ("module.pth", "torch.nn")):
        with pytest.raises(ModelError, match=rf"{name} is refused .it asks Python for .*{asked}.*does not run code"):
            load_model(f"{module}:small", name)
    assert not Path("harmed").exists()


def test_files_that_are_no_weights(module):
    Path("text.pth").write_text("hello")
    Path("text.safetensors").write_text("hello hello hello")
    torch.save({"epoch": 3, "lr": 0.1}, "log.pth")
    torch.save([torch.zeros(1)], "list.pth")
    for name, message in (
        ("text.pth", "cannot be read as a weights file"),
        ("text.safetensors", "cannot be read as a weights file"),
        ("log.pth", r"holds no state dict \(keys: epoch, lr\)"),
        ("list.pth", r"holds no state dict \(list\)"),
    ):
        with pytest.raises(ModelError, match=rf"{name} {message}"):
            load_model(f"{module}:small", name)
    with pytest.raises(ModelError, match=r"no weights file 'gone\.pth'"):
        load_model(f"{module}:small", "gone.pth")


# ---- normalisation -------------------------------------------------------------------------------------


def test_declared_normalisation():
    net = nn.ReLU()
    assert declared_normalisation(net) is None
    net.default_cfg = {"mean": IMAGENET[0], "std": list(IMAGENET[1])}
    assert declared_normalisation(net) == IMAGENET
    net.pretrained_cfg = {"mean": (0.5,), "std": (0.5, 0.5)}
    assert declared_normalisation(net) == IMAGENET
    net.pretrained_cfg = {"mean": (0.5,), "std": (0.5,)}
    assert declared_normalisation(net) == ((0.5,), (0.5,))


# ---- weights and statistics ----------------------------------------------------------------------------


def test_sha_depends_on_values_names_dtypes_and_nothing_else():
    net = small()
    before = weights_sha256(net)
    assert before == weights_sha256(net.to(memory_format=torch.channels_last))
    assert len(before) == 64
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] += 1e-4
    changed = weights_sha256(net)
    assert weights_sha256(net.bfloat16()) not in (before, changed)
    net = small()
    net.load_state_dict(small().state_dict())
    net[1].num_batches_tracked += 1
    assert weights_sha256(net) != weights_sha256(small())


def test_batchnorm_calibration_matches_hand_computed_statistics():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3)).train()
    net[2].eval()
    images = [torch.randn(3, 6, 6) * 2 + 1 for _ in range(4)] + [torch.randn(3, 5, 9) for _ in range(2)]
    flags = [part.training for part in net.modules()]
    calibrate_batchnorm(net, iter(images), batch_size=2)
    batches = [torch.stack(images[:2]), torch.stack(images[2:4]), torch.stack(images[4:])]
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    var = torch.stack([batch.var((0, 2, 3), unbiased=True) for batch in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, mean)
    torch.testing.assert_close(net[0].running_var, var)

    with torch.no_grad():  # the second layer sees the first in training mode, and no dropout
        deep = [net[2](nn.functional.batch_norm(batch, None, None, training=True)) for batch in batches]
    torch.testing.assert_close(net[3].running_mean, torch.stack([d.mean((0, 2, 3)) for d in deep]).mean(0))
    torch.testing.assert_close(net[3].running_var, torch.stack([d.var((0, 2, 3)) for d in deep]).mean(0))
    assert [part.training for part in net.modules()] == flags
    assert (net[0].momentum, net[3].momentum) == (0.1, 0.3)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_failed_calibration_leaves_the_model_as_found():
    net = small().train()
    net[2].eval()
    nn.init.normal_(net[1].running_mean)
    before, flags = weights_sha256(net), [part.training for part in net.modules()]

    def images():
        yield torch.randn(3, 8, 8)
        yield torch.randn(3, 9, 9)
        raise OSError("disk gone")

    with pytest.raises(OSError, match=r"disk gone"):
        calibrate_batchnorm(net, images())
    with pytest.raises(ImagesError, match=r"no images to calibrate"):
        calibrate_batchnorm(net, [])
    with pytest.raises(ImagesError, match=r"more than 1 value per channel.*two or more images of one size"):
        calibrate_batchnorm(net, [torch.randn(3, 1, 1)])
    assert weights_sha256(net) == before
    assert [part.training for part in net.modules()] == flags
    assert net[1].momentum == 0.1
    with pytest.raises(ModelError, match=r"Conv2d has no BatchNorm layer"):
        calibrate_batchnorm(nn.Conv2d(3, 3, 1), [torch.randn(3, 8, 8)])


def own_module(tmp_path: Path, text: str, monkeypatch) -> None:
    (tmp_path / "ownnet.py").write_text("from torch import nn\n" + text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ownnet", raising=False)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("mean, std = [0.1, 0.2, 0.3], (1, 2, 3)\nmake = lambda: nn.Conv2d(3, 4, 3, padding=1)", "the module ownnet"),
        (
            "class Net(nn.Conv2d):\n    mean, std = (0.1, 0.2, 0.3), [1.0, 2.0, 3.0]\nmake = lambda: Net(3, 4, 3, padding=1)",
            "the model of ownnet:make",
        ),
    ],
)
def test_a_factory_says_how_its_images_are_normalised(tmp_path: Path, monkeypatch, text: str, source: str) -> None:
    own_module(tmp_path, text, monkeypatch)
    loaded = load_model("ownnet:make")
    assert (loaded.mean, loaded.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert loaded.normalisation_source == source
    assert declared_normalisation(loaded.model) == (loaded.mean, loaded.std)


def test_tensors_named_mean_normalise_inside(tmp_path: Path, monkeypatch) -> None:
    text = """
import torch
class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 4, 3, padding=1)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))
"""
    own_module(tmp_path, text, monkeypatch)
    assert load_model("ownnet:Net").mean is None


def test_public_functions_take_names(tmp_path: Path, monkeypatch) -> None:
    own_module(tmp_path, "mean, std = [0.5] * 3, [0.25] * 3\nmake = lambda: nn.Conv2d(3, 4, 3, padding=1)", monkeypatch)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    options = {"crop": 8, "crops_per_image": 2}
    by_name = padprint.measure("ownnet:make", pixels, **options)
    again = padprint.measure("ownnet:make", pixels, **options)
    (name,) = by_name
    assert by_name.provenance["model"] == "ownnet:make"
    assert by_name[name].snr == again[name].snr  # random weights of one seed
    assert padprint.trace("ownnet:make", crop=8)[name].rim == (1, 1, 1, 1)
    assert len(padprint.inspect("ownnet:make", 8)) == 1
    assert len(padprint.compare("ownnet:make", pixels, ["own", "reflect"], **options)) == 2
    assert padprint.halo("ownnet:make", pixels, tile=8, tolerance=0.5)
    with pytest.raises(ModelError, match=r"a model is a torch.nn.Module or a name .* and this is a int"):
        padprint.measure(3, pixels, **options)
