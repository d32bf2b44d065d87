"""The tables of docs/properties.md that sum up, from the tables beside this file.

python docs/data/properties_pages.py      # writes them into the page
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from blocks import markdown, write

from padprint.studies.anova import anova

HERE = Path(__file__).parent
PAGE = HERE.parent / "properties.md"
FLOOR = 1e-3
GROUPS = {"zeros, partial": ("zeros", "partial"), "circular": ("circular",)}
GROUPS["reflect, replicate, randn, distribution"] = ("reflect", "replicate", "randn", "distribution")


def swap() -> str:
    table = pd.read_csv(HERE / "properties-swap.csv")
    last = table[table["depth"] == table["depth"].max()]
    rows = []
    for name, column in (("SNR", "snr"), ("`relative`", "relative"), ("response", "response")):
        logs = last.assign(log=np.log10(np.maximum(last[column].to_numpy(float), FLOOR)))
        found = anova(logs, "log", ["scheme", "run", "network", "task"])
        shares = [f"{100 * found[term].share:.1f}" for term in ("run", "scheme", "network", "task", "residual")]
        rows.append((name, *shares))
    return markdown(
        ["log of, last layer", "run with, %", "trained with, %", "network, %", "task, %", "residual, %"], rows
    )


def images() -> str:
    table = pd.read_csv(HERE / "properties-images.csv")
    half = (table["snr_high"] - table["snr_low"]) / 2 / table["snr"].abs()
    rows = []
    for name, schemes in GROUPS.items():
        own = table["scheme"].isin(schemes)
        cells = [f"{100 * half[own & (table['images'] == n)].median():.0f}" for n in (16, 64, 128)]
        rows.append((name, *cells))
    return markdown(
        ["95 % interval's half width over SNR, median of layers and networks, %", "16 images", "64", "128"], rows
    )


def plain() -> str:
    table = pd.read_csv(HERE / "properties-images.csv")
    two = table[table["images"] == 2]
    rows = []
    for name, own in (("all layers", two), ("last layer", two[two["depth"] == two["depth"].max()])):
        rows.append((name, f"{own['snr_plain'].min():.2f}", f"{own['snr_plain'].max():.2f}"))
    gap = ((table["snr_plain"] - table["snr"]) * table["images"]).median()
    rows.append(("plain less unbiased, times images: median", f"{gap:.2f}", ""))
    return markdown(["plain SNR of two images, all schemes", "smallest", "largest"], rows)


MAKERS: dict[str, Callable[[], str]] = {"swap-shares": swap, "half-widths": images, "plain": plain}
"""What makes each block of the page."""


if __name__ == "__main__":
    print("changed" if write(PAGE, MAKERS) else "nothing changed")
