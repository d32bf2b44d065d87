"""The network of the larger formation study that torchvision does not have as it is needed."""

import torchvision
from torch import nn


def vgg11_bn() -> nn.Module:
    """VGG-11 with BatchNorm's features, a global mean and a linear classifier of twelve photographs; random weights."""
    features = torchvision.models.vgg11_bn(weights=None).features
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 12))
