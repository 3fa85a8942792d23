"""A vertex fit as a layer: what its whole gradient gives beyond the gradient through weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from papers.smith2023.config import PRESETS, Config
from papers.smith2023.stages import (
    MODES,
    Jets,
    Modes,
    Preparation,
    draw,
    errors,
    oracle_errors,
    shift,
    slope_errors,
    train,
)

__all__ = ["PRESETS", "Config", "run"]

LARGEST_SLOPE_ERROR = 1e-6

N_BOOTSTRAP = 200


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train networks that use one output, two and all three, and compare them on the same jets.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made = [
        Claim(f"slope by {name}: |ours / finite difference - 1|", value, None, *_EXACT)
        for name, value in slope_errors(key=key_for(key, "slopes")).items()
    ]
    test = draw(config.n_test, key=key_for(key, "test"))
    arrays: dict[str, Any] = {}
    away = {}
    for name, switches in MODES.items():
        mode = Modes(*(jnp.asarray(switch) for switch in switches))
        trained = [_trained(config, mode, member, key) for member in range(config.n_networks)]
        away[name] = np.mean([np.asarray(errors(net, mode, test)) for net, _ in trained], axis=0)
        arrays[f"error/{name}"] = away[name]
        arrays[f"loss/{name}"] = np.mean([losses for _, losses in trained], axis=0)
        directory.log(name, config.n_steps, median_mm=float(np.median(away[name])))
    arrays["error/oracle"] = oracle_errors(test)
    phi, found = _shift_found(trained[0][0], test)
    arrays["shift"] = np.stack([phi, np.asarray(shift(phi)), found])
    directory.save_data(arrays)
    return made + _comparisons(config, away, arrays, key=key_for(key, "bootstrap"))


_EXACT = (LARGEST_SLOPE_ERROR, "exact", "<=")


def _trained(config: Config, mode: Modes, member: int, key: Key) -> tuple[Preparation, Any]:
    """The same networks and the same jets for every mode; one that uses nothing needs no steps."""
    start = Preparation(key=key_for(key, f"network {member}"))
    if not any(mode):
        return start, np.zeros(config.n_steps)
    return train(
        start,
        mode,
        config.n_steps,
        config.batch,
        config.rate,
        key=key_for(key, f"jets {member}"),
    )


def _shift_found(network: Preparation, test: Jets) -> tuple[jax.Array, np.ndarray]:
    """The shift of tracks that the network has learnt, in bins of their azimuth."""
    _, _, found = jax.vmap(network)(test.track, test.flag)
    phi = jnp.mod(test.track[..., 2] + jnp.pi, 2.0 * jnp.pi) - jnp.pi
    edges = np.linspace(-np.pi, np.pi, 25)
    index = np.digitize(np.ravel(phi), edges) - 1
    counts = np.bincount(index, minlength=24)[:24]
    sums = np.bincount(index, np.ravel(found), minlength=24)[:24]
    return jnp.asarray(0.5 * (edges[1:] + edges[:-1])), sums / np.maximum(counts, 1)


def _comparisons(
    config: Config, away: dict[str, np.ndarray], arrays: dict[str, Any], *, key: Key
) -> list[Claim]:
    """Medians of the distances, one over another, with errors from resampled jets."""
    oracle = np.asarray(arrays["error/oracle"])
    pairs = [
        ("weights / nothing learnt", away["weights"], away["nothing"], 1.0),
        (
            "weights and covariances / weights",
            away["weights and covariances"],
            away["weights"],
            1.0,
        ),
        ("whole gradient / weights", away["everything"], away["weights"], config.largest_ratio),
        ("oracle / whole gradient", oracle, away["everything"], 1.0),
    ]
    n = oracle.size
    drawn = np.asarray(jax.random.randint(key, (N_BOOTSTRAP, n), 0, n))
    made = []
    for name, first, second, bar in pairs:
        ratio = float(np.median(first) / np.median(second))
        ratios = np.median(first[drawn], axis=1) / np.median(second[drawn], axis=1)
        what = f"median error across the beam: {name}"
        made.append(Claim(what, ratio, float(np.std(ratios)), bar, "target", "<="))
    _, true, found = arrays["shift"]
    left = float(np.std(found - true) / np.std(true))
    bar = 0.5 if config.largest_ratio < 1.0 else 1.0
    made.append(Claim("shift left of the detector's", left, None, bar, "target", "<="))
    return made
