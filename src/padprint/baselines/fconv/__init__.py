"""F-Conv's tests of absolute location: rook, four quadrants, Red-Green.

Source: Kayhan and van Gemert, "On Translation Invariance in CNNs: Convolutional Layers Can Exploit Absolute Spatial
Location", CVPR 2020 (arXiv 2003.07064), and the authors' code, from which settings are taken where the two differ.
"""
