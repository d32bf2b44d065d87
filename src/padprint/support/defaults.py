"""Numbers that `padprint.measure`, its kin and the command line take where nothing is asked for: each stands here alone.

Whoever runs a pass reads them through `padprint.measuring.options.DEFAULTS`; commands read them here, because they import no torch.
"""

CROP = 224
"""Side of a crop, px: what most networks are trained on."""
CROPS_PER_IMAGE = 16
GROUPS = 20
"""Groups of images, each left out in turn for the intervals."""
BATCH_SIZE = 16
"""Crops in one forward pass."""
SEED = 0
