"""Smooth minimisation, under a constraint by the augmented Lagrangian."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__citations__ = ("doi:10.1007/BF00927673",)

Smooth = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Value and gradient at a vector."""

FIRST_PENALTY, GROWTH, ENOUGH = 10.0, 10.0, 0.25
"""Of the squared violation; its growth where a round has not cut the violation to this share."""

MOST_ROUNDS, VIOLATION = 30, 1e-8
"""Rounds at most, and the largest violation that ends them."""


class Minimum(NamedTuple):
    """Where a search ended.

    Attributes:
        x: The vector.
        value: Of the objective there.
        violation: Of the constraint, not below zero.
        multiplier: Price of a unit of the constraint.
        n_evaluations: Of value and gradient.
    """

    x: Float[np.ndarray, " param"]
    value: float
    violation: float
    multiplier: float
    n_evaluations: int


def minimise(
    objective: Smooth,
    start: Float[np.ndarray, " param"],
    constraint: Smooth | None = None,
    *,
    most_steps: int = 2000,
    tolerance: float = 1e-15,
    settled: float = 1e-6,
) -> Minimum:
    r"""A local minimum of a smooth function, by L-BFGS.

    With $g\le0$, $f+[\max(0,\lambda+\mu g)^2-\lambda^2]/2\mu$ is minimised in rounds and
    $\lambda\leftarrow\max(0,\lambda+\mu g)$ after each.

    Args:
        objective: f and its gradient.
        start: Where the search begins.
        constraint: g and its gradient.
        most_steps: Of a round.
        tolerance: Relative change of the value that ends a round.
        settled: Relative change of the multiplier, beside no violation, that ends the rounds.

    Returns:
        The minimum.

    Reference:
        M. R. Hestenes, J. Optim. Theory Appl. 4, 303 (1969).
    """
    from scipy.optimize import minimize

    options = {"maxiter": most_steps, "ftol": tolerance, "gtol": 1e-11, "maxfun": 5 * most_steps}
    if constraint is None:
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        return Minimum(found.x, float(found.fun), 0.0, 0.0, int(found.nfev))
    x, multiplier, penalty, last, n_evaluations = start, 0.0, FIRST_PENALTY, np.inf, 0
    for _ in range(MOST_ROUNDS):

        def lagrangian(x: np.ndarray) -> tuple[float, np.ndarray]:
            (f, df), (g, dg) = objective(x), constraint(x)
            force = max(0.0, multiplier + penalty * g)  # noqa: B023 - used within the round
            value = f + (force**2 - multiplier**2) / (2.0 * penalty)  # noqa: B023
            return value, df + force * dg

        found = minimize(lagrangian, x, jac=True, method="L-BFGS-B", options=options)
        x, n_evaluations = found.x, n_evaluations + int(found.nfev)
        over = constraint(x)[0]
        before, multiplier = multiplier, max(0.0, multiplier + penalty * over)
        violation = max(over, 0.0)
        # Complementarity: either the bound is met, or it has no price.
        still = abs(multiplier - before) <= settled * max(1.0, multiplier)
        if violation <= max(VIOLATION, tolerance) and still:
            break
        if max(abs(over) if multiplier > 0.0 else 0.0, violation) > ENOUGH * last:
            penalty *= GROWTH
        last = max(abs(over) if multiplier > 0.0 else 0.0, violation)
    value = objective(x)[0]
    return Minimum(x, value, max(constraint(x)[0], 0.0), multiplier, n_evaluations)
