r"""Posteriors from a likelihood ratio and a prior.

$p(\theta|x_1 \dots x_n) \propto p(\theta) \prod_i r(x_i|\theta)$: the ratio is exact or learned,
and whatever it is a ratio to cancels. Chains run in numpyro's or blackjax's NUTS on unconstrained
coordinates; importance sampling draws from the prior; many chains that propose differences of one
another start from it and pass between modes.

Reference:
    M. D. Hoffman, A. Gelman, arXiv:1111.4246; numpyro, arXiv:1912.11554; blackjax,
    arXiv:2402.10797.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.errors import ConvergenceError
from diffhep.core.rng import check_key, key_for
from diffhep.core.stats import ess_fraction
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.events import require_finite_features
from diffhep_sbi.evolution import evolve
from diffhep_sbi.unbinned import LogRatio

__citations__ = ("arXiv:1111.4246", "arXiv:1912.11554", "arXiv:2402.10797")

Method = Literal["nuts", "blackjax", "importance"]
"""How a posterior is drawn."""

IMPORTANCE_DRAWS = 1000
"""Draws from the prior behind each trial of importance sampling, for each step of thinning."""

EVOLUTION_CHAINS = 1000
"""Most chains of a trial that move by differential evolution."""

TARGET_ACCEPTANCE = 0.8
"""Acceptance that the step size is adapted to, the usual one of NUTS."""


class PosteriorSamples(NamedTuple):
    """Draws from a posterior.

    Attributes:
        theta: The draws.
        log_weight: Logarithms of their weights, 0 for chains.
        ess: Effective sample size: of the weights, or the smallest of any parameter's chains.
        r_hat: Largest split R-hat of any parameter; 1 for importance sampling.
        n_divergent: Divergent transitions.
    """

    theta: Float[Array, "sample param"]
    log_weight: Float[Array, " sample"]
    ess: float
    r_hat: float
    n_divergent: int

    def resample(self, n_samples: int, *, key: Key) -> Float[Array, "sample param"]:
        """Draws of equal weight.

        Args:
            n_samples: How many.
            key: Random key.

        Returns:
            Draws with replacement.
        """
        check_key(key)
        share = jax.nn.softmax(self.log_weight)
        return self.theta[jax.random.choice(key, share.shape[0], (n_samples,), p=share)]


class LogLikelihood(eqx.Module):
    """Sum of the log-ratios of a set of events.

    Attributes:
        ratio: An object with `log_ratio(x, theta)`.
        x: The events.
    """

    ratio: LogRatio
    x: Float[Array, "event feature"]

    def __call__(self, theta: Float[Array, " param"]) -> Scalar:
        """The sum at a point."""
        return jnp.sum(self.ratio.log_ratio(self.x, theta))


def posterior(
    ratio: LogRatio,
    prior: Any,
    x: Float[Array, "event feature"],
    *,
    key: Key,
    method: Method = "nuts",
    n_samples: int = 1000,
    n_warmup: int = 500,
    n_chains: int = 4,
) -> PosteriorSamples:
    """Draw from the posterior of independent events.

    Args:
        ratio: An object with `log_ratio(x, theta)`: a `RatioEnsemble` or an exact one.
        prior: A numpyro distribution of vectors, such as `Uniform(low, high).to_event(1)`.
        x: The observed events, one row each.
        key: Random key.
        method: "nuts" is numpyro's, with the ratio as a `numpyro.factor`; "blackjax" is
            blackjax's NUTS with window adaptation; "importance" weights draws from the prior.
        n_samples: Draws in all, shared evenly by the chains.
        n_warmup: Adaptation steps of each chain.
        n_chains: Chains, in one program.

    Returns:
        The draws and how far to trust them.

    Raises:
        ConfigError: `method` is unknown or a count is too small.
        ShapeError: The prior is not one of vectors.
        DataError: A feature is not finite.
        ConvergenceError: No draw has a finite density.
    """
    check_key(key)
    require(method in _METHODS, "method", f"be one of {', '.join(_METHODS)}", method)
    counts = {"n_samples": n_samples, "n_warmup": n_warmup, "n_chains": n_chains}
    for name, value in counts.items():
        as_integer(value, name, low=1)
    require_finite_features(x)
    shape = getattr(prior, "event_shape", None)
    good = shape is not None and len(shape) == 1 and prior.batch_shape == ()
    require_shape(good, "prior", "be a distribution of vectors", f"event shape {shape}")
    found = _METHODS[method](LogLikelihood(ratio, x), prior, key, **counts)
    if not np.any(np.isfinite(np.asarray(found.log_weight))):
        raise ConvergenceError("The posterior has no draw of finite density.")
    return found


def posteriors(
    ratio: LogRatio,
    prior: Any,
    x: Float[Array, "trial event feature"],
    *,
    key: Key,
    method: Method | Literal["evolution"] = "nuts",
    n_samples: int = 100,
    n_warmup: int = 200,
    n_thin: int = 5,
) -> Float[Array, "trial draw param"]:
    """Draws from the posteriors of many sets of data, in one program: what `sbc` asks for.

    Args:
        ratio: As in `posterior`.
        prior: As in `posterior`.
        x: One set of events a trial.
        key: Random key.
        method: As in `posterior`; importance sampling resamples a thousand times `n_thin` draws
            from the prior. "evolution" starts up to a thousand chains there, which then move by
            differential evolution: for posteriors of several modes and many draws.
        n_samples: Draws of each trial.
        n_warmup: Adaptation steps of its chain.
        n_thin: Steps of a chain from one draw to the next, so that draws are independent.

    Returns:
        Draws of equal weight.

    Raises:
        ConfigError: `method` is unknown or a count is too small.
        DataError: A feature is not finite.
    """
    check_key(key)
    known = (*_METHODS, "evolution")
    require(method in known, "method", f"be one of {', '.join(known)}", method)
    counts = {"n_samples": n_samples, "n_warmup": n_warmup, "n_thin": n_thin}
    for name, value in counts.items():
        as_integer(value, name, low=1)
    require_finite_features(x.reshape(-1, x.shape[-1]))
    if method == "importance":
        return _importance_trials(ratio, prior, x, key, n_samples, IMPORTANCE_DRAWS * n_thin)
    if method == "evolution":
        return _evolution_trials(ratio, prior, x, key, n_samples, n_warmup, n_thin)
    if method == "blackjax":
        return _blackjax_trials(ratio, prior, x, key, n_samples, n_warmup, n_thin)
    return _nuts_trials(ratio, prior, x, key, n_samples, n_warmup, n_thin)


def _per_chain(n_samples: int, n_chains: int) -> int:
    return -(-n_samples // n_chains)


def _of_chains(theta: Array, n_divergent: Any, n_samples: int) -> PosteriorSamples:
    """Chains of shape (chain, step, param), cut to the number asked for."""
    from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

    chains = np.asarray(theta)
    ess = float(np.min(effective_sample_size(chains)))
    r_hat = float(np.max(split_gelman_rubin(chains))) if chains.shape[1] >= 4 else float("nan")
    rows = theta.transpose(1, 0, 2).reshape(-1, theta.shape[-1])[:n_samples]
    return PosteriorSamples(rows, jnp.zeros(rows.shape[0]), ess, r_hat, int(n_divergent))


def _run_nuts(
    log_likelihood: LogLikelihood, prior: Any, key: Key, *, n_chains: int, **settings: Any
) -> Any:
    """Numpyro's chains of one posterior."""
    import numpyro
    from numpyro.infer import MCMC, NUTS

    def model() -> None:
        theta: Any = numpyro.sample("theta", prior)
        numpyro.factor("log_ratio", log_likelihood(theta))

    chains = MCMC(
        NUTS(model, target_accept_prob=TARGET_ACCEPTANCE),
        num_chains=n_chains,
        chain_method="vectorized",
        progress_bar=False,
        **settings,
    )
    chains.run(key)
    return chains


