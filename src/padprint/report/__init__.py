"""The report: one self-contained HTML file that a browser shows without a network."""

from __future__ import annotations

from padprint.report.command import command_line, names_only
from padprint.report.layout import check_available, fill, publish
from padprint.report.page import collect, render, write
from padprint.report.words import findings

__all__ = ["check_available", "collect", "command_line", "fill", "findings", "names_only", "publish", "render", "write"]
