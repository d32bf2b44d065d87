"""Padding inside networks: which operators pad, the schemes by name, and how to watch, swap or replace them."""