def _nuts(
    log_likelihood: LogLikelihood,
    prior: Any,
    key: Key,
    *,
    n_samples: int,
    n_warmup: int,
    n_chains: int,
) -> PosteriorSamples:
    settings = {"num_warmup": n_warmup, "num_samples": _per_chain(n_samples, n_chains)}
    chains = _run_nuts(log_likelihood, prior, key, n_chains=n_chains, **settings)
    theta = chains.get_samples(group_by_chain=True)["theta"]
    return _of_chains(theta, jnp.sum(chains.get_extra_fields()["diverging"]), n_samples)


@eqx.filter_jit
def _nuts_trials(
    ratio: LogRatio, prior: Any, x: Array, key: Key, n_samples: int, n_warmup: int, n_thin: int
) -> Array:
    def one(x: Array, key: Key) -> Array:
        settings = {"num_warmup": n_warmup, "num_samples": n_samples * n_thin, "thinning": n_thin}
        chains = _run_nuts(LogLikelihood(ratio, x), prior, key, n_chains=1, **settings)
        return chains.get_samples()["theta"]

    return jax.vmap(one)(x, jax.random.split(key, x.shape[0]))


@eqx.filter_jit
def _blackjax_chains(
    log_density: Callable[[Array], Scalar], start: Array, key: Key, n_warmup: int, n_steps: int
) -> tuple[Array, Array]:
    def chain(start: Array, key: Key) -> tuple[Array, Array]:
        return _blackjax_chain(log_density, start, key, n_warmup, n_steps)

    return jax.vmap(chain)(start, jax.random.split(key, start.shape[0]))


def _blackjax_chain(
    log_density: Callable[[Array], Scalar], start: Array, key: Key, n_warmup: int, n_steps: int
) -> tuple[Array, Array]:
    import blackjax

    adapt, run = key_for(key, "warm-up"), key_for(key, "chain")
    warmup: Any = blackjax.window_adaptation(
        blackjax.nuts, log_density, target_acceptance_rate=TARGET_ACCEPTANCE
    )
    (state, settings), _ = warmup.run(adapt, start, num_steps=n_warmup)
    kernel: Any = blackjax.nuts(log_density, **settings)

    def step(state: Any, key: Key) -> tuple[Any, tuple[Array, Array]]:
        state, info = kernel.step(key, state)
        return state, (state.position, info.is_divergent)

    _, (positions, divergent) = jax.lax.scan(step, state, jax.random.split(run, n_steps))
    return positions, divergent


