"""Measure the default formation study's networks once more, for the tables formation-sizes.csv and formation-likeness.csv.

python docs/data/readings.py STUDY RECORDS [SEED ...]      # folders; about 3 minutes of one core for each seed

One seed after the other, and the tables are written after each, so that it may be stopped.
"""

import sys
from pathlib import Path

from padprint.studies.formation import read_config
from padprint.studies.readings import readings

HERE = Path(__file__).parent

if __name__ == "__main__":
    study, records, *given = sys.argv[1:]
    seeds = [int(seed) for seed in given] or list(read_config(study).seeds)
    for count in range(1, len(seeds) + 1):
        found = readings(
            study, records, seeds[:count], lambda done, of: print(f"{done} of {of} sets of networks", flush=True)
        )
        for part, table in found.items():
            table.to_csv(HERE / f"formation-{part}.csv", index=False, float_format="%.5g")
        print(f"seeds {seeds[:count]}", flush=True)
