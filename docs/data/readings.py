"""Measure the default formation study's networks once more, for the tables formation-sizes.csv and formation-likeness.csv.

python docs/data/readings.py STUDY RECORDS      # folders; about 12 minutes of one core
"""

import sys
from pathlib import Path

from padprint.studies.readings import readings

HERE = Path(__file__).parent

if __name__ == "__main__":
    study, records = sys.argv[1:]
    found = readings(study, records, lambda done, of: print(f"{done} of {of} sets of networks", flush=True))
    for part, table in found.items():
        table.to_csv(HERE / f"formation-{part}.csv", index=False, float_format="%.5g")
