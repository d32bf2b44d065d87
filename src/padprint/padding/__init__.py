"""Padding inside networks: which operators pad, and how to watch or replace it while a model runs."""
