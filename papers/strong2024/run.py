"""Muon tomography: panels that show a block of metal better, found by the gradient."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.detector import Design
from papers.strong2024.config import PRESETS, Config
from papers.strong2024.stages import (
    FIRST_SOFTNESS,
    HIGHLAND,
    LAST_SOFTNESS,
    Look,
    first_design,
    look,
    panels_of,
    plain_design,
    scattering_width,
    search,
)

__all__ = ["PRESETS", "Config", "run"]

LARGEST_SLOPE_ERROR = 1e-5

KINDS = {"soft": LAST_SOFTNESS, "hard": 0.0}


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Check angles and slopes, search, then look at other volumes before and after.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    first = first_design()
    made = _highland(config, key=key_for(key, "highland"))
    made += _slopes(config, first, key=key_for(key, "slope"))
    found = search(
        first,
        config.n_steps,
        config.n_volumes,
        config.n_muons,
        config.rate,
        key=key_for(key, "search"),
    )
    directory.log("search", config.n_steps, loss=float(found.loss[-1]))
    designs = {"before": first, "after": found.design, "plain": plain_design()}
    arrays: dict[str, Any] = {"loss": found.loss}
    for name, design in designs.items():
        above, below = panels_of(design)
        sides = [jnp.concatenate([p.centre_mm, p.span_mm], axis=1) for p in (above, below)]
        arrays[f"panels/{name}"] = jnp.concatenate(sides)
        for kind, softness in KINDS.items():
            loss, seen = _tested(config, design, softness, key=key_for(key, "test"))
            arrays[f"{kind}/{name}/loss"], arrays[f"{kind}/{name}/seen"] = loss, seen
        shown = _shown(config, design, key=key_for(key, "shown"))
        arrays[f"density/{name}"], arrays["density/truth"] = shown
    directory.save_data(arrays)
    return made + _comparisons(config, arrays)


def _highland(config: Config, *, key: Key) -> list[Claim]:
    """Two planes a muon; the error of a root mean square of normal numbers."""
    made = []
    for steps in (1, 10):
        width = scattering_width(config.n_scattered, steps, key=key) / HIGHLAND
        error = width / np.sqrt(4.0 * config.n_scattered)
        what = f"angle behind one radiation length in {steps} steps / Highland's"
        made.append(Claim(what, width, float(error), 1.0, "exact", "pull<4"))
    return made


def _slopes(config: Config, design: Design, *, key: Key) -> list[Claim]:
    """Along one direction of each kind of parameter, with the same volumes and muons."""
    free, keys = design.to_free(), jax.random.split(key, (2, config.n_volumes))
    bounds = np.cumsum([0, *(design[name].size for name in design.names)])
    at = dict(zip(design.names, pairwise(bounds), strict=True))
    kinds = {
        "heights": (at["z_above"][0], at["z_below"][1]),
        "places": (at["x"][0], at["y"][1]),
        "spans": at["span"],
    }

    def seen(free: jax.Array) -> Look:
        return look(design, free, FIRST_SOFTNESS, *keys, n_muons=config.n_muons)

    slope, made, step = seen(free).slope, [], 3e-5
    for name, (low, high) in kinds.items():
        direction = jnp.cos(jnp.arange(free.size)).at[:low].set(0.0).at[high:].set(0.0)
        ends = [seen(free + s * direction).loss for s in (-2 * step, -step, step, 2 * step)]
        numeric = (8.0 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12.0 * step)
        # Of most volumes: clips and the median of the angles have kinks, and a step may cross one.
        wrong = float(jnp.median(jnp.abs(numeric / (slope @ direction) - 1.0)))
        what = f"slope by {name}: |ours / finite difference - 1|"
        made.append(Claim(what, wrong, None, LARGEST_SLOPE_ERROR, "exact", "<="))
    return made


def _tested(
    config: Config, design: Design, softness: float, *, key: Key
) -> tuple[np.ndarray, np.ndarray]:
    """Losses and numbers of muons seen in held-out volumes, the same ones for every design."""
    keys = jax.random.split(key, (config.n_batches, 2, config.n_volumes))
    free = design.to_free()
    all_seen = [look(design, free, softness, *pair, n_muons=config.n_muons) for pair in keys]
    losses = np.concatenate([np.asarray(seen.loss) for seen in all_seen])
    return losses, np.concatenate([np.asarray(seen.seen) for seen in all_seen])


def _shown(config: Config, design: Design, *, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """Mean density of one held-out volume by hard panels, and its truth."""
    volume = jnp.broadcast_to(key_for(key, "volume"), config.n_volumes)
    keys = jax.random.split(key_for(key, "muons"), (config.n_batches, config.n_volumes))
    free = design.to_free()
    all_seen = [look(design, free, 0.0, volume, muons, n_muons=config.n_muons) for muons in keys]
    density = np.mean([np.asarray(seen.density).mean(axis=0) for seen in all_seen], axis=0)
    return density, np.asarray(all_seen[0].truth[0])


def _comparisons(config: Config, arrays: dict[str, Any]) -> list[Claim]:
    """Means over the held-out volumes, one over another."""
    made = []
    for kind, other, bar in (
        ("soft", "before", config.largest_ratio),
        ("hard", "before", config.largest_ratio),
        ("hard", "plain", config.largest_plain),
    ):
        after, first = (arrays[f"{kind}/{name}/loss"] for name in ("after", other))
        what = f"{kind} panels: loss after the search / {_NAMES[other]}"
        made.append(Claim(what, *_ratio(after, first), bar, "target", "<="))
    hard, soft = arrays["hard/after/loss"], arrays["soft/after/loss"]
    what = "after the search: loss with hard / with soft panels"
    made.append(Claim(what, *_ratio(hard, soft), config.largest_twin, "target", "<="))
    return made


_NAMES = {"before": "before it", "plain": "of panels by hand"}


def _ratio(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Of the means, with the error of pairs that share volume and muons."""
    ratio = after.mean() / before.mean()
    spread = np.std(after - ratio * before, ddof=1) / np.sqrt(after.size) / before.mean()
    return float(ratio), float(spread)
