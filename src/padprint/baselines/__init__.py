"""Older metrics of position and border effects, on the crops that `padprint.measure` takes."""
