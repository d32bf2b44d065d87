"""``python -m padprint``."""

from __future__ import annotations

from padprint.cli import main

if __name__ == "__main__":
    main()
