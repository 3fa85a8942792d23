"""What a context says of the state before it: the reversals that an operator remembers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_real
from diffhep.magnet.operator_fit import fit_operator
from diffhep.magnet.operators.base import AbstractOperator, as_series

__citations__ = ("doi:10.1137/0111030", "doi:10.1007/978-1-4612-3028-1")

_STARTS = (-1.0, 0.0, 1.0)
"""Where the searches start: reversals that close in on the input fast, by halves, slowly."""


class StateEstimate(NamedTuple):
    """A past that fits a context.

    Attributes:
        state: Of the operator before the context's first input.
        history: Reversals that lead there.
        rmse: Root mean square error on the context.
        closeness: What the history was made of, see `nested_history`.
    """

    state: Any
    history: Float[Array, " past"]
    rmse: float
    closeness: Float[Array, " reversal"]


def nested_history(
    u0: Any, limit: Any, closeness: Float[Array, " reversal"]
) -> Float[Array, " past"]:
    r"""Reversals that close in on an input from both sides: all that a static operator remembers.

    From the demagnetised state to `limit` and to its negative, then alternately above and below
    $u_0$, at distances $d_{k+1} = d_k\,\sigma(z_k)$ on either side, with the logistic function.
    Whatever past there was, only such reversals are left of it.

    Args:
        u0: The input to which they close in.
        limit: The largest input there may have been.
        closeness: $z_k$, any real numbers: the first for a maximum, the second for a minimum.

    Returns:
        Inputs before `u0`, the oldest first.
    """
    shares = jax.nn.sigmoid(jnp.asarray(closeness))
    above = u0 + (limit - u0) * jnp.cumprod(shares[0::2])
    below = u0 - (limit + u0) * jnp.cumprod(shares[1::2])
    n = shares.shape[0]
    both = jnp.zeros(n).at[0::2].set(above).at[1::2].set(below)
    ends = jnp.stack([jnp.zeros_like(above[0]), limit * jnp.ones_like(above[0])])
    return jnp.concatenate([ends, -ends[1:], both])


def estimate_state(
    operator: AbstractOperator,
    u: Float[Array, " time"],
    y: Float[Array, " time"],
    *,
    limit: float,
    n_reversals: int = 4,
    dt: Float[Array, " time"] | float = 1.0,
    max_steps: int = 60,
) -> StateEstimate:
    """The past whose state makes an operator's outputs nearest to a context's.

    Least squares over `nested_history`, by Levenberg and Marquardt's method from three starts. What
    the context does not tell stays near where the search started: `sample_operator` with the same
    parameters gives the whole range of pasts.

    Args:
        operator: A static one: its state depends on reversals only.
        u: Inputs of the context.
        y: Outputs.
        limit: The largest input there may have been before.
        n_reversals: Reversals to be found, beyond the ends.
        dt: Seconds between inputs.
        max_steps: Most steps of each search.

    Returns:
        The estimate.

    Raises:
        ConfigError: The limit is not positive and above all inputs, or there is no reversal.
        DataError: A number is not finite.
        ShapeError: The series are not equally long.
    """
    u = as_series(u, "u")
    n = as_integer(n_reversals, "n_reversals", low=2)
    least = float(jnp.max(jnp.abs(u)))
    require_real(limit, "limit", f"be at least the largest input, {least}", low=least)

    def build(closeness: Array) -> tuple[AbstractOperator, Any]:
        return operator, operator.init(u[0], nested_history(u[0], limit, closeness))

    fits = [
        fit_operator(build, jnp.full(n, start), u, y, dt=dt, max_steps=max_steps)
        for start in _STARTS
    ]
    best = min(fits, key=lambda fit: fit.rmse)
    history = nested_history(u[0], limit, best.parameters)
    return StateEstimate(build(best.parameters)[1], history, best.rmse, best.parameters)
