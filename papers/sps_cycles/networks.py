"""Networks beside the operators: the same cycles to learn from, the same flat bottoms."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.typing import Key
from diffhep.magnet import Calibration, Recording, cut_windows, fit_forecaster
from diffhep.magnet.cycles import FLAT_BOTTOM_A, INJECTION_S
from diffhep.magnet.forecasters import TemporalFusionTransformer, Transformer, gru
from diffhep.magnet.windows import Windows
from papers.sps_cycles.stages import REACH_A, Sequences

FACTOR = 5
"""Samples averaged into one: from 50 Hz to 10 Hz."""

N_CONTEXT, N_HORIZON = 72, 5
"""7.2 s of measured field, half a second to forecast."""

NETWORKS: dict[str, Callable[[Key], Any]] = {
    "GRU": lambda key: gru(32, key=key),
    "transformer": lambda key: Transformer(N_CONTEXT, N_HORIZON, key=key, width=24, inner=48),
    "temporal fusion": lambda key: TemporalFusionTransformer(
        N_CONTEXT, N_HORIZON, key=key, width=16
    ),
}
"""From a key to a network with random weights."""


def network_errors(
    calibration: Calibration,
    train: Sequences,
    test: Sequences,
    n_steps: int,
    directory: RunDir,
    *,
    key: Key,
) -> dict[str, np.ndarray]:
    """Train each network and forecast the flat bottoms of the test, the past measured.

    The last sequence to learn from chooses the step of training.

    Args:
        calibration: Taken off the field.
        train: To learn from.
        test: To forecast.
        n_steps: Of training.
        directory: Gets the losses.
        key: Random key.

    Returns:
        By name, errors at flat bottom in T, a row for each sequence.
    """
    learned, held_out = (_at_flat_bottom(part) for part in (train[:-1], train[-1:]))
    starts = [_at_starts(one) for one in test]
    found = {}
    for name, build in NETWORKS.items():
        own = key_for(key, name)
        fit = fit_forecaster(
            build(key_for(own, "init")),
            learned,
            held_out,
            key=key_for(own, "train"),
            n_steps=n_steps,
            calibration=calibration,
            progress=False,
        )
        rows = [_errors(fit.forecaster, windows) for windows in starts]
        directory.log(name, n_steps, loss=float(fit.held_out_loss[-1]), seconds=fit.seconds)
        found[name] = np.stack(rows)
    return found


def _joined(sequence: tuple[Recording, ...]) -> Recording:
    """The cycles as one recording at the lower rate, each sample the mean of those it replaces."""
    u, y = (
        np.concatenate([getattr(one, name) for one in sequence]).reshape(-1, FACTOR).mean(axis=1)
        for name in ("u", "y")
    )
    return Recording("sequence", u, y, "A", "T", dt_s=FACTOR * (sequence[0].dt_s or 1.0))


def _at_flat_bottom(sequences: Sequences) -> Windows:
    """All windows whose horizon is at the flat bottom: what the operators are judged on."""
    windows = cut_windows([_joined(one) for one in sequences], N_CONTEXT, N_HORIZON, stride=1)
    ahead = np.asarray(windows.known.u)[:, N_CONTEXT:]
    rests = np.max(np.abs(ahead - FLAT_BOTTOM_A), axis=1) <= REACH_A
    return windows.take(jnp.asarray(np.flatnonzero(rests)))


def _at_starts(sequence: tuple[Recording, ...]) -> Windows:
    """The windows whose horizon starts with a cycle, of every cycle but the first."""
    starts = np.cumsum([one.u.size for one in sequence])[:-1] // FACTOR
    windows = cut_windows([_joined(sequence)], N_CONTEXT, N_HORIZON, stride=1)
    return windows.take(jnp.asarray(starts - N_CONTEXT))


@eqx.filter_jit
def _forecasts(forecaster: Any, windows: Windows) -> jax.Array:
    return jax.vmap(lambda window: forecaster.predict(window).mean)(windows.known)


def _errors(forecaster: Any, windows: Windows) -> np.ndarray:
    first = round(INJECTION_S[0] / float(jnp.asarray(windows.known.dt)[0]))
    difference = _forecasts(forecaster, windows) - windows.target
    return np.asarray(jnp.mean(difference[:, first:], axis=1))
