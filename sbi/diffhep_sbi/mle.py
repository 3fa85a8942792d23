r"""Best fits and profile likelihoods, many of them in one compiled program.

$\hat\theta$ maximises $L$; $\hat{\hat\theta}(\mu)$ maximises it at a fixed parameter of interest.
The profile likelihood ratio is $t_\mu = 2[\log L(\hat\theta) - \log L(\hat{\hat\theta}(\mu))]$.

Reference:
    arXiv:1007.1727.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from diffhep.core.checks import require, require_shape, require_x64
from diffhep.core.errors import ConvergenceError
from diffhep.core.typing import Flag, Scalar
from diffhep_sbi.likelihood import Likelihood, Observation
from diffhep_sbi.newton import BoundedNewton

__citations__ = ("arXiv:1007.1727",)

MAX_STEPS = 200
"""Newton steps before a fit counts as failed; a good one takes five to fifteen."""

TOLERANCE = 1e-10
"""Expected change of the log-likelihood at the end of a fit."""

FAILED = 1e-4
"""Expected change above which a fit that ended early counts as failed."""


class BestFit(NamedTuple):
    """A maximum of the likelihood.

    Attributes:
        theta: The parameters there.
        log_likelihood: Its value there.
        covariance: Inverse of minus its second derivatives over the parameters that are free and
            not at a bound; 0 for the others.
        is_converged: Whether the fit found it.
    """

    theta: Float[Array, " param"]
    log_likelihood: Scalar
    covariance: Float[Array, "param param"]
    is_converged: Flag


class Profile(NamedTuple):
    """A profile likelihood.

    Attributes:
        values: The parameter of interest.
        t: Twice the drop of the log-likelihood from its maximum, profiled at each value.
        theta: All parameters at each value.
        best: The maximum.
        is_converged: Which fits found theirs.
    """

    values: Float[Array, " grid"]
    t: Float[Array, " grid"]
    theta: Float[Array, "grid param"]
    best: BestFit
    is_converged: Bool[Array, " grid"]


def maximise(
    likelihood: Likelihood,
    observation: Observation,
    start: Float[Array, " param"],
    low: Float[Array, " param"],
    high: Float[Array, " param"],
    is_free: Array,
) -> BestFit:
    """The fit behind `mle` and `profile`: a pure function of arrays, to be vmapped.

    Args:
        likelihood: What is maximised.
        observation: The data.
        start: Where to start; parameters that are not free stay there.
        low: Lower bounds.
        high: Upper bounds.
        is_free: Which parameters move.

    Returns:
        The maximum.
    """

    def minus_log(theta: Array, _: Any) -> Scalar:
        return -likelihood.log_prob(theta, observation)

    solver = BoundedNewton(low=low, high=high, is_free=is_free, atol=TOLERANCE)
    start = jnp.where(is_free, jnp.clip(start, low, high), start)
    found = optx.minimise(minus_log, solver, start, max_steps=MAX_STEPS, throw=False)
    state = found.state
    moves = solver.moves(found.value, state.gradient)
    block = jnp.where(moves[:, None] & moves, state.hessian, jnp.eye(start.shape[0]))
    covariance = jnp.where(moves[:, None] & moves, jnp.linalg.inv(block), 0.0)
    converged = jnp.isfinite(state.value) & (state.expected_decrease < FAILED)
    theta = jax.lax.stop_gradient(found.value)
    return BestFit(theta, -state.value, covariance, converged)


def maximise_free_and_at(
    likelihood: Likelihood,
    observation: Observation,
    values: Float[Array, " grid"],
    floor: float = -jnp.inf,
) -> tuple[BestFit, BestFit]:
    """The best fit, and those at fixed parameters of interest, as one batch; pure.

    Args:
        likelihood: What is maximised.
        observation: The data.
        values: Where the parameter of interest is fixed.
        floor: A lower bound of the parameter of interest in the free fit, beside its own.

    Returns:
        The best fit, and one for each value.
    """
    index = likelihood.index(likelihood.poi)
    low, high = likelihood.bounds
    low = low.at[index].max(floor)
    n_rows = values.shape[0] + 1
    start = jnp.tile(likelihood.start, (n_rows, 1)).at[1:, index].set(values)
    is_free = jnp.tile(jnp.asarray(likelihood.is_free), (n_rows, 1)).at[1:, index].set(False)

    def one(start: Array, is_free: Array) -> BestFit:
        return maximise(likelihood, observation, start, low, high, is_free)

    # One loop for all: it is compiled once, and ends with the slowest fit.
    fits = jax.vmap(one)(start, is_free)
    free, fixed = (jax.tree.map(lambda leaf, at=at: leaf[at], fits) for at in (0, slice(1, None)))
    return free, fixed


@eqx.filter_jit
def _fit(
    likelihood: Likelihood,
    observation: Observation,
    start: Array,
    low: Array,
    high: Array,
    is_free: Array,
) -> BestFit:
    return maximise(likelihood, observation, start, low, high, is_free)


def mle(
    likelihood: Likelihood,
    observation: Observation | None = None,
    *,
    fixed: Mapping[str, float] | None = None,
    throw: bool = True,
) -> BestFit:
    """The maximum of a likelihood within the bounds of its parameters.

    Args:
        likelihood: What is maximised.
        observation: The data; the observed ones where left out.
        fixed: Parameters held at a value, by name.
        throw: Raise where the fit fails; otherwise look at `is_converged`.

    Returns:
        The maximum.

    Raises:
        ConvergenceError: The fit did not find it.
        ConfigError: There are no data, a name is unknown, or x64 is off.
    """
    require_x64("best fits")
    data = likelihood.data(observation)
    fixed = {} if fixed is None else fixed
    start = likelihood.replace(likelihood.start, fixed)
    is_free = jnp.asarray(likelihood.is_free)
    for name in fixed:
        is_free = is_free.at[likelihood.index(name)].set(False)
    found = _fit(likelihood, data, start, *likelihood.bounds, is_free)
    if throw:
        require_converged(found.is_converged, "best fit")
    return found


@eqx.filter_jit
def _profile(likelihood: Likelihood, observation: Observation, values: Array) -> Profile:
    best, fits = maximise_free_and_at(likelihood, observation, values)
    t = 2.0 * (best.log_likelihood - fits.log_likelihood)
    return Profile(values, t, fits.theta, best, fits.is_converged & best.is_converged)


def profile(
    likelihood: Likelihood,
    values: Float[Array, " grid"],
    observation: Observation | None = None,
    *,
    throw: bool = True,
) -> Profile:
    """The profile likelihood of the parameter of interest, all values in one vectorised program.

    Args:
        likelihood: What is profiled.
        values: Values of the parameter of interest.
        observation: The data; the observed ones where left out.
        throw: Raise where a fit fails; otherwise look at `is_converged`.

    Returns:
        Twice the drop of the log-likelihood, and the other parameters, at each value.

    Raises:
        ConvergenceError: A fit did not find its maximum.
        ShapeError: `values` are no row of numbers.
        ConfigError: There are no data, or x64 is off.
    """
    require_x64("profile likelihoods")
    grid = jnp.asarray(values, dtype=float)
    require_shape(grid.ndim == 1 and grid.size > 0, "values", "be a row", f"shape {grid.shape}")
    require(bool(jnp.all(jnp.isfinite(grid))), "values", "be finite", values)
    found = _profile(likelihood, likelihood.data(observation), grid)
    if throw:
        require_converged(found.is_converged, "profile")
    return found


def require_converged(is_converged: Array, what: str) -> None:
    """Raise a `ConvergenceError` that says how many fits failed.

    Args:
        is_converged: Which fits found their maximum.
        what: What the fits are of.

    Raises:
        ConvergenceError: One did not.
    """
    if isinstance(is_converged, Tracer) or bool(jnp.all(is_converged)):
        return
    failed = int(jnp.sum(~is_converged))
    raise ConvergenceError(
        f"The {what} did not converge: {failed} of {is_converged.size} fits are not at a maximum "
        f"after {MAX_STEPS} steps; check the bounds, the starting values, and that `n_rows` holds "
        "the events of a toy."
    )
