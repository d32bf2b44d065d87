"""The words of the pages: what each means, and texts in which they are explained where they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

GLOSSARY: Mapping[str, str] = {
    "padding": "The values a network puts around its maps so that windows at the border are full; zeros, most often.",
    "pattern": "What padding adds to a layer's features that is the same for every image, cell by cell and channel by "
    "channel. From it the network can tell where it is in the frame. Lin et al. (2023) named it PPP.",
    "print": "The pattern's size in units of the features, over all layers that were compared.",
    "relative size": "The pattern's size (root mean square) as a share of the features' own size.",
    "noise": "How much the change made by padding differs from image to image.",
    "response": "The whole change that padding makes, with what differs from image to image.",
    "SNR": "The pattern's energy over that of the noise. Where it is not clearly above zero, no pattern stands out.",
    "95 % interval": "Where the number would fall for other images of this kind, 95 times in 100.",
    "rim": "The cells near the border that padding can touch at all, by the network's structure.",
    "cell": "One place on a layer's map. It stands for a square of input pixels, one stride wide.",
    "stride": "How many input pixels lie between two cells of a layer's map.",
    "crop": "The part of a photograph that the network was run on.",
    "margin": "The real surroundings of a crop that the unpadded features were taken from.",
    "receptive field": "The input pixels that a cell can see.",
    "padding-aware": "A channel whose pattern depends on the place, by a test with a false-discovery rate of 5 %.",
    "halo": "How far tiles must overlap so that their borders do not show in the result.",
    "q": "The least rate of false discoveries at which a channel is called padding-aware.",
    "uneven stride": "A stride that leaves cells over at the far side of its map: padding is used on one side and not "
    "on the other, and the print is lopsided.",
    "strided window": "A convolution or a pool that skips cells: its map is smaller than the one it reads.",
    "overlap": "How many px two neighbouring tiles share.",
    "tile": "A part of a large image that the network is run on alone, because the whole does not fit into memory.",
    "features": "What a layer computes: numbers for each cell and channel.",
    "channel": "One of the numbers that a layer computes in every cell.",
    "numeric floor": "What rounding alone changes; differences below it say nothing.",
    "MAE": "Mean absolute pattern, beside the value to expect if there were none.",
    "positional": "The share of the pattern that is left when each channel's mean is removed: a constant says nothing "
    "about position.",
}
_ALSO = {
    "prints": "print",
    "patterns": "pattern",
    "cells": "cell",
    "strides": "stride",
    "uneven strides": "uneven stride",
    "strided windows": "strided window",
    "tiles": "tile",
    "channels": "channel",
}
_NAMES = {"features"}
"""Terms that are names of layers in many networks: in the glossary alone."""
_MATCH = re.compile(
    r"(?<![\w/.:-])("
    + "|".join(map(re.escape, sorted({*GLOSSARY, *_ALSO} - _NAMES, key=len, reverse=True)))
    + r")(?![\w/:-]|\.\w)"
)


def slug(term: str) -> str:
    """A term as an element's id: small letters and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


def marked(text: str) -> Markup:
    """A text as HTML in which the first mention of each term carries its meaning, shown on hover and on focus."""
    parts, end, seen = [], 0, set()
    for match in _MATCH.finditer(text):
        term = _ALSO.get(match[1], match[1])
        if term in seen:
            continue
        seen.add(term)
        parts += [escape(text[end : match.start()]), _term(match[1], term)]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _term(shown: str, term: str) -> Markup:
    link = '<a class="term" href="#term-{}">{}<span class="tip" role="tooltip">{}: {}</span></a>'
    return Markup(link).format(slug(term), shown, term, GLOSSARY[term])  # noqa: S704  # format escapes what it is given
