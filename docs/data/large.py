"""Cut the larger formation study's table down to what is used: formation-large.csv.

python docs/data/large.py TABLE      # the study's table.csv, or several one after the other with one head
"""

import sys
from pathlib import Path

import pandas as pd

COLUMNS = ["network", "scheme", "seed", "step", "accuracy", "layer", "depth", "channels", "size", "crops"]
NUMBERS = ["snr", "snr_plain", "mae", "mae_floor", "response", "relative", "positional"]

if __name__ == "__main__":
    table = pd.read_csv(sys.argv[1])
    table["network"] = table["network"].str.split(":").str[-1]
    table[[*COLUMNS, *NUMBERS]].to_csv(
        Path(__file__).with_name("formation-large.csv"), index=False, float_format="%.4g"
    )
