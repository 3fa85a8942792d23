"""Stages of a run: draw with PYTHIA, train, calibrate, fit the experiments of fresh runs."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import RunDir
from diffhep.core.typing import Key
from diffhep_sbi import (
    Events,
    Gold,
    Likelihood,
    Parameter,
    UnbinnedChannel,
    fit_ratio,
    mlp,
    normalise,
)
from diffhep_sbi.io import EVENT_SHAPES, MUON_COSINE, PythiaSimulator, WeightTable
from diffhep_sbi.likelihood import Observation
from diffhep_sbi.mle import maximise_free_and_at
from papers.pythia_tune.config import DEFAULTS, HADRONS, MUONS, Config, Training, Tune

N_COPIES = 4
"""Points of the grid at which a mined event is taken."""

STEP = 0.1
"""Of the difference that is the joint score, in half-widths of the box."""


class Place(NamedTuple):
    """A tune in one run."""

    tune: Tune
    simulator: PythiaSimulator
    training: Training
    directory: RunDir
    key: Key

    @property
    def start(self) -> Float[np.ndarray, " param"]:
        """The default tune, the denominator of all ratios."""
        return self.simulator.start

    @property
    def half_widths(self) -> Float[np.ndarray, " param"]:
        """Of the box."""
        return np.array(self.tune.half_widths)

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Its corners."""
        return self.start - self.half_widths, self.start + self.half_widths

    @property
    def grid(self) -> Float[np.ndarray, "point param"]:
        """The points at which the ratio is learned."""
        axis = np.linspace(-1.0, 1.0, self.tune.n_per_axis)
        axes = np.meshgrid(*[axis] * len(self.tune.parameters), indexing="ij")
        return self.start + self.half_widths * np.stack([a.ravel() for a in axes], axis=1)

    @property
    def truths(self) -> Float[np.ndarray, "truth param"]:
        """Parameters of the fresh runs."""
        return self.start + self.half_widths * np.array(self.tune.truths)


def prepare(tune: Tune, config: Config, directory: RunDir, key: Key) -> Place:
    """The simulator of a tune, its runs kept in the folder of the run."""
    simulator = PythiaSimulator(
        HADRONS, tune.parameters, EVENT_SHAPES, config.n_processes, directory.path / "pythia"
    )
    return Place(tune, simulator, config.training, directory, key)


def fresh_runs(place: Place) -> list[np.ndarray]:
    """Features of runs at the truths, of seeds that nothing else has."""
    n, key = place.tune.n_truth, key_for(place.key, "truths")
    return [
        place.simulator.table(truth, n_events=n, key=key_at(key, index)).x
        for index, truth in enumerate(place.truths)
    ]


def weighted_to_truths(place: Place, *, default: bool = False) -> WeightTable:
    """Events of the default tune with weights to the truths, by our settings or PYTHIA's own."""
    simulator = place.simulator
    if default:
        lines = (*simulator.settings, *DEFAULTS[place.tune.name])
        simulator = simulator._replace(settings=lines)
    return simulator.table(
        place.start, place.truths, n_events=place.tune.n_truth, key=key_for(place.key, "closure")
    )


def mined(place: Place, n_events: int, name: str, seed: int = 0) -> Gold:
    """Gold with joint ratios and scores."""
    return place.simulator.mine(
        place.grid,
        place.start,
        n_events=n_events,
        n_copies=N_COPIES,
        steps=STEP * place.half_widths,
        key=key_at(key_for(place.key, name), seed),
    )


def labelled(place: Place, n_events: int, name: str, seed: int = 0) -> Gold:
    """Gold with labels alone, of as many events in all."""
    key = key_at(key_for(place.key, name), seed)
    return place.simulator.draw(place.grid, place.start, n_events=n_events, key=key)


def part_of(gold: Gold, n_events: int, *, key: Key) -> Gold:
    """Some of the events, with all their copies."""
    ids = np.unique(np.asarray(gold.event_id))
    kept = np.asarray(jax.random.permutation(key, ids))[:n_events]
    return gold.take(np.isin(np.asarray(gold.event_id), kept))


def trained(
    training: Training,
    gold: Gold,
    method: str,
    *,
    checkpoint: Any,
    key: Key,
    n_members: int = 1,
    order: int = 4,
) -> Any:
    """A ratio, normalised on the events of the reference; the steps are the same for all."""
    ratio = fit_ratio(
        gold,
        method,
        network=mlp(training.width, training.depth),
        n_members=n_members,
        n_epochs=max(1, round(training.n_steps * training.batch / (0.8 * gold.n_events))),
        batch=training.batch,
        learning_rate=training.learning_rate,
        checkpoint=checkpoint,
        progress=False,
        key=key,
    )
    return normalise(ratio, gold, order=order)


class Fits(NamedTuple):
    """Best fits of experiments.

    Attributes:
        theta: Where they are.
        error: By the curvature of the likelihood.
        drop: Of each parameter at its truth, profiled: twice the drop of the log-likelihood.
    """

    theta: Float[np.ndarray, "experiment param"]
    error: Float[np.ndarray, "experiment param"]
    drop: Float[np.ndarray, "experiment param"]


def fit(
    ratio: Any, x: Float[np.ndarray, "experiment event feature"], truth: np.ndarray, box: Any
) -> Fits:
    """Fit every experiment, within a box of low and high corners."""
    low, high = (jnp.asarray(corner, float) for corner in box)
    found = _fit(ratio, jnp.asarray(x), jnp.asarray(truth, float), low, high)
    return Fits(*(np.asarray(value) for value in found))


@eqx.filter_jit
def _fit(ratio: Any, x: Array, truth: Array, low: Array, high: Array) -> tuple[Array, ...]:
    n_events, n_features = x.shape[1:]
    names = tuple(f"theta{index}" for index in range(truth.size))
    channel = UnbinnedChannel(
        ratio=ratio,
        expected_events=lambda theta: jnp.asarray(float(n_events)),
        names=names,
        reference=Events(jnp.zeros((1, n_features)), jnp.ones(1)),
        n_rows=n_events,
    )
    start = 0.5 * (low + high)
    parameters = tuple(Parameter(name, start[i], low[i], high[i]) for i, name in enumerate(names))

    def of_one(events: Array) -> tuple[Array, Array, Array]:
        data = Observation((Events(events, jnp.ones(n_events)),), ())
        drops, free = [], None
        for index, name in enumerate(names):
            likelihood = Likelihood((channel,), parameters, name)
            free, fixed = maximise_free_and_at(likelihood, data, truth[index][None])
            drops.append(2.0 * (free.log_likelihood - fixed.log_likelihood[0]))
        return free.theta, jnp.sqrt(jnp.diag(free.covariance)), jnp.stack(drops)  # pyright: ignore[reportOptionalMemberAccess]

    return jax.lax.map(of_one, x)


def experiments(place: Place, x: np.ndarray) -> np.ndarray:
    """A fresh run, cut."""
    n = place.tune.n_experiment
    return x[: len(x) // n * n].reshape(-1, n, x.shape[1])


def muons(config: Config, directory: RunDir, energy_GeV: float, key: Key) -> np.ndarray:
    """Cosines of PYTHIA's muons at one energy."""
    simulator = PythiaSimulator(
        (*MUONS, f"Beams:eCM = {energy_GeV}"),
        (),
        MUON_COSINE,
        config.n_processes,
        directory.path / "pythia",
    )
    return simulator.table([], n_events=config.muons.n_events, key=key).x
