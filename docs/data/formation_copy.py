"""Take over a finished formation study's table, settings and findings: formation.csv, formation-config.json, formation.json.

python docs/data/formation_copy.py STUDY
"""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from padprint.studies.formation import read_config
from padprint.studies.formation_report import document

HERE = Path(__file__).parent

if __name__ == "__main__":
    study = Path(sys.argv[1])
    table = pd.read_csv(study / "table.csv")
    kept = [name for name in pd.read_csv(HERE / "formation.csv", nrows=0) if name in table]
    table[kept].to_csv(HERE / "formation.csv", index=False, float_format="%.5g")
    shutil.copyfile(study / "config.json", HERE / "formation-config.json")
    found = json.dumps(document(table, read_config(study)), indent=1)
    (HERE / "formation.json").write_text(found + "\n", encoding="utf-8")
