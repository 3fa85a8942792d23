"""`python -m benchmarks.coverage`: how often the Gamma method's errors cover the true mean."""

import numpy as np
from scipy.signal import lfilter

from diffhep.core.stats import gamma_method

LENGTHS = (8, 16, 50, 200, 1000)
CORRELATIONS = (-0.9, -0.5, 0.0, 0.5, 0.9)
N_SERIES = 2000


def coverage(correlation: float, n: int) -> tuple[float, float]:
    """Fractions of stationary AR(1) series whose mean lies within one and two errors of 0."""
    noise = np.random.default_rng(n).normal(size=(N_SERIES, n))
    noise[:, 1:] *= np.sqrt(1.0 - correlation**2)
    results = [gamma_method(row) for row in lfilter([1.0], [1.0, -correlation], noise)]
    distances = np.array([abs(result.mean) / result.error for result in results])
    return float(np.mean(distances < 1.0)), float(np.mean(distances < 2.0))


if __name__ == "__main__":
    print("| correlation |", *(f"N = {n} |" for n in LENGTHS))
    print("|---|" + "---|" * len(LENGTHS))
    for a in CORRELATIONS:
        cells = (coverage(a, n) for n in LENGTHS)
        print(f"| {a:g} |", *(f"{100 * one:.0f} %, {100 * two:.0f} % |" for one, two in cells))
