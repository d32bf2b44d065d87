"""How exactly PPP and PosENet tell the size of an injected pattern: reliability-amplitudes.csv and -ratios.csv.

python docs/data/amplitude.py RECORDS [REPETITIONS [SCENES]]      # about a minute of one core for each repetition

One repetition after the other is added, and the tables are written after each from the third on, so that it may be stopped.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from padprint.studies.reliability import Settings, run

HERE = Path(__file__).parent

if __name__ == "__main__":
    records, repetitions, scenes = (*sys.argv[1:], *("20", "24")[len(sys.argv) - 2 :])
    name = "reliability" if scenes == "24" else f"reliability-{scenes}"
    for count in range(3, int(repetitions) + 1):
        settings = Settings(repetitions=count, scenes=int(scenes), real=False, metrics=("ppp", "posenet"))
        found = run(records, settings, parts=("dose", "spread"))
        for table in ("amplitudes", "ratios"):
            getattr(found, table)().to_csv(HERE / f"{name}-{table}.csv", index=False, float_format="%.4g")
        (HERE / f"{name}-amplitudes.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
        print(f"{count} repetitions", flush=True)
