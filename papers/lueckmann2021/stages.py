"""Stages of a run: simulate, train, draw posteriors, hold them against the references."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import RunDir
from diffhep.core.typing import Key
from diffhep_sbi import (
    Gold,
    autoregressive_flow,
    c2st,
    fit_flow_matching,
    fit_likelihood,
    fit_posterior,
    fit_ratio,
    posteriors,
    quadratic,
    residual_mlp,
    simulate_pairs,
)
from papers.lueckmann2021.config import Config
from papers.lueckmann2021.tasks import Task

RATIO_LOSS = "nre_c"
N_WARMUP = 60
"""Steps of the chains before the first draws; they start at resampled draws of the prior."""

N_THIN = 10
"""Steps between two draws of a chain."""


class Cell(NamedTuple):
    """One number of the table, and how long each observation's posterior was judged."""

    accuracy: Float[np.ndarray, " observation"]
    n_outside: int


def gold_for(task: Task, n_simulations: int, key: Key) -> Gold:
    """Pairs of parameters from the prior and events, the same for every method."""
    key = key_for(key, f"{task.name} {n_simulations}")
    return simulate_pairs(task.problem.simulator, task.prior, n_events=n_simulations, key=key)


def trained(config: Config, method: str, gold: Gold, prior: Any, directory: RunDir, name: str, key):
    """The estimator of one method."""
    settings = {"nre": config.ratio, "flow_matching": config.velocity}.get(method, config.flow)
    options: dict[str, Any] = {
        "n_members": settings.n_members,
        "n_epochs": settings.n_epochs_for(gold.n_events),
        "batch": settings.batch_for(gold.n_events),
        "learning_rate": settings.learning_rate,
        "held_out": 0.1,
        "checkpoint": directory.checkpoint(f"fit-{name}"),
        "key": key_for(key, f"fit {name}"),
    }
    if method == "nre":
        network = quadratic(residual_mlp(settings.width, settings.depth))
        return fit_ratio(gold, RATIO_LOSS, network=network, **options)
    if method == "flow_matching":
        network = residual_mlp(settings.width, settings.depth)
        return fit_flow_matching(gold, prior, network=network, **options)
    flow = autoregressive_flow(settings.n_layers, settings.width, settings.depth)
    if method == "nle":
        return fit_likelihood(gold, flow=flow, **options)
    return fit_posterior(gold, prior, flow=flow, **options)


def draw(
    method: str, fitted: Any, prior: Any, x: Array, n_samples: int, key: Key
) -> Float[Array, "observation sample param"]:
    """Draws from the posteriors of all observations, in one program."""
    if method in ("nre", "nle"):
        settings = {"method": "evolution", "n_warmup": N_WARMUP, "n_thin": N_THIN}
        return posteriors(fitted, prior, x[:, None], key=key, n_samples=n_samples, **settings)
    return _draw(fitted, x, n_samples, key)


@eqx.filter_jit
def _draw(fitted: Any, x: Array, n_samples: int, key: Key) -> Array:
    def one(arguments: tuple) -> Array:
        return fitted.sample(arguments[0], n_samples, key=arguments[1])

    return jax.lax.map(one, (x, jax.random.split(key, x.shape[0])))


def cell(config: Config, task: Task, n_simulations: int, method: str, run: RunDir, key) -> Cell:
    """Train one method on one budget, and test its posteriors; kept once it is done."""
    name = f"{task.name}-{method}-{n_simulations}"
    saved = run.checkpoint(f"cell-{name}")
    empty = {"accuracy": np.zeros(len(task.x)), "n_outside": np.zeros((), int)}
    if saved.exists():
        found = saved.restore(empty)[0]
        return Cell(np.asarray(found["accuracy"]), int(found["n_outside"]))
    gold = gold_for(task, n_simulations, key)
    fitted = trained(config, method, gold, task.prior, run, name, key)
    draws_key = key_for(key, f"draws {name}")
    draws = draw(method, fitted, task.prior, task.x, config.n_samples, draws_key)
    check = jax.vmap(jax.vmap(task.prior.support.check))
    accuracy = []
    for number, reference in enumerate(task.references):
        tested = c2st(reference, draws[number], key=key_at(key_for(key, f"test {name}"), number))
        accuracy.append(tested.accuracy)
        run.log(name, number, c2st=tested.accuracy)
    found = {
        "accuracy": np.array(accuracy),
        "n_outside": np.asarray(int(np.sum(~np.asarray(check(draws))))),
    }
    saved.save(found)
    return Cell(found["accuracy"], int(found["n_outside"]))
