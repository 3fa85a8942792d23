"""Negative weights: what is learned or averaged with them against the answer of positive ones."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import Gold, mine, simulate
from diffhep_sbi.io import EVENT_SHAPES, PythiaSimulator
from diffhep_sbi.problems import EeMuMu
from papers.pythia_tune import stages
from papers.pythia_tune.config import HADRONS, Config, Signed

HALF_WIDTH, TRUTH = 0.5, 0.25
"""Asymmetries of the training, and that of the events fitted."""

SWING = 2.0
"""Weights are 1 + SWING or 1 - SWING by the toss of a coin: of mean 1, half of them negative."""

N_FITTED = 20_000

STRONG = -2.0
"""Of fsr:cNS: the splitting functions are less than zero in places, and so are weights."""

ROOM = {"little": 1, "much": 10}
"""Factors by which the shower's overestimate leaves room for variations."""


def claims(config: Config, directory: RunDir, arrays: dict[str, Any], key: Key) -> list[Claim]:
    """Of the exact program with weights of both signs, and of PYTHIA."""
    settings = config.signed
    if settings is None:
        return []
    return [
        _trained(config, settings, directory, arrays, key),
        *_pythia(config, settings, directory, arrays, key),
    ]


def _trained(
    config: Config, settings: Signed, directory: RunDir, arrays: dict[str, Any], key: Key
) -> Claim:
    """The asymmetry fitted with CARL, trained on signed and on positive weights."""
    n, problem = settings.n_train, EeMuMu()
    x = simulate(problem.simulator, [TRUTH], n_events=N_FITTED, key=key_for(key, "fitted"))
    box = ([-HALF_WIDTH], [HALF_WIDTH])
    found = []
    for seed in range(settings.n_seeds):
        part = key_at(key_for(key, "train"), seed)
        theta0 = jax.random.uniform(part, (n, 1), float, minval=-HALF_WIDTH, maxval=HALF_WIDTH)
        gold = mine(problem.simulator, theta0, jnp.zeros(1), key=part)
        row = []
        for name, made in (("positive", gold), ("signed", signed(gold, key=part))):
            ratio = stages.trained(
                config.training,
                without_history(made),
                "carl",
                checkpoint=directory.checkpoint(f"{name}-{seed}"),
                key=part,
            )
            fits = stages.fit(ratio, np.asarray(x)[None], np.array([TRUTH]), box)
            row.append(fits.theta[0, 0])
        found.append(row)
    table = np.array(found)
    arrays["signed/asymmetries"] = table
    difference = table[:, 1] - table[:, 0]
    return Claim(
        "muon pairs: A fitted after signed weights less A after positive ones",
        float(difference.mean()),
        float(difference.std(ddof=1) / np.sqrt(len(difference))),
        0.0,
        "exact",
        "pull<3",
    )


def signed(gold: Gold, *, key: Key) -> Gold:
    """The same means with weights of both signs."""
    coin = 2.0 * jax.random.bernoulli(key_for(key, "coin"), shape=gold.weight.shape) - 1.0
    return eqx.tree_at(lambda g: g.weight, gold, gold.weight * (1.0 + SWING * coin))


def without_history(gold: Gold) -> Gold:
    """Labels alone."""
    return Gold(
        gold.x,
        None,
        None,
        gold.weight,
        gold.event_id,
        gold.theta0,
        gold.theta1,
        gold.label,
    )


def _pythia(
    config: Config, settings: Signed, directory: RunDir, arrays: dict[str, Any], key: Key
) -> list[Claim]:
    """1 - T with a variation whose weights are negative, by two overestimates of the shower."""
    means, shares = [], []
    for index, room in enumerate(ROOM.values()):
        simulator = PythiaSimulator(
            (*HADRONS, f"UncertaintyBands:overSampleFSR = {room}"),
            ("fsr:cNS",),
            EVENT_SHAPES,
            config.n_processes,
            directory.path / "pythia",
        )
        part = key_at(key_for(key, "pythia"), index)
        table = simulator.table([0.0], [[STRONG]], n_events=settings.n_events, key=part)
        weight, value = table.weights[:, 0], table.x[:, 0]
        mean = np.average(value, weights=weight)
        error = (weight / weight.mean() * (value - mean)).std() / np.sqrt(value.size)
        means.append((mean, error))
        shares.append(float(np.mean(weight < 0.0)))
    arrays["signed/shares"] = np.array(shares)
    (first, one), (second, other) = means
    return [
        Claim("PYTHIA, cNS = -2: share of negative weights", shares[0], None, 0.0, "exact", ">"),
        Claim(
            "PYTHIA, cNS = -2: mean 1 - T by two sets of weights, difference",
            float(first - second),
            float(np.hypot(one, other)),
            0.0,
            "exact",
            "pull<3",
        ),
    ]
