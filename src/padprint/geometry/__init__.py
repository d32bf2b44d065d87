"""Geometry of a network's maps: traced, witnessed, inspected."""
