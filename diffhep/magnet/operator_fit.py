"""Least squares for the parameters of any operator, by Levenberg and Marquardt's method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.typing import PyTree
from diffhep.magnet.operators.base import AbstractOperator, as_series

__citations__ = ("doi:10.1137/0111030",)

TOLERANCE = 1e-8
"""Relative and absolute change of parameters and residuals at which the search ends."""


class OperatorFit(NamedTuple):
    """An operator after a fit.

    Attributes:
        operator: It.
        parameters: What it was built from.
        rmse: Root mean square error on the outputs that were fitted, in their unit.
        n_steps: Steps of the search.
        converged: Whether it ended before its last step was used up.
    """

    operator: AbstractOperator
    parameters: PyTree
    rmse: float
    n_steps: int
    converged: bool


def fit_operator(
    build: Callable[[Any], AbstractOperator | tuple[AbstractOperator, Any]],
    start: PyTree,
    u: Float[Array, " time"],
    y: Float[Array, " time"],
    *,
    dt: Float[Array, " time"] | float = 1.0,
    history: Float[Array, " past"] | None = None,
    weight: Float[Array, " time"] | None = None,
    also: Callable[[Float[Array, " time"]], Float[Array, " feature"]] | None = None,
    max_steps: int = 300,
) -> OperatorFit:
    r"""The parameters for which an operator's outputs are nearest to measured ones.

    Minimises $\sum_t w_t^2(y_t - \hat y_t)^2$, and the squares of `also`, by derivatives through
    the operator in forward mode: one run of the operator for every parameter in a step. The minimum
    is a local one, found from where the search starts.

    Args:
        build: Makes the operator of its parameters, or the operator and its state before the first
            input, which then takes the place of `history`. Parameters may take any real value: a
            positive one is best handed over as a logarithm.
        start: Where to start, a tree of arrays or floats.
        u: Inputs.
        y: Outputs.
        dt: Seconds between them, as the operator takes them.
        history: Inputs before the first, from the demagnetised state on.
        weight: $w_t\ge0$; 0 where an output is not to count. All the same by default.
        also: More residuals, of the operator's outputs: quantities that matter more than single
            points, such as the loop's area.
        max_steps: Most steps.

    Returns:
        The operator and how well it fits.

    Raises:
        ConfigError: The start is not finite.
        DataError: A number is not finite.
        ShapeError: The series are not equally long.

    Reference:
        D. W. Marquardt, J. Soc. Indust. Appl. Math. 11 (1963) 431.
    """
    u, y = as_series(u, "u"), as_series(y, "y")
    require_shape(u.shape == y.shape, "y", f"be as long as `u`, {u.shape[0]}", f"shape {y.shape}")
    scale = jnp.ones_like(y) if weight is None else as_series(weight, "weight")
    require_shape(scale.shape == y.shape, "weight", "be as long as `u`", f"shape {scale.shape}")
    steps = as_integer(max_steps, "max_steps", low=1)
    start = jax.tree.map(lambda x: jnp.asarray(x, dtype=float), start)

    def outputs(parameters: PyTree) -> Array:
        operator, state = begin(build(parameters), u[0], history, dt)
        return operator(u, dt, state=state)[0]

    def residuals(parameters: PyTree, _: None) -> tuple[Array, ...]:
        found = outputs(parameters)
        rows = scale * (found - y)
        return (rows,) if also is None else (rows, also(found))

    first = eqx.filter_jit(outputs)(start)
    require(bool(jnp.all(jnp.isfinite(first))), "start", "give finite outputs", start)
    solver = optx.LevenbergMarquardt(rtol=TOLERANCE, atol=TOLERANCE)
    found = optx.least_squares(residuals, solver, start, max_steps=steps, throw=False)
    counted = scale > 0
    error = jnp.where(counted, eqx.filter_jit(outputs)(found.value) - y, 0.0)
    return OperatorFit(
        begin(build(found.value), u[0], history, dt)[0],
        found.value,
        float(jnp.sqrt(jnp.sum(error**2) / jnp.sum(counted))),
        int(found.stats["num_steps"]),
        bool(found.result == optx.RESULTS.successful),
    )


def begin(
    built: AbstractOperator | tuple[AbstractOperator, Any],
    u0: Array,
    history: Float[Array, " past"] | None,
    dt: Any,
) -> tuple[AbstractOperator, Any]:
    """An operator and its state before the first input.

    Args:
        built: The operator, alone or with that state.
        u0: The first input.
        history: Inputs before, where the operator comes alone.
        dt: Seconds between inputs.

    Returns:
        Both.
    """
    if isinstance(built, tuple):
        return built
    return built, built.init(u0, history, dt if jnp.ndim(dt) == 0 else 1.0)
