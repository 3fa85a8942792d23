"""A vertex fit as a layer: its derivatives, and a network that is trained through them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from papers.smith2023 import exact
from papers.smith2023.config import PRESETS, Config
from papers.smith2023.jets import Jets, draw, shift
from papers.smith2023.network import MODES, Modes, Preparation, fit_jets, prepare, train
from papers.smith2023.selection import (
    SELECTIONS,
    best,
    distances,
    knowing,
    of_all,
    resolution,
)

__all__ = ["PRESETS", "Config", "run"]

LARGEST_SLOPE_ERROR = 1e-6
LARGEST_MINIMUM_ERROR = 1e-8
LARGEST_POWER = 1.1
LARGEST_RATIO, LARGEST_SHIFT = 0.9, 0.5

N_BOOTSTRAP = 200


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Check the fit, train networks through it, and compare them with selections on other jets.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {}
    made = _exact(config, key=key_for(key, "exact"))
    made += _costs(config, arrays, key=key_for(key, "cost"))
    training = draw(config.n_train, key=key_for(key, "training"))
    test = draw(config.n_test, key=key_for(key, "test"))
    away = _selected(config, directory, training, test)
    away |= _learnt(config, directory, training, test, arrays, key=key)
    for name, values in away.items():
        arrays[f"away/{name}"] = values.mean(axis=0)
    directory.save_data(arrays)
    return made + _comparisons(config, away, arrays, key=key_for(key, "bootstrap"))


def _exact(config: Config, *, key: Key) -> list[Claim]:
    """The largest error of all vertices, of slopes over their root mean square."""
    given = exact.draw_given(config.n_checks, exact.N_TRACKS, key=key_for(key, "tracks"))
    (_, unknowns), slope = exact.with_slope(given)
    rows = [
        exact.scipy_minimum(jax.tree.map(lambda x, i=i: x[i], given)) for i in range(len(unknowns))
    ]
    minimum = float(np.abs(np.array(rows) - unknowns).max())
    what = "vertex and momenta: largest |ours - scipy's| in mm, rad, 1/GeV"
    made = [Claim(what, minimum, None, LARGEST_MINIMUM_ERROR, "exact", "<=")]
    for name, along in exact.directions(given, key=key_for(key, "directions")).items():
        ours = exact.slope_along(slope, along)
        others = {
            "finite differences": exact.difference_slope(given, along),
            "an unrolled fit": np.asarray(exact.unrolled_slope(given, along)),
        }
        for other, values in others.items():
            wrong = float(np.abs(ours - values).max() / np.sqrt(np.mean(ours**2)))
            what = f"slope by {name} against {other}: largest relative error"
            made.append(Claim(what, wrong, None, LARGEST_SLOPE_ERROR, "exact", "<="))
    return made


def _costs(config: Config, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    """Powers of the number of tracks."""
    if not config.n_tracks:
        return []
    cost = exact.costs(config.n_tracks, config.n_rounds, key=key)
    arrays["cost/tracks"] = np.array(config.n_tracks)
    made = []
    for name, values in cost._asdict().items():
        arrays[f"cost/{name}"] = values
        power = float(np.polyfit(np.log(config.n_tracks), np.log(values), 1)[0])
        what = f"vertex with all derivatives, {name}: power of the number of tracks"
        made.append(Claim(what, power, None, LARGEST_POWER, "target", "<="))
    return made


def _selected(
    config: Config, directory: RunDir, training: Jets, test: Jets
) -> dict[str, np.ndarray]:
    """Distances of fits without a network; their cuts are those that suit jets of the training."""
    away = {"all tracks": distances(test, of_all(test))[None]}
    some = Jets(*(part[: config.n_tune] for part in training))
    for index, (name, selections) in enumerate(SELECTIONS.items() if config.n_tune else ()):
        select = best(selections, some)
        away[name] = distances(test, select(test))[None]
        cuts = select.keywords if isinstance(select, partial) else {}
        directory.log("selection", index, resolution_mm=float(resolution(away[name][0])), **cuts)
    away["what nobody knows"] = distances(test, knowing(test))[None]
    return away


def _learnt(
    config: Config,
    directory: RunDir,
    training: Jets,
    test: Jets,
    arrays: dict[str, Any],
    *,
    key: Key,
) -> dict[str, np.ndarray]:
    """Distances by every network of every kind; all kinds start alike and see the same batches."""
    jets, away = Jets(*map(jnp.asarray, training)), {}
    for kind, (name, switches) in enumerate(MODES.items()):
        mode = Modes(*(jnp.asarray(switch) for switch in switches))
        members, losses = [], []
        for member in range(config.n_networks):
            start = Preparation(key=key_for(key, f"network {member}"))
            shape = (config.n_steps, config.batch)
            index = jax.random.randint(key_for(key, f"batches {member}"), shape, 0, config.n_train)
            network, loss = train(start, mode, jets, index, config.rate)
            given = prepare(network, mode, test)
            arrays["shift"] = _shift_found(test, np.asarray(given.shift))
            members.append(distances(test, fit_jets(test, given).position_mm))
            losses.append(loss)
            at = kind * config.n_networks + member
            directory.log("network", at, resolution_mm=float(resolution(members[-1])))
        away[name], arrays[f"loss/{name}"] = np.array(members), np.mean(losses, axis=0)
    return away


def _shift_found(test: Jets, found: np.ndarray) -> np.ndarray:
    """The shift of tracks that the last network takes off, in bins of their azimuth."""
    n_bins, there = 24, test.there > 0.0
    phi = np.mod(test.track[..., 2][there] + np.pi, 2.0 * np.pi) - np.pi
    index = np.minimum(((phi + np.pi) / (2.0 * np.pi) * n_bins).astype(int), n_bins - 1)
    counts = np.maximum(np.bincount(index, minlength=n_bins), 1)
    values = (phi, shift(phi), found[there])
    return np.array([np.bincount(index, each, minlength=n_bins) / counts for each in values])


def _comparisons(
    config: Config, away: dict[str, np.ndarray], arrays: dict[str, Any], *, key: Key
) -> list[Claim]:
    """Resolutions over others', on the same jets."""
    n = config.n_test
    drawn = np.asarray(jax.random.randint(key, (N_BOOTSTRAP, n), 0, n))
    made = []
    for first in MODES:
        for second in ("all tracks", *SELECTIONS):
            if second in away:
                made.append(_ratio(first, second, away, drawn, 1.0))
    made.append(_ratio("what nobody knows", "whole gradient", away, drawn, 1.0))
    if config.n_tune:
        made.append(_ratio("whole gradient", "weights", away, drawn, LARGEST_RATIO))
        _, true, found = arrays["shift"]
        left = float(np.std(found - true) / np.std(true))
        what = "shift of d0 left by the network / shift"
        made.append(Claim(what, left, None, LARGEST_SHIFT, "target", "<="))
    return made


def _ratio(
    first: str, second: str, away: dict[str, np.ndarray], drawn: np.ndarray, bar: float
) -> Claim:
    """With the errors of the jets, resampled, and of the networks, by their spread."""
    above, below = np.broadcast_arrays(away[first], away[second])
    ratios = resolution(above) / resolution(below)
    again = resolution(above[:, drawn]) / resolution(below[:, drawn])
    error = np.std(again.mean(axis=0))
    if ratios.size > 1:
        error = np.hypot(error, np.std(ratios, ddof=1) / np.sqrt(ratios.size))
    what = f"resolution across the beam: {first} / {second}"
    return Claim(what, float(ratios.mean()), float(error), bar, "target", "<=")