@eqx.filter_jit
def _blackjax_trials(
    ratio: LogRatio, prior: Any, x: Array, key: Key, n_samples: int, n_warmup: int, n_thin: int
) -> Array:
    from numpyro.distributions import biject_to

    transform = biject_to(prior.support)

    def one(x: Array, key: Key) -> Array:
        density = _Unconstrained(LogLikelihood(ratio, x), prior, transform)
        start = transform.inv(prior.sample(key_for(key, "start")))
        z, _ = _blackjax_chain(density, start, key, n_warmup, n_samples * n_thin)
        return jax.vmap(transform)(z[n_thin - 1 :: n_thin])

    return jax.vmap(one)(x, jax.random.split(key, x.shape[0]))


@eqx.filter_jit
def _importance_trials(
    ratio: LogRatio, prior: Any, x: Array, key: Key, n_samples: int, n_draws: int
) -> Array:
    def one(trial: tuple[Array, Key]) -> Array:
        x, key = trial
        theta = prior.sample(key_for(key, "prior"), (n_draws,))
        log_weight = jax.vmap(LogLikelihood(ratio, x))(theta)
        shape = (n_samples,)
        return theta[jax.random.categorical(key_for(key, "resample"), log_weight, shape=shape)]

    # One trial at a time, so that memory stays that of one.
    return jax.lax.map(one, (x, jax.random.split(key, x.shape[0])))


@eqx.filter_jit
def _evolution_trials(
    ratio: LogRatio, prior: Any, x: Array, key: Key, n_samples: int, n_warmup: int, n_thin: int
) -> Array:
    n_chains = min(EVOLUTION_CHAINS, n_samples + n_samples % 2)
    n_rounds = -(-n_samples // n_chains)

    def one(x: Array, key: Key) -> Array:
        log_likelihood = LogLikelihood(ratio, x)
        theta = prior.sample(key_for(key, "prior"), (IMPORTANCE_DRAWS * n_thin,))
        log_weight = jax.vmap(log_likelihood)(theta)
        rows = jax.random.categorical(key_for(key, "start"), log_weight, shape=(n_chains,))

        def log_density(theta: Array) -> Scalar:
            log_p = log_likelihood(theta) + prior.log_prob(theta)
            return jnp.where(prior.support.check(theta), log_p, -jnp.inf)

        steps = {"n_warmup": n_warmup, "n_rounds": n_rounds, "n_thin": n_thin}
        draws = evolve(log_density, theta[rows], key=key_for(key, "chains"), **steps)
        return draws.reshape(-1, theta.shape[-1])[:n_samples]

    return jax.vmap(one)(x, jax.random.split(key, x.shape[0]))


class _Unconstrained(eqx.Module):
    """The density of unconstrained coordinates."""

    log_likelihood: LogLikelihood
    prior: Any
    transform: Any

    def __call__(self, z: Array) -> Scalar:
        theta = self.transform(z)
        volume = self.transform.log_abs_det_jacobian(z, theta)
        return self.log_likelihood(theta) + self.prior.log_prob(theta) + jnp.sum(volume)


def _blackjax(
    log_likelihood: LogLikelihood,
    prior: Any,
    key: Key,
    *,
    n_samples: int,
    n_warmup: int,
    n_chains: int,
) -> PosteriorSamples:
    from numpyro.distributions import biject_to

    transform = biject_to(prior.support)
    start = jax.vmap(transform.inv)(prior.sample(key_for(key, "start"), (n_chains,)))
    density = _Unconstrained(log_likelihood, prior, transform)
    steps = _per_chain(n_samples, n_chains)
    z, divergent = _blackjax_chains(density, start, key_for(key, "chains"), n_warmup, steps)
    return _of_chains(jax.vmap(jax.vmap(transform))(z), jnp.sum(divergent), n_samples)


def _importance(
    log_likelihood: LogLikelihood,
    prior: Any,
    key: Key,
    *,
    n_samples: int,
    n_warmup: int,
    n_chains: int,
) -> PosteriorSamples:
    theta = prior.sample(key, (n_samples,))
    # One draw at a time: a batch of all would hold the events of every draw.
    log_weight = eqx.filter_jit(lambda f, theta: jax.lax.map(f, theta))(log_likelihood, theta)
    log_weight = jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf)
    if not np.any(np.isfinite(np.asarray(log_weight))):
        raise ConvergenceError("The posterior has no draw of finite density.")
    ess = float(ess_fraction(log_weight)) * n_samples
    return PosteriorSamples(theta, log_weight, ess, 1.0, 0)


_METHODS: dict[str, Callable[..., PosteriorSamples]] = {
    "nuts": _nuts,
    "blackjax": _blackjax,
    "importance": _importance,
}
