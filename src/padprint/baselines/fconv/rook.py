"""The rook test: can a single convolution tell in which corner of an image a figure is?

Source: Kayhan and van Gemert, CVPR 2020, and the authors' code. The figure is padprint's own drawing.
"""

from __future__ import annotations
