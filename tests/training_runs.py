"""A small training in which everything random happens at once, and what is left of it afterwards."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import padprint.padding as pp
from helpers import noise

OPTIONS: dict[str, Any] = {"layers": ["body.2", "body.6"], "crop": 16, "crops_per_image": 2}
"""For the watch: two layers, few crops."""
STEPS = 7


class Net(nn.Module):
    """BatchNorm, dropout and, once converted, padding with random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv2d(4, 5, 3, padding=1, stride=2),
            nn.BatchNorm2d(5, momentum=None),
            nn.ReLU(),
        )
        self.head = nn.Linear(5, 3)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.body(pixel_values).mean((2, 3)))
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


def network() -> nn.Module:
    """Seeds everything, and gives the network."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return pp.convert(Net(), "randn", seed=3)


class Augmented(Dataset[dict[str, Tensor]]):
    """Images that are flipped, brightened and shifted by three different global generators."""

    def __init__(self) -> None:
        self.images = noise(12, 20, seed=5)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.images[index] + index % 3
        if random.random() < 0.5:
            image = image.flip(-1)
        image = image * float(np.random.uniform(0.8, 1.2))
        y, x = torch.randint(5, (2,)).tolist()
        return {"pixel_values": image[:, y : y + 16, x : x + 16].clone(), "labels": torch.tensor(index % 3)}


class Drawn(Dataset[Tensor]):
    """Scenes to measure that draw from the same generators."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Tensor:
        return torch.randn(3, 40, 40) + random.random() + float(np.random.rand()) + index


def batches() -> DataLoader[dict[str, Tensor]]:
    return DataLoader(Augmented(), batch_size=4, shuffle=True)


def left(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything by which two trainings can differ, as values that compare by bits."""
    found: dict[str, Any] = {f"model {name}": bits(value) for name, value in model.state_dict().items()}
    for i, group in enumerate(optimiser.state_dict()["state"].values()):
        found |= {f"optimiser {i} {name}": bits(value) for name, value in group.items()}
    for name, parameter in model.named_parameters():
        found[f"gradient {name}"] = None if parameter.grad is None else bits(parameter.grad)
    for name, module in model.named_modules():
        found[f"mode {name}"] = module.training
        found[f"hooks {name}"] = len(module._forward_hooks) + len(module._forward_pre_hooks)
        if isinstance(module, pp.Scheme):
            found[f"generator {name}"] = bits(module._generator.get_state())
    found["torch"] = bits(torch.get_rng_state())
    found["numpy"] = str(np.random.get_state())
    found["python"] = random.getstate()
    found["next numbers"] = (torch.rand(1).item(), np.random.rand(), random.random())
    return found


def bits(value: Any) -> bytes:
    return torch.as_tensor(value).detach().contiguous().numpy().tobytes()


def assert_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
