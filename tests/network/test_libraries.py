"""Names of torchvision's and timm's networks and weights."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torch import nn

from padprint.errors import ModelError
from padprint.network.loading import declared_normalisation, load_model
from padprint.network.weights import weights_sha256

models = pytest.importorskip("torchvision.models", reason="its names are loaded: padprint[models]")
timm = pytest.importorskip("timm", reason="its names are loaded: padprint[models]")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_torchvision_random_weights():
    loaded = load_model("torchvision:squeezenet1_1")
    assert type(loaded.model).__name__ == "SqueezeNet"
    assert (loaded.name, loaded.mean, loaded.weights_source) == (
        "squeezenet1_1",
        None,
        "random initialisation",
    )
    dense = load_model("torchvision:lraspp_mobilenet_v3_large")  # would download a backbone if it were let
    assert "backbone" in dict(dense.model.named_children())


def test_torchvision_weights_declare_their_normalisation(monkeypatch, tmp_path):
    state = models.squeezenet1_1(weights=None).state_dict()
    monkeypatch.setattr(models._api, "load_state_dict_from_url", lambda url, *a, **k: state)
    for tag in ("DEFAULT", "IMAGENET1K_V1"):
        loaded = load_model(f"torchvision:squeezenet1_1@{tag}")
        assert (loaded.mean, loaded.std) == IMAGENET
        assert loaded.weights_source == "torchvision SqueezeNet1_1_Weights.IMAGENET1K_V1"
        assert loaded.normalisation_source == loaded.weights_source
        assert weights_sha256(loaded.model) == weights_sha256(squeezenet_with(state))

    official = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    for name, expected in ((official, IMAGENET[0]), ("mine.pth", None)):
        torch.save(state, tmp_path / name)
        loaded = load_model("torchvision:squeezenet1_1", tmp_path / name)
        assert (loaded.mean, loaded.weights_source) == (expected, f"file {name}")
        assert (loaded.normalisation_source is None) == (expected is None)


def squeezenet_with(state):
    model = models.squeezenet1_1(weights=None)
    model.load_state_dict(state)
    return model


def test_torchvision_files_with_old_densenet_keys_and_auxiliary_heads(tmp_path):
    state = models.densenet121(weights=None).state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "dense.pth")
    load_model("torchvision:densenet121", tmp_path / "dense.pth")
    dense = models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    torch.save(dense.state_dict(), tmp_path / "fcn.pth")
    loaded = load_model("torchvision:fcn_resnet50", tmp_path / "fcn.pth")
    assert weights_sha256(loaded.model) == weights_sha256(dense)


def test_unknown_names_and_weights(tmp_path):
    with pytest.raises(ModelError, match=r"'resnet18' is no model: .*; perhaps torchvision:resnet18 or timm:resnet18"):
        load_model("resnet18")
    with pytest.raises(ModelError, match=r"torchvision has no model 'resnet5O'; did you mean resnet50"):
        load_model("torchvision:resnet5O")
    with pytest.raises(ModelError, match=r"resnet18 has no weights 'V9'; it has: IMAGENET1K_V1"):
        load_model("torchvision:resnet18@V9")
    with pytest.raises(ModelError, match=r"timm has no model 'resnet8'; did you mean .*resnet18"):
        load_model("timm:resnet8")
    with pytest.raises(ModelError, match=r"resnet18 has no weights 'nope'; it has: .*a1_in1k"):
        load_model("timm:resnet18.nope")
    torch.save(nn.Conv2d(3, 4, 1).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"give one of the two"):
        load_model("torchvision:resnet18@DEFAULT", tmp_path / "w.pth")


def test_failed_downloads_say_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("name resolution failed")

    monkeypatch.setattr(models._api, "load_state_dict_from_url", offline)
    monkeypatch.setattr(timm, "create_model", offline)
    for spec in ("torchvision:squeezenet1_1@DEFAULT", "timm:resnet18.a1_in1k"):
        with pytest.raises(ModelError, match=rf"weights of {spec.split('@')[0]} could not be fetched.*--weights FILE"):
            load_model(spec)


@pytest.mark.skipif(
    "test_resnet" not in timm.list_models("test_*"), reason="this timm has no small network with its own normalisation"
)
def test_timm_random_weights_and_normalisation(tmp_path):
    loaded = load_model("timm:test_resnet")
    assert loaded.weights_source == "random initialisation"
    assert (loaded.mean, loaded.std) == declared_normalisation(loaded.model)
    assert loaded.normalisation_source == "timm's pretrained_cfg of test_resnet"
    torch.save(loaded.model.state_dict(), tmp_path / "w.pth")
    tagged = load_model("timm:test_resnet.r160_in1k", tmp_path / "w.pth")  # the file, no download
    assert weights_sha256(tagged.model) == weights_sha256(loaded.model)
    assert tagged.mean == loaded.mean
