"""Pictures of patterns: what padding adds to a layer, where, in which channels, in input pixels.

Every function takes a result or a layer of it and, optionally, axes to draw into; it returns the figure, which
``savefig`` writes as PNG, SVG or PDF. No picture needs a display.
"""

from __future__ import annotations

from padprint.plot._base import check_available
from padprint.plot.channels import aware_channels, top_channels
from padprint.plot.comparing import comparison
from padprint.plot.curves import depth, profile
from padprint.plot.emerging import emergence
from padprint.plot.fields import fields
from padprint.plot.maps import map_box, overview, pattern_map, rim_box, save_patterns, scale_of

__all__ = [
    "aware_channels",
    "check_available",
    "comparison",
    "depth",
    "emergence",
    "fields",
    "map_box",
    "overview",
    "pattern_map",
    "profile",
    "rim_box",
    "save_patterns",
    "scale_of",
    "top_channels",
]
