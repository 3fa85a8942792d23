"""Stages of a run: simulate, train, draw posteriors, hold them against the references."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
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
from papers.lueckmann2021.config import BOXES, Config
from papers.lueckmann2021.tasks import Task

RATIO_LOSS = "nre_c"
N_WARMUP = 200
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


def trained(
    config: Config,
    problem: str,
    method: str,
    gold: Gold,
    prior: Any,
    saved: Checkpoint | None,
    key: Key,
) -> Any:
    """The estimator of one method."""
    settings = {"nre": config.ratio, "flow_matching": config.velocity}.get(method, config.flow)
    options: dict[str, Any] = {
        "n_members": settings.n_members,
        "n_epochs": settings.n_epochs_for(gold.n_events),
        "batch": settings.batch_for(gold.n_events),
        "learning_rate": settings.learning_rate,
        "held_out": 0.1,
        "checkpoint": saved,
        "key": key,
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
    coordinates = "parameters" if problem in BOXES else "unconstrained"
    return fit_posterior(gold, prior, flow=flow, coordinates=coordinates, **options)


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
    # NaN is an observation that is still to be judged.
    found = {"accuracy": np.full(len(task.x), np.nan), "n_outside": np.zeros((), int)}
    if saved.exists():
        found = {what: np.array(value) for what, value in saved.restore(found)[0].items()}
    if not np.isnan(found["accuracy"]).any():
        return Cell(found["accuracy"], int(found["n_outside"]))
    gold = gold_for(task, n_simulations, key)
    fit, fit_key = run.checkpoint(f"fit-{name}"), key_for(key, f"fit {name}")
    fitted = trained(config, task.name, method, gold, task.prior, fit, fit_key)
    draws_key = key_for(key, f"draws {name}")
    draws = draw(method, fitted, task.prior, task.x, config.n_samples, draws_key)
    check = jax.vmap(jax.vmap(task.prior.support.check))
    found["n_outside"] = np.asarray(int(np.sum(~np.asarray(check(draws)))))
    for number in np.flatnonzero(np.isnan(found["accuracy"])):
        test_key = key_at(key_for(key, f"test {name}"), int(number))
        tested = c2st(task.references[number], draws[number], key=test_key)
        found["accuracy"][number] = tested.accuracy
        saved.save(found)
        run.log(name, int(number), c2st=tested.accuracy)
    return Cell(found["accuracy"], int(found["n_outside"]))
