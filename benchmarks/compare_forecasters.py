"""Every forecaster on the synthetic dipole: about 5,000 parameters each, the same data and steps.

`python -m benchmarks.compare_forecasters [STEPS]` prints a table in Markdown, one row after the
other.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.magnet import (
    FourierForecaster,
    HybridPreisach,
    PatchTransformer,
    PhyLSTM,
    Polynomial,
    Recording,
    TemporalFusionTransformer,
    Transformer,
    Windows,
    cut_windows,
    fit_forecaster,
    gru,
    lstm,
    measure,
    random_order,
    sps_dipole,
)
from diffhep.magnet.cycles import FLAT_BOTTOM_A

N_CONTEXT, N_HORIZON = 72, 36
DT_S = 0.1
N_CYCLES = 16
PARTS = {"train": 3, "held out": 1, "test": 2}
"""Sequences of cycles in random order, each with a drift of its own."""

DEGREE = 9
"""Of the polynomial in the current that is taken off the field."""

FORECASTERS: dict[str, Callable[[Any], Any]] = {
    "GRU": lambda key: gru(38, key=key),
    "LSTM": lambda key: lstm(33, key=key),
    "PhyLSTM 1": lambda key: PhyLSTM(1, 33, key=key),
    "transformer": lambda key: Transformer(
        N_CONTEXT, N_HORIZON, key=key, width=16, n_layers=1, inner=24
    ),
    "temporal fusion": lambda key: TemporalFusionTransformer(
        N_CONTEXT, N_HORIZON, key=key, width=8, n_heads=2
    ),
    "patches": lambda key: PatchTransformer(
        N_CONTEXT, N_HORIZON, key=key, patch=6, width=20, n_heads=2, n_layers=1, inner=30
    ),
    "Fourier operator": lambda key: FourierForecaster(key=key, width=8, n_modes=12),
    "encoder and Preisach": lambda key: HybridPreisach(key=key),
    "the same, corrected": lambda key: HybridPreisach(key=key, width=26, correction=20),
}


def sequences(n: int, key: Any) -> list[Recording]:
    """Cycles one after the other as one recording each."""
    magnet, found = sps_dipole(), []
    for one in jax.random.split(key, n):
        order, noise = jax.random.split(one)
        cycles = measure(magnet, random_order(N_CYCLES, key=order), key=noise, dt_s=DT_S)
        u, y = (np.concatenate([getattr(c, name) for c in cycles]) for name in ("u", "y"))
        found.append(Recording("sequence", u, y, "A", "T", dt_s=DT_S))
    return found


def calibration_of(recordings: list[Recording]) -> Polynomial:
    """A polynomial of the current, by least squares."""
    u, y = (np.concatenate([getattr(one, name) for one in recordings]) for name in ("u", "y"))
    low, high = u.min(), u.max()
    x = (2 * u - low - high) / (high - low)
    return Polynomial(np.polynomial.legendre.legfit(x, y, DEGREE), low, high)


def row(name: str, error: np.ndarray, rests: np.ndarray, *others: str) -> None:
    """One line of the table; errors in 1e-4 T."""
    rms, rest = (1e4 * float(np.sqrt(np.mean(e**2))) for e in (error, error[rests]))
    print(f"| {' | '.join((name, f'{rms:.3f}', f'{rest:.3f}', *others))} |", flush=True)


def main() -> None:
    """Train all, and print how each does on sequences that nothing was chosen by."""
    jax.config.update("jax_enable_x64", True)
    n_steps = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    key = jax.random.key(0)
    parts = {name: sequences(n, key_for(key, name)) for name, n in PARTS.items()}
    calibration = calibration_of(parts["train"])
    strides = {"train": 4, "held out": 4, "test": N_HORIZON}
    windows: dict[str, Windows] = {
        name: cut_windows(part, N_CONTEXT, N_HORIZON, stride=strides[name])
        for name, part in parts.items()
    }
    test = windows["test"]
    curve = jax.vmap(lambda u: calibration(u)[0])(test.known.u)
    rests = np.abs(np.asarray(test.known.u)[:, N_CONTEXT:] - FLAT_BOTTOM_A) < 1.0
    print("| forecaster | all | flat bottom | covered | parameters | training | compilation |")
    print("|---|---|---|---|---|---|---|")
    ahead = curve[:, N_CONTEXT:]
    row("calibration", np.asarray(ahead - test.target), rests, *[""] * 4)
    last = test.known.y[:, -1:] - curve[:, N_CONTEXT - 1 : N_CONTEXT]
    row("calibration, last residual kept", np.asarray(ahead + last - test.target), rests, *[""] * 4)
    predict = eqx.filter_jit(lambda model, known: jax.vmap(lambda w: model.predict(w))(known))
    for name, build in FORECASTERS.items():
        own = key_for(key, name)
        model = build(key_for(own, "init"))
        network = eqx.filter(eqx.tree_at(lambda m: m.scaling, model, None), eqx.is_inexact_array)
        size = sum(leaf.size for leaf in jax.tree.leaves(network))
        start = time.process_time()
        fit = fit_forecaster(
            model,
            windows["train"],
            windows["held out"],
            key=key_for(own, "train"),
            n_steps=n_steps,
            learning_rate=3e-3,
            calibration=calibration,
            progress=False,
        )
        spent = time.process_time() - start
        found = predict(fit.forecaster, test.known)
        low, high = found.quantiles[:, 0], found.quantiles[:, -1]
        covered = float(jnp.mean((low <= test.target) & (test.target <= high)))
        share = fit.seconds / (fit.seconds + fit.compile_seconds)
        row(
            name,
            np.asarray(found.mean - test.target),
            rests,
            f"{100 * covered:.0f} %",
            str(size),
            f"{share * spent:.0f} s",
            f"{(1 - share) * spent:.0f} s",
        )


if __name__ == "__main__":
    main()
