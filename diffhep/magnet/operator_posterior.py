"""Posteriors of the parameters of operators, and of their states, by the No-U-Turn sampler."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, PyTree
from diffhep.magnet.operator_fit import begin
from diffhep.magnet.operators.base import AbstractOperator, as_series

__citations__ = ("arXiv:1111.4246",)

Build = Callable[[Any], AbstractOperator | tuple[AbstractOperator, Any]]
"""Parameters to an operator, alone or with its state before the first input."""


class OperatorPosterior(NamedTuple):
    """Draws from a posterior.

    Attributes:
        parameters: What `prior` returned, with a leading axis: chain after chain.
        n_divergent: Transitions that diverged: none in a posterior that is trusted.
        r_hat: Largest split R-hat of the sampled sites: near 1 where the chains agree.
    """

    parameters: PyTree
    n_divergent: int
    r_hat: float


def sample_operator(
    build: Build,
    prior: Callable[[], PyTree],
    u: Float[Array, " time"],
    y: Float[Array, " time"],
    *,
    sigma: Float[Array, " time"] | float,
    key: Key,
    dt: Float[Array, " time"] | float = 1.0,
    history: Float[Array, " past"] | None = None,
    n_warmup: int = 500,
    n_samples: int = 500,
    n_chains: int = 2,
) -> OperatorPosterior:
    r"""Draws of an operator's parameters given a recording, under independent Gaussian noise.

    $p(\theta\mid y)\propto p(\theta)\prod_t N(y_t\mid\hat y_t(\theta), \sigma_t^2)$. With
    `nested_history` among the parameters the unknown past is drawn as well: what a context does not
    determine keeps its prior.

    Args:
        build: Makes the operator of what `prior` returns, or the operator and its state before the
            first input.
        prior: A numpyro program: draws parameters by `numpyro.sample` and returns them.
        u: Inputs.
        y: Outputs.
        sigma: Standard deviation of the outputs' noise.
        key: Random key.
        dt: Seconds between inputs.
        history: Inputs before the first, where `build` gives no state.
        n_warmup: Steps of each chain that tune the sampler.
        n_samples: Draws of each chain.
        n_chains: Chains, side by side.

    Returns:
        The draws.

    Raises:
        ConfigError: A count is too small, or a standard deviation is not positive.
        DataError: A number is not finite.
        ShapeError: The series are not equally long.

    Reference:
        M. D. Hoffman and A. Gelman, J. Mach. Learn. Res. 15 (2014) 1593, arXiv:1111.4246.
    """
    import numpyro
    from numpyro.diagnostics import split_gelman_rubin
    from numpyro.distributions import Normal
    from numpyro.infer import MCMC, NUTS

    check_key(key)
    u, y = as_series(u, "u"), as_series(y, "y")
    require_shape(u.shape == y.shape, "y", f"be as long as `u`, {u.shape[0]}", f"shape {y.shape}")
    known = concrete(jnp.asarray(sigma))
    if known is not None:
        require(bool((known > 0).all()), "sigma", "be positive", known.tolist())
    n_chains = as_integer(n_chains, "n_chains", low=1)

    def program() -> None:
        parameters = prior()
        operator, state = begin(build(parameters), u[0], history, dt)
        numpyro.deterministic(_RETURNED, parameters)
        numpyro.sample("y", Normal(operator(u, dt, state=state)[0], sigma), obs=y)

    chains = MCMC(
        NUTS(program),
        num_warmup=as_integer(n_warmup, "n_warmup", low=1),
        num_samples=as_integer(n_samples, "n_samples", low=4),
        num_chains=n_chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    chains.run(key)
    sites = dict(chains.get_samples(group_by_chain=True))
    parameters = sites.pop(_RETURNED)
    ratios = [split_gelman_rubin(values) for values in sites.values()]
    return OperatorPosterior(
        jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), parameters),
        int(chains.get_extra_fields()["diverging"].sum()),
        float(max(jnp.max(jnp.asarray(ratio)) for ratio in ratios)),
    )


def posterior_outputs(
    build: Build,
    posterior: OperatorPosterior,
    u: Float[Array, " time"],
    *,
    dt: Float[Array, " time"] | float = 1.0,
    history: Float[Array, " past"] | None = None,
) -> Float[Array, "draw time"]:
    """Outputs along a series under every draw: the forecast with all that is not known.

    Args:
        build: As in `sample_operator`.
        posterior: The draws.
        u: Inputs: those of the recording, carried on.
        dt: Seconds between inputs.
        history: As in `sample_operator`.

    Returns:
        One row for every draw.

    Raises:
        DataError: An input is not finite.
    """
    u = as_series(u, "u")

    @eqx.filter_jit
    def run(parameters: PyTree) -> Array:
        def one(drawn: PyTree) -> Array:
            operator, state = begin(build(drawn), u[0], history, dt)
            return operator(u, dt, state=state)[0]

        return jax.vmap(one)(parameters)

    return run(posterior.parameters)


_RETURNED = "parameters"
"""Site that keeps what the prior returned."""
