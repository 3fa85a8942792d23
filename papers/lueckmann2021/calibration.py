"""Ranks and coverage of posteriors from every method, over trials drawn from the prior."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.typing import Key
from diffhep_sbi import expected_coverage, posteriors, problems, sbc, simulate_pairs
from papers.lueckmann2021 import stages
from papers.lueckmann2021.config import Config

SAMPLERS = {
    "nre, NUTS": ("nre", "nuts"),
    "nre, blackjax": ("nre", "blackjax"),
    "nre, evolution": ("nre", "evolution"),
    "nre, importance": ("nre", "importance"),
    "nle, importance": ("nle", "importance"),
    "npe": ("npe", ""),
    "flow_matching": ("flow_matching", ""),
}
"""The estimator and the sampler of each row."""

LOCAL = ("nuts", "blackjax")
"""Samplers whose chains stay in the mode that they start in: two moons are not for them."""

N_WARMUP = 100
N_THIN = 5


class Judged(NamedTuple):
    """The smallest p-value of ranks times the number of parameters, and that of coverage."""

    ranks: float
    coverage: float


def build_problem(name: str) -> tuple[Any, Any]:
    """A problem with two parameters, and its prior."""
    if name == "two_moons":
        problem = problems.TwoMoons()
        return problem, problem.prior
    design = jnp.array([[1.0, 0.3], [0.0, 1.0]])
    problem = problems.LatentGaussian(design, 0.3 * jnp.eye(2), 0.4 * jnp.eye(2))
    return problem, dist.Normal(jnp.zeros(2), jnp.ones(2)).to_event(1)


def judge(config: Config, name: str, directory: RunDir, key: Key) -> dict[str, Judged]:
    """Train every estimator on a problem, and test its posteriors in every trial."""
    settings = config.calibration
    problem, prior = build_problem(name)
    key = key_for(key, f"calibration {name}")
    gold = simulate_pairs(
        problem.simulator, prior, n_events=settings.n_simulations, key=key_for(key, "training")
    )
    trials = simulate_pairs(
        problem.simulator, prior, n_events=settings.n_trials, key=key_for(key, "trials")
    )
    fitted: dict[str, Any] = {}
    found = {}
    for row, (method, sampler) in SAMPLERS.items():
        if name == "two_moons" and sampler in LOCAL:
            continue
        saved = directory.checkpoint(f"calibration-{name}-{row.replace(', ', '-')}")
        empty = {"ranks": np.zeros(()), "coverage": np.zeros(())}
        if saved.exists():
            found[row] = Judged(**{k: float(v) for k, v in saved.restore(empty)[0].items()})
            continue
        if method not in fitted:
            label = f"calibration-{name}-{method}"
            fit, fit_key = directory.checkpoint(f"fit-{label}"), key_for(key, f"fit {label}")
            fitted[method] = stages.trained(config, name, method, gold, prior, fit, fit_key)
        estimator, row_key = fitted[method], key_for(key, row)
        draws = _draws(estimator, sampler, prior, trials.x, settings.n_draws, row_key)
        inner, outer = _densities(estimator, bool(sampler), prior, trials.x, draws, trials.theta0)
        ranks = sbc(trials.theta0, draws)
        judged = Judged(
            min(1.0, float(ranks.p_value.size * ranks.p_value.min())),
            float(expected_coverage(outer, inner).p_value),
        )
        saved.save({k: np.asarray(v) for k, v in judged._asdict().items()})
        directory.log(f"calibration {name} {row}", 0, **judged._asdict())
        found[row] = judged
    return found


def _draws(
    fitted: Any, sampler: str, prior: Any, x: Array, n_draws: int, key: Key
) -> Float[Array, "trial draw param"]:
    if sampler:
        options: dict[str, Any] = {"method": sampler, "n_warmup": N_WARMUP, "n_thin": N_THIN}
        return posteriors(fitted, prior, x[:, None], key=key, n_samples=n_draws, **options)
    return _sample(fitted, x, n_draws, key)


@eqx.filter_jit
def _sample(fitted: Any, x: Array, n_draws: int, key: Key) -> Array:
    keys = jax.random.split(key, x.shape[0])
    return jax.vmap(lambda x, key: fitted.sample(x, n_draws, key=key))(x, keys)


@eqx.filter_jit
def _densities(
    fitted: Any, is_likelihood: bool, prior: Any, x: Array, draws: Array, truth: Array
) -> tuple[Array, Array]:
    """Log-densities of the learned posteriors at the draws and at the truths."""

    def of_trial(arguments: tuple) -> Array:
        event, theta = arguments
        if not is_likelihood:
            return fitted.log_prob(theta, event)
        return jax.vmap(lambda t: fitted.log_ratio(event[None], t)[0] + prior.log_prob(t))(theta)

    points = jnp.concatenate([draws, truth[:, None]], axis=1)
    values = jax.lax.map(of_trial, (x, points))
    return values[:, :-1], values[:, -1]
