"""A quadrupole's field from its major loop: Preisach operators by convex least squares."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.magnet import Parallel, PlayPreisach, Polynomial, PreisachFit, datasets, fit_preisach
from diffhep.magnet.fitting import DEFAULT_SETTINGS, Prediction, PreisachSettings
from papers.roussel2022.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

PUBLISHED_T = 1.97e-3
"""Root mean square error on the test points in arXiv:2202.07747, in T."""

ERRORS_COVERED = 2.0
"""Errors of prediction within which a measurement counts as covered."""


class Series(NamedTuple):
    """A series of measurements.

    Attributes:
        u: Inputs.
        y: Outputs.
        run: To which run each belongs.
        history: Inputs before: the cycle that conditions the magnet.
    """

    u: Float[Array, " time"]
    y: Float[Array, " time"]
    run: np.ndarray
    history: Float[Array, " past"]


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Fit the start of the series, predict the rest.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    series = _measured() if config.measured else _known(config, key=key_for(key, "noise"))
    n = config.n_training
    training = np.arange(series.u.size) < n
    fit = fit_preisach(
        series.u,
        series.y,
        history=series.history,
        used=training,
        settings=_grid(config.grid),
        n_best=config.n_best,
    )
    prediction = fit.predict(series.u, series.history)
    arrays = {
        "u": series.u,
        "y": series.y,
        "run": series.run,
        "mean": prediction.mean,
        "error": prediction.error,
        "n_training": n,
        "measured": config.measured,
    }
    directory.log("fit", n, fold_error=float(fit.fold_error[0]))
    made = _claims(config, series, fit, prediction, ~training)
    if config.each_run:
        claim, errors = _each_run(config, series, directory)
        made.append(claim)
        arrays["each_run"] = errors
    directory.save_data(arrays)
    return made


def _measured() -> Series:
    """The six runs as one series, after a cycle to full current."""
    runs = datasets.load("slac_quad_4194")
    label = np.concatenate([np.full(one.u.size, i) for i, one in enumerate(runs)])
    u = jnp.asarray(np.concatenate([one.u for one in runs]))
    y = jnp.asarray(np.concatenate([one.y for one in runs]))
    return Series(u, y, label, jnp.array([0.0, float(u.max()), 0.0]))


def _known(config: Config, *, key: Key) -> Series:
    """A Preisach operator on a major loop and two minor ones, with noise."""
    radius = np.linspace(0.0, 0.5, 101)[1:]
    weight = np.exp(-radius[:, None] / 0.1) * np.array([2e-4, 6e-4, 4e-4])
    truth = Parallel(
        (Polynomial([1.0, 1.0, 0.05], 0.0, 1.0), PlayPreisach(radius, weight, 0.0, 1.0))
    )
    half = config.n_training // 2
    major = np.append(np.linspace(0.0, 1.0, half), np.linspace(1.0, 0.0, half))
    minor = [np.linspace(a, b, 15)[1:] for a, b in ((0.0, 0.6), (0.6, 0.4), (0.4, 0.9), (0.9, 0.2))]
    u, history = jnp.asarray(np.concatenate([major, *minor])), jnp.array([0.0, 1.0, 0.0])
    y, _ = truth(u, state=truth.init(u[0], history))
    noise = config.noise * jnp.ptp(y) * jax.random.normal(key, y.shape)
    return Series(u, y + noise, np.arange(u.size) // (2 * half), history)


def _grid(n: int) -> tuple[PreisachSettings, ...]:
    """The first so many values of each kind of setting."""
    names = ("degree", "n_basis", "n_nodes", "smoothness")
    values = {name: sorted({getattr(one, name) for one in DEFAULT_SETTINGS})[:n] for name in names}
    return tuple(
        one for one in DEFAULT_SETTINGS if all(getattr(one, name) in values[name] for name in names)
    )


def _claims(
    config: Config, series: Series, fit: PreisachFit, prediction: Prediction, test: np.ndarray
) -> list[Claim]:
    """Errors on both parts, and whether the predicted ones cover."""
    residual = np.asarray(prediction.mean - series.y)
    unit = 1.0 if config.measured else float(jnp.ptp(series.y))
    error, spread = _rmse(residual[test] / unit, series.run[test])
    covered = np.abs(residual) < ERRORS_COVERED * np.asarray(prediction.error)
    share = float(covered[test].mean())
    what = "T" if config.measured else "of the range"
    bar, source = (6e-4, "target; arXiv:2202.07747 has 1.97e-3") if config.measured else (1e-3, "")
    made = [
        Claim(f"test: RMSE / {what}", error, spread, bar, source or "exact", "<="),
        Claim("test: share within two predicted errors", share, None, 0.9, "target", ">="),
    ]
    if not config.measured:
        inside, _ = _rmse(residual[~test] / unit, series.run[~test])
        made.append(
            Claim("training: RMSE / noise", inside / config.noise, None, 1.5, "exact", "<=")
        )
        smallest = min(float(one.weight.min()) for one in _plays(fit))
        made.append(Claim("smallest weight", smallest, None, 0.0, "exact", ">="))
    return made


def _plays(fit: PreisachFit) -> list[PlayPreisach]:
    """The parts with memory of all members."""
    parts = [part for member in fit.members for part in member.operators]
    return [part for part in parts if isinstance(part, PlayPreisach)]


def _rmse(residual: np.ndarray, run: np.ndarray) -> tuple[float, float | None]:
    """Root mean square, its error by the jackknife over runs where there are several."""
    value = float(np.sqrt(np.mean(residual**2)))
    labels = np.unique(run)
    if labels.size < 2:
        return value, None
    without = [np.sqrt(np.mean(residual[run != label] ** 2)) for label in labels]
    return value, float(np.sqrt((labels.size - 1) * np.var(without)))


def _each_run(config: Config, series: Series, directory: RunDir) -> tuple[Claim, np.ndarray]:
    """Every run from all others, whose settings are chosen by leaving runs out, too."""
    residual = np.zeros(series.u.size)
    for label in np.unique(series.run):
        held = series.run == label
        fit = fit_preisach(
            series.u,
            series.y,
            history=series.history,
            used=~held,
            folds=series.run,
            settings=_grid(config.grid),
            n_best=config.n_best,
        )
        mean = fit.predict(series.u, series.history).mean
        residual[held] = np.asarray(mean - series.y)[held]
        directory.log("each run", int(label), rmse=float(np.sqrt(np.mean(residual[held] ** 2))))
    value, error = _rmse(residual, series.run)
    rows: list[Any] = [
        np.sqrt(np.mean(residual[series.run == label] ** 2)) for label in np.unique(series.run)
    ]
    claim = Claim("each run from the others: RMSE / T", value, error, 5e-4, "target", "<=")
    return claim, np.array(rows)
