"""Muon tomography: panels that show a plate of lead better, found by the gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.detector import Design
from papers.strong2024.config import PRESETS, Config
from papers.strong2024.stages import (
    SOFTNESS,
    TRUTH,
    first_design,
    loss,
    panels_of,
    scan,
    search,
)

__all__ = ["PRESETS", "Config", "run"]


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Check the slope, search, then scan with fresh muons and hard panels before and after.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    first = first_design()
    made = [_slope(config, first, key=key_for(key, "slope"))]
    last, losses = search(
        first, config.n_steps, config.n_muons, config.rate, key=key_for(key, "search")
    )
    directory.log("search", config.n_steps, loss=float(losses[-1]))
    arrays = {"loss": losses, "truth": TRUTH}
    designs = {"before": first, "after": last}
    values = {}
    for softness, kind in ((SOFTNESS, "soft"), (0.0, "hard")):
        for name, design in designs.items():
            keys = jax.random.split(key_for(key, "test"), config.n_scans)
            found = _scans(design, config.n_muons, softness, keys)
            values[kind, name] = np.asarray(found[0])
            arrays[f"{kind}/{name}/density"] = found[1].density.mean(axis=0)
            arrays[f"{kind}/{name}/seen"] = found[1].seen
    for name, design in designs.items():
        above, below = panels_of(design)
        rows = [
            np.concatenate([np.asarray(p.centre_mm), np.asarray(p.span_mm)], axis=1)
            for p in (above, below)
        ]
        arrays[f"panels/{name}"] = np.concatenate(rows)
    directory.save_data(arrays)
    for kind in ("soft", "hard"):
        ratio, error = _ratio(values[kind, "after"], values[kind, "before"])
        what = f"{kind} panels: loss after / before the search"
        made.append(Claim(what, ratio, error, config.largest_ratio, "target", "<="))
    for kind in ("soft", "hard"):
        after, before = (float(np.mean(arrays[f"{kind}/{n}/seen"])) for n in ("after", "before"))
        what = f"{kind} panels: muons seen after / before"
        made.append(Claim(what, after / before, None, 1.0, "target", ">="))
    return made


@partial(jax.jit, static_argnums=1)
def _scans(design: Design, n_muons: int, softness: float, keys: jax.Array):
    """One after another: the same program for soft and for hard panels."""

    def one(key):
        value = loss(design, n_muons, softness, key=key)
        return value, scan(design, n_muons, softness, key=key)

    return jax.lax.map(one, keys)


def _ratio(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Of the means, with the error of pairs of scans that share their muons."""
    ratio = after.mean() / before.mean()
    spread = np.std(after - ratio * before, ddof=1) / np.sqrt(after.size) / before.mean()
    return float(ratio), float(spread)


def _slope(config: Config, design: Design, *, key: Key) -> Claim:
    """Along one direction of all free parameters, with the same muons."""
    free = design.to_free()
    direction = jnp.cos(jnp.arange(free.size))

    @jax.jit
    @jax.value_and_grad
    def figure(free):
        return loss(design.from_free(free), config.n_muons, SOFTNESS, key=key)

    _, slope = figure(free)
    step = 1e-4
    ends = [float(figure(free + s * direction)[0]) for s in (-2 * step, -step, step, 2 * step)]
    numeric = (8.0 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12.0 * step)
    wrong = abs(numeric / float(slope @ direction) - 1.0)
    name = "slope by all parameters: |ours / finite difference - 1|"
    return Claim(name, wrong, None, 1e-5, "exact", "<=")
