"""`check`: the first answer about a network in under a minute: what pads, how far that reaches, what it leaves, what to do next.

`looking` runs it; `plan` says on which scenes; `result` is what was found, `text` the same as lines, `proposed` the commands to run
next; `saved` reads a folder that it was written to.
"""

from __future__ import annotations

from padprint.checkup.looking import check
from padprint.checkup.result import DOCUMENT_FILE, REPORT_FILE, Checkup
from padprint.checkup.text import HEADERS

__all__ = ["DOCUMENT_FILE", "HEADERS", "REPORT_FILE", "Checkup", "check"]
