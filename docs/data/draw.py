"""Draw the figures of docs/formation.md and docs/properties.md from the tables beside this file.

python docs/data/draw.py
"""

from pathlib import Path

import pandas as pd

from padprint.studies import formation_report, properties_report

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"

if __name__ == "__main__":
    formation_report.pictures(pd.read_csv(HERE / "formation.csv"), IMAGES)
    tables = {part: pd.read_csv(HERE / f"properties-{part}.csv") for part in ("swap", "size", "images")}
    properties_report.pictures(tables, IMAGES)
