"""Neighbours' definitions, worked out from their formulas, beside what padprint gives: `python benchmarks/peers/formulas.py`.

No code of the neighbours is used. Each comparison prints the largest relative difference; all should be rounding.

* receptive field, stride and offset of chains of layers: the recurrences of Araujo et al., Distill 2019 ("Computing
  receptive fields of convolutional neural networks"), which receptive_field (TensorFlow) tabulates;
* partial convolution as padding: Liu et al., arXiv 1811.11718, eq. 2: output times window area over cells that are there;
* meanE and disR: PP-Pad's evaluation by loops over windows and pixels;
* consistency under shifts: Zhang, ICML 2019: how often the top class of two crops of a scene agrees.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import padprint
from padprint.baselines.labels import label_consistency
from padprint.baselines.shifts import shift_consistency
from padprint.padding import convert

SEED = 0


def receptive_fields() -> float:
    """Chains of convolutions and pools: r += (k - 1) j, start += ((k - 1) / 2 - p) j, j *= s."""
    worst = 0.0
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(20):
        layers: list[nn.Module] = []
        channels, field, jump, start = 3, 1, 1, 0.0
        for _ in range(4):
            k = int(torch.randint(1, 6, (), generator=generator))
            s = int(torch.randint(1, 3, (), generator=generator)) if jump < 4 else 1
            p = int(torch.randint(0, k // 2 + 1, (), generator=generator))
            if torch.rand((), generator=generator) < 0.3 and k > 1:
                layers.append(nn.MaxPool2d(k, s, p))
            else:
                layers.append(nn.Conv2d(channels, 4, k, s, p))
                channels = 4
            field, start, jump = field + (k - 1) * jump, start + ((k - 1) / 2 - p) * jump, jump * s
        last = str(len(layers) - 1)
        layer = padprint.trace(nn.Sequential(*layers).eval(), [last], 64)[last]
        if layer.receptive_field != (field, field) or layer.stride != (jump, jump):
            return math.inf
        worst = max(worst, abs(layer.offset[0] - start))
    return worst


def partial_convolution() -> float:
    """A 3 x 3 and a strided 5 x 5 convolution with bias: (conv of zeros outside, without bias) times area over count, plus bias."""
    worst = 0.0
    for k, s, bias in ((3, 1, True), (5, 2, True), (3, 2, False)):
        torch.manual_seed(SEED)
        conv = nn.Conv2d(3, 6, k, s, k // 2, bias=bias).double()
        x = torch.randn(2, 3, 17, 20, dtype=torch.float64)
        there = F.conv2d(
            torch.ones(1, 1, 17, 20, dtype=torch.float64), torch.ones(1, 1, k, k, dtype=torch.float64), None, s, k // 2
        )
        theirs = F.conv2d(x, conv.weight, None, s, k // 2) * (k * k / there)
        if conv.bias is not None:
            theirs = theirs + conv.bias[:, None, None]
        with torch.no_grad():
            ours = convert(nn.Sequential(conv), "partial")(x)
            worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()))
    return worst


def labels() -> float:
    """PP-Pad's meanE and disR: windows from 0 on, pixels [window, size - window), a mean for each image."""
    torch.manual_seed(SEED)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1)).eval()
    images = [torch.randn(3, 30, 34) for _ in range(3)]
    window, step = 10, 2
    totals = []
    for image in images:
        height, width = image.shape[1:]
        count = torch.zeros(5, height, width)
        for y in range(0, height - window + 1, step):
            for x in range(0, width - window + 1, step):
                with torch.no_grad():
                    found = net(image[None, :, y : y + window, x : x + window]).argmax(1)[0]
                count[:, y : y + window, x : x + window] += F.one_hot(found, 5).permute(2, 0, 1)
        inner = count[:, window : height - window, window : width - window].double()
        share = inner / inner.sum(0)
        entropy = -(share * share.clamp_min(1e-300).log2()).sum(0)
        totals.append((float(entropy.mean()), float((entropy > 0).double().mean())))
    layer = label_consistency(net, images, layers=["2"], window=window, step=step)["2"]
    theirs = [sum(one) / len(totals) for one in zip(*totals, strict=True)]
    ours = (layer.mean_entropy.value, layer.disagreeing.value)
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def shifts() -> float:
    """Zhang's rule over all pairs of shifts, against many pairs drawn: the difference in standard errors of the draw."""
    torch.manual_seed(SEED)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(8, 3)
    net, image, crop, shift = nn.Sequential(*body, head).eval(), torch.randn(3, 20, 20), 17, 3
    corners = [(y, x) for y in range(20 - crop + 1) for x in range(20 - crop + 1)]
    with torch.no_grad():
        crops = torch.stack([image[:, y : y + crop, x : x + crop] for y, x in corners])
        head.bias -= head(body(crops)).mean(0)  # no class is the top one throughout
        tops = dict(zip(corners, net(crops).argmax(1).tolist(), strict=True))
    moves = [(y, x) for y in range(shift) for x in range(shift)]
    places = [(y, x) for y in range(20 - crop - shift + 2) for x in range(20 - crop - shift + 2)]
    agree = [tops[y + a, x + b] == tops[y + c, x + d] for y, x in places for a, b in moves for c, d in moves]
    theirs, pairs = sum(agree) / len(agree), 2000
    found = shift_consistency(net, [image], layers=["0"], crop=crop, shift=shift, crops_per_image=pairs)
    if found.classes is None or not 0 < theirs < 1:
        return math.inf
    return abs(found.classes.padded.value - theirs) / math.sqrt(theirs * (1 - theirs) / pairs)


if __name__ == "__main__":
    print(f"receptive field, stride, offset: {receptive_fields():.1e} px")
    print(f"partial convolution: {partial_convolution():.1e} relative")
    print(f"meanE, disR: {labels():.1e} relative")
    print(f"consistency under shifts: {shifts():.1f} standard errors")
