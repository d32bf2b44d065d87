"""Distributions of errors over images, in which prediction limits are simulated."""

from __future__ import annotations

import numpy as np

KINDS = {
    "uniform": lambda rng, size: rng.random(size),
    "log-normal": lambda rng, size: np.exp(rng.standard_normal(size)),
    "Student, 3 degrees": lambda rng, size: np.abs(rng.standard_t(3, size)),
    "Pareto 1.5": lambda rng, size: 1 + rng.pareto(1.5, size),
    "a tenth is loud": lambda rng, size: np.where(rng.random(size) < 0.1, 10, 1) * (0.5 + rng.random(size)),
    "half are zeros": lambda rng, size: np.where(rng.random(size) < 0.5, 0, np.exp(rng.standard_normal(size))),
}
