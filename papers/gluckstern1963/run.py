"""Where to put the layers of a tracker: closed forms found again by gradients, and beyond them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from papers.gluckstern1963.config import PRESETS, Config
from papers.gluckstern1963.stages import (
    FIELD_T,
    THICKNESS_X0,
    INNER_mm,
    OUTER_mm,
    RESOLUTION_mm,
    equidistant,
    furthest,
    minimise,
    momentum_error,
    optimum,
    simulated_helices,
    simulated_planes,
    spread,
)

__all__ = ["PRESETS", "Config", "run"]

KINDS = {"line": 1, "curvature": 2}
"""What is measured, and the degree of the polynomial."""

SPLIT_341 = 6.00924
"""Local optimum of eight hits, three, four and one of them together."""

STIFF_GeV = 1e4
"""Momentum whose track is as straight as the closed form takes it."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Search for layouts, then simulate the fits that judged them.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {}
    made = []
    for n in config.hits:
        for kind, degree in KINDS.items():
            made += _closed_form(config, kind, degree, n, arrays, key=key_for(key, f"{kind} {n}"))
    made += _local_optimum(config)
    made += _tracker(config, directory, arrays, key=key_for(key, "tracker"))
    made += _pulls(config, arrays, key=key_for(key, "pulls"))
    directory.save_data(arrays)
    return made


def _closed_form(
    config: Config, kind: str, degree: int, n: int, arrays: dict[str, Any], *, key: Key
) -> list[Claim]:
    figure = partial(spread, degree)
    starts = jax.random.uniform(key, (config.n_starts, n))
    found = minimise(figure, starts, config.n_steps)
    arrays[f"search/{kind}_{n}/value"] = found.value / optimum(degree, n)
    arrays[f"search/{kind}_{n}/position"] = found.position[np.argmin(found.value)]
    even = float(jax.jit(figure)(jnp.linspace(0.0, 1.0, n))) / equidistant(degree, n)
    best = float(found.value.min()) / optimum(degree, n)
    return [
        Claim(
            f"{kind}, {n} equal distances: |error / closed form - 1|",
            abs(even - 1.0),
            None,
            1e-9,
            "exact",
            "<=",
        ),
        Claim(
            f"{kind}, {n} hits: |best error / optimum - 1|",
            abs(best - 1.0),
            None,
            1e-4,
            "exact",
            "<=",
        ),
        Claim(
            f"{kind}, {n} hits: |slope / finite difference - 1|",
            _slope_error(figure, starts[0]),
            None,
            1e-6,
            "exact",
            "<=",
        ),
    ]


def _slope_error(figure: Any, x: jax.Array) -> float:
    """Along the positions themselves, about the first: Richardson's differences."""
    both = jax.jit(jax.value_and_grad(figure))
    _, slope = both(x)
    step = 1e-3 * jnp.cos(jnp.arange(x.size))

    def difference(scale: float) -> float:
        high, low = both(x + scale * step), both(x - scale * step)
        return float(high[0] - low[0]) / (2.0 * scale)

    numeric = (4.0 * difference(0.5) - difference(1.0)) / 3.0
    return abs(numeric / float(slope @ step) - 1.0)


def _local_optimum(config: Config) -> list[Claim]:
    """Eight hits that start as three, four and one."""
    start = jnp.array([0.0, 0.01, 0.02, 0.49, 0.5, 0.51, 0.52, 1.0])
    found = minimise(partial(spread, 2), start[None], config.n_steps)
    name = "curvature, 8 hits from 3-4-1: |error / local optimum - 1|"
    return [Claim(name, abs(float(found.value[0]) / SPLIT_341 - 1.0), None, 1e-4, "exact", "<=")]


def _tracker(config: Config, directory: RunDir, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    """Layers with multiple scattering, for which there is no closed form."""
    n = config.layers
    even = jnp.linspace(0.0, 1.0, n)
    quarter = n // 4
    split = jnp.repeat(jnp.array([0.0, 0.5, 1.0]), jnp.array([quarter, n - 2 * quarter, quarter]))
    length = OUTER_mm - INNER_mm
    closed = 1e3 * equidistant(2, n) * RESOLUTION_mm[0] / length**2
    closed /= 2.99792458e-4 * FIELD_T
    error = jax.jit(momentum_error)
    stiff = float(error(even, STIFF_GeV, 0.0)) / closed
    made = [
        Claim(
            "tracker without scattering: |error of 1/p / closed form - 1|",
            abs(stiff - 1.0),
            None,
            1e-3,
            "exact",
            "<=",
        )
    ]
    starts = jax.random.uniform(key_for(key, "starts"), (config.layout_starts, n))
    rows = []
    for p in config.momenta_GeV:
        found = minimise(momentum_error, starts, config.layout_steps, p, THICKNESS_X0)
        best = found.position[np.argmin(found.value)]
        errors = [float(error(x, p, THICKNESS_X0)) for x in (even, split)]
        rows.append([p, *errors, float(found.value.min())])
        arrays[f"layout/{p:g}"] = INNER_mm + length * best
        directory.log("layout", len(rows), momentum_GeV=p, error=rows[-1][-1])
        for name, other in zip(("equal distances", "n/4, n/2, n/4"), errors, strict=True):
            what = f"tracker, {p:g} GeV: error of the optimum / {name}"
            made.append(Claim(what, rows[-1][-1] / other, None, 1.001, "target", "<="))
        if p in (min(config.momenta_GeV), max(config.momenta_GeV)):
            away, width, chi2 = simulated_helices(
                jnp.asarray(best), p, config.n_tracks, key=key_for(key, f"tracks {p:g}")
            )
            made += _simulated(p, np.asarray(away), np.asarray(width), np.asarray(chi2), n)
            arrays[f"pull/{p:g}"] = away / width
    arrays["tracker/error"] = np.array(rows)
    return made


def _simulated(p: float, away: Any, width: Any, chi2: Any, n_layers: int) -> list[Claim]:
    """The predicted error against that of simulated fits; pulls; chi-squared."""
    n = away.shape[0]
    ratio = float(np.std(away[:, 4]) / np.mean(width[:, 4]))
    n_free = 2 * n_layers - 5
    name = f"helix fit, {p:g} GeV"
    return [
        Claim(
            f"{name}: simulated / predicted error of 1/p",
            ratio,
            float(ratio / np.sqrt(2.0 * n)),
            1.0,
            "exact",
            "pull<4",
        ),
        Claim(
            f"{name}: mean chi-squared a degree of freedom",
            float(chi2.mean()) / n_free,
            float(np.sqrt(2.0 / n_free / n)),
            1.0,
            "exact",
            "pull<4",
        ),
        Claim(
            f"{name}: furthest mean or width of ten, in its errors",
            furthest(away / width),
            None,
            3.0,
            "exact",
            "<=",
        ),
    ]


def _pulls(config: Config, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    smooth, filtered = simulated_planes(config.n_tracks, key=key)
    arrays["pull/smoother"], arrays["pull/filter"] = smooth, filtered
    return [
        Claim(
            f"Kalman {name}: furthest mean or width of ten, in its errors",
            furthest(pull),
            None,
            3.0,
            "exact",
            "<=",
        )
        for name, pull in (("filter", filtered), ("smoother", smooth))
    ]
