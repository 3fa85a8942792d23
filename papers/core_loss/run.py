"""Losses of cores: loops of electrical steel by Jiles and Atherton, waveforms of a ferrite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.magnet import (
    JilesAtherton,
    OperatorFit,
    datasets,
    fit_core_loss,
    fit_operator,
    loop_figures,
)
from diffhep.magnet.core_loss import LoopFigures
from diffhep.magnet.datasets import CoreLosses
from diffhep.magnet.operators.jiles_atherton import MU_0
from papers.core_loss.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

BARS = {"loss_J_m3": 0.01, "coercivity_A_m": 0.02, "remanence_T": 0.01}
"""Largest relative errors of loss, coercivity and remanence."""

WEIGHT_OF_POINTS = 0.05
"""Of a tesla at one point, beside a relative error of ten per cent in a figure."""

WEIGHT_OF_FIGURES = 10.0

STARTS = (0.5, 1.5, 5.0)
"""Shapes from which the search starts, in units of the coercivity; it has local minima."""

START_SHARE = 0.2
"""Reversible share at the start."""

KNOWN = JilesAtherton(1.6e6, 70.0, 8e-5, 50.0, 0.2)
"""The loop of the smoke preset."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Identify the loops, then predict every part of the waveforms from the others.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {}
    loops = _steel(config) if config.grades else _known(config)
    made = []
    for grade, (h, rising, falling) in loops.items():
        fit, found = _identified(config, h, rising, falling)
        made += _loop_claims(grade, loop_figures(h, rising, falling), loop_figures(h, *found))
        directory.log(grade, fit.n_steps, rmse=fit.rmse)
        rows = jnp.stack([h, rising, falling, *found])
        arrays[f"loops/{grade}"] = rows
    losses = datasets.load_core_losses() if config.grades else _power_law(key_for(key, "losses"))
    error = _predicted(config, losses, key=key_for(key, "folds"))
    arrays |= {"losses/error": error, "losses/duty": losses.duty}
    directory.save_data(arrays)
    size = np.abs(error)
    return [
        *made,
        Claim("losses: 95th percentile of the error", *_quantile(size), 0.1, "target", "<="),
        Claim("losses: mean error", float(size.mean()), None, 0.05, "target", "<="),
    ]


def _steel(config: Config) -> dict[str, tuple[Array, Array, Array]]:
    """Both branches of the grades, up to the highest field strength."""
    found = {}
    for one in datasets.load("fesi_steel"):
        if one.name in config.grades:
            n = one.u.size // 2 + 1
            h, rising, falling = one.u[n - 1 :], one.y[n - 1 :], one.y[:n][::-1]
            kept = np.abs(h) <= config.highest_A_m
            found[one.name] = tuple(jnp.asarray(row[kept]) for row in (h, rising, falling))
    return found


def _known(config: Config) -> dict[str, tuple[Array, Array, Array]]:
    """The branches of an operator that is known."""
    h = config.highest_A_m * jnp.linspace(-1.0, 1.0, 41) ** 3
    return {"known": (h, *_branches(KNOWN, h))}


def _branches(operator: JilesAtherton, h: Float[Array, " point"]) -> tuple[Array, Array]:
    """The rising and the falling branch of the second cycle between the ends."""
    B, _ = operator(_cycles(h), state=operator.rest(jnp.zeros(())))
    return _cut(B, h.shape[0])


def _cycles(h: Float[Array, " point"]) -> Float[Array, " time"]:
    """From the demagnetised state to the top, then twice around."""
    start = jnp.linspace(0.0, h[-1], h.shape[0])
    return jnp.concatenate([start, *[h[::-1][1:], h[1:]] * 2])


def _cut(B: Float[Array, " time"], n: int) -> tuple[Array, Array]:
    """The last rising and the last falling branch."""
    return B[-n:], B[-2 * n + 1 : -n + 1][::-1]


