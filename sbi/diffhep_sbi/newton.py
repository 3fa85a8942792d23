r"""Newton's method between bounds: few parameters, exact second derivatives, many fits at once.

The step solves $(H + \lambda D)\,d = -g$ on the parameters that are free and not held at a bound by
the gradient, D the sizes of the diagonal of H, and is cut off at the bounds. The damping
$\lambda$ falls where a step decreases the function and rises where it does not, as Levenberg and
Marquardt do. The end is where the expected decrease is below a tolerance. optimistix drives it;
its own minimisers know no bounds, on which the best fits of a limit lie as a rule.

Reference:
    D. W. Marquardt, J. Soc. Ind. Appl. Math. 11 (1963) 431.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float

from diffhep.core.typing import Flag, Scalar

__citations__ = ("doi:10.1137/0111030",)

FIRST_DAMPING = 1e-3
"""A gentle start: the first step is nearly Newton's."""

LEAST_DAMPING = 1e-12
"""Below this, damping is lost in the rounding of the Hessian."""

LESS, MORE = 0.1, 10.0
"""Marquardt's factors after a good and a bad step."""

WORST_DAMPING = 1e12
"""A step this damped moves nothing: no decrease is left within rounding."""


class NewtonState(eqx.Module):
    """What the next step needs.

    Attributes:
        value: The function at the current point; infinite before the first step.
        gradient: Its gradient.
        hessian: Its second derivatives.
        damping: The damping of the next step.
        change: The next step.
        expected_decrease: What the quadratic model expects of an undamped step.
    """

    value: Scalar
    gradient: Float[Array, " param"]
    hessian: Float[Array, "param param"]
    damping: Scalar
    change: Float[Array, " param"]
    expected_decrease: Scalar


class BoundedNewton(optx.AbstractMinimiser):
    """Damped Newton steps between bounds, as a minimiser of optimistix.

    Attributes:
        rtol: Not used: the end is where the expected decrease is below `atol`.
        atol: Expected decrease at the end, in the units of the function.
        norm: Not used.
        low: Lower bounds.
        high: Upper bounds.
        is_free: Which parameters move.
    """

    low: Float[Array, " param"]
    high: Float[Array, " param"]
    is_free: Bool[Array, " param"]
    atol: float = eqx.field(static=True, default=1e-10)
    rtol: float = eqx.field(static=True, default=0.0)
    norm: Callable[..., Any] = eqx.field(static=True, default=optx.max_norm)

    def init(
        self, fn: Any, y: Array, args: Any, options: Any, f_struct: Any, aux_struct: Any, tags: Any
    ) -> NewtonState:
        """A state whose first step stays where it is, so that derivatives are compiled once."""
        infinite, nothing = jnp.asarray(jnp.inf, y.dtype), jnp.zeros_like(y)
        damping = jnp.asarray(FIRST_DAMPING / LESS, y.dtype)
        return NewtonState(
            infinite, nothing, jnp.eye(y.size, dtype=y.dtype), damping, nothing, infinite
        )

    def step(
        self, fn: Any, y: Array, args: Any, options: Any, state: NewtonState, tags: Any
    ) -> tuple[Array, NewtonState, Any]:
        """Try one step and keep it where the function falls."""
        trial = jnp.clip(y + state.change, self.low, self.high)
        trial = jnp.where(self.is_free, trial, y)
        value, gradient, hessian = _derivatives(fn, trial, args)
        finite = jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(hessian))
        good = finite & (value <= state.value)
        y, value, gradient, hessian = jax.tree.map(
            lambda new, old: jnp.where(good, new, old),
            (trial, value, gradient, hessian),
            (y, state.value, state.gradient, state.hessian),
        )
        damping = jnp.maximum(jnp.where(good, LESS, MORE) * state.damping, LEAST_DAMPING)
        change, decrease = _solve(gradient, hessian, damping, self.moves(y, gradient))
        # A start without finite derivatives is left by no step.
        decrease = jnp.where(jnp.isfinite(value), decrease, jnp.inf)
        return y, NewtonState(value, gradient, hessian, damping, change, decrease), None

    def terminate(
        self, fn: Any, y: Array, args: Any, options: Any, state: NewtonState, tags: Any
    ) -> tuple[Flag, optx.RESULTS]:
        """Whether no more decrease is expected, or none can be had."""
        done = (state.expected_decrease <= self.atol) | (state.damping >= WORST_DAMPING)
        return done, optx.RESULTS.successful

    def postprocess(
        self,
        fn: Any,
        y: Array,
        aux: Any,
        args: Any,
        options: Any,
        state: NewtonState,
        tags: Any,
        result: optx.RESULTS,
    ) -> tuple[Array, Any, dict[str, Any]]:
        """Nothing is left to do."""
        return y, aux, {}

    def moves(self, y: Array, gradient: Array) -> Bool[Array, " param"]:
        """Which parameters are free and not held at a bound by the gradient."""
        held = ((y <= self.low) & (gradient > 0)) | ((y >= self.high) & (gradient < 0))
        return self.is_free & ~held


def _derivatives(fn: Any, y: Array, args: Any) -> tuple[Scalar, Array, Array]:
    def value_of(y: Array) -> Scalar:
        return fn(y, args)[0]

    def gradient_of(y: Array) -> tuple[Array, tuple[Array, Array]]:
        value, gradient = jax.value_and_grad(value_of)(y)
        return gradient, (value, gradient)

    hessian, (value, gradient) = jax.jacfwd(gradient_of, has_aux=True)(y)
    return value, gradient, hessian


def _solve(gradient: Array, hessian: Array, damping: Scalar, moves: Array) -> tuple[Array, Scalar]:
    """The damped step, downhill even where the function bends down, and the decrease undamped."""
    diagonal = jnp.abs(jnp.diagonal(hessian))
    scale = jnp.where(moves, 1.0 / jnp.sqrt(jnp.where(diagonal > 0.0, diagonal, 1.0)), 0.0)
    scaled = hessian * scale[:, None] * scale + jnp.diag(jnp.where(moves, 0.0, 1.0))
    curvature, axes = jnp.linalg.eigh(scaled)
    curvature = jnp.maximum(jnp.abs(curvature), LEAST_DAMPING)
    slope = axes.T @ (scale * gradient)
    change = -scale * (axes @ (slope / (curvature + damping)))
    return change, 0.5 * jnp.sum(slope**2 / curvature)