def _identified(
    config: Config, h: Array, rising: Array, falling: Array
) -> tuple[OperatorFit, tuple[Array, Array]]:
    """The parameters whose loop has the figures of the measured one and is near it."""
    u, n = _cycles(h), h.shape[0]
    measured = jnp.concatenate([jnp.zeros(u.shape[0] - 2 * n + 1), falling[::-1], rising[1:]])
    counts = (jnp.arange(u.shape[0]) > u.shape[0] - 2 * n).astype(float)
    target = jnp.stack(loop_figures(h, rising, falling))

    def build(parameters: Float[Array, " parameter"]) -> JilesAtherton:
        saturation, shape, coupling, pinning = jnp.exp(parameters[:4])
        share = jax.nn.sigmoid(parameters[4])
        return JilesAtherton(saturation, shape, coupling, pinning, share, n_substeps=8)

    def figures(B: Array) -> Array:
        found = jnp.stack(loop_figures(h, *_cut(B, n)))
        return WEIGHT_OF_FIGURES * (found / target - 1.0)

    def fitted(shape: float) -> OperatorFit:
        saturation, coercivity = falling[-1] / MU_0, target[1]
        width = shape * coercivity
        scales = jnp.stack([saturation, width, width / saturation, coercivity])
        share = jnp.log(START_SHARE / (1.0 - START_SHARE))
        return fit_operator(
            build,
            jnp.append(jnp.log(scales), share),
            u,
            measured,
            weight=WEIGHT_OF_POINTS * counts,
            also=figures,
            max_steps=config.most_steps,
        )

    fit = min((fitted(shape) for shape in STARTS), key=lambda one: one.rmse)
    return fit, _branches(build(fit.parameters), h)


def _loop_claims(grade: str, measured: LoopFigures, found: LoopFigures) -> list[Claim]:
    names = {
        "loss": "loss_J_m3",
        "coercivity": "coercivity_A_m",
        "remanence": "remanence_T",
    }
    return [
        Claim(
            f"{grade}: |{name} / measured - 1|",
            abs(float(getattr(found, field) / getattr(measured, field)) - 1.0),
            None,
            BARS[field],
            "target",
            "<=",
        )
        for name, field in names.items()
    ]


def _power_law(key: Key) -> CoreLosses:
    """Losses by Steinmetz's law, larger for uneven duties, with an error of one per cent."""
    keys = jax.random.split(key, 4)
    frequency = 5e4 * 10.0 ** jax.random.uniform(keys[0], (300,))
    amplitude = 0.03 * 10.0 ** jax.random.uniform(keys[1], (300,))
    duty = jax.random.uniform(keys[2], (300,), minval=0.1, maxval=0.9)
    law = 2.0 * frequency**1.4 * amplitude**2.5 * (1.0 + 2.0 * (duty - 0.5) ** 2)
    loss = law * jnp.exp(0.01 * jax.random.normal(keys[3], (300,)))
    return CoreLosses(*(np.asarray(row) for row in (frequency, amplitude, duty, loss)))


def _predicted(config: Config, losses: CoreLosses, *, key: Key) -> np.ndarray:
    """Relative errors of each waveform, predicted from the folds that do not hold it."""
    n = losses.loss_W_m3.size
    fold = np.asarray(jax.random.permutation(key, n)) % config.n_folds
    error = np.zeros(n)
    columns = [jnp.asarray(column) for column in losses]
    for index in range(config.n_folds):
        held = fold == index
        fit = fit_core_loss(*(column[~held] for column in columns), degree=config.degree)
        error[held] = (
            np.asarray(fit(*(column[held] for column in columns[:3]))) / (losses.loss_W_m3[held])
        )
    return error - 1.0


def _quantile(size: np.ndarray) -> tuple[float, float]:
    """The 95th percentile and its error from the number of waveforms."""
    value = float(np.quantile(size, 0.95))
    spread = np.sqrt(0.05 * 0.95 / size.size)
    low, high = np.quantile(size, [0.95 - spread, min(0.95 + spread, 1.0)])
    return value, float(high - low) / 2
