r"""Design problems with exact optima, each with a simulation whose mean is the exact objective.

References:
    R. L. Gluckstern, Nucl. Instrum. Meth. 24, 381 (1963), for the positions of hits; the rest is
    derived in the docstrings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design, Parameter
from diffhep.detector.problem import DesignProblem, simulate_with

__citations__ = ("doi:10.1016/0029-554X(63)90347-1",)


class ClosedForm(eqx.Module):
    """A problem with everything known.

    Attributes:
        problem: What an optimiser sees.
        sampled: `sampled(design, key)`, one simulation; its mean is the exact objective. For
            estimators of gradients.
        best: The best design, or one of several; on a bound as near as a design can be.
        n_random: Numbers that a random start takes.
    """

    problem: DesignProblem
    sampled: Callable[[Design, Key], Scalar] = eqx.field(static=True)
    best: Float[Array, " param"]

    def random_start(self, key: Key) -> Design:
        """A design far from the best one.

        Args:
            key: Random key.

        Returns:
            Uniform between two bounds, within a factor of about ten above a single one.
        """
        free = self.problem.start.to_free()
        logistic = jax.random.logistic(key, free.shape)
        return self.problem.start.from_free(logistic)


def _closed_form(
    name: str,
    start: Design,
    exact: Callable[[Design], Scalar],
    sampled: Callable[[Design, Key], Scalar],
    best: Any,
    optimum: float,
    constraint: Callable[[Design], Scalar] | None = None,
) -> ClosedForm:
    problem = DesignProblem(
        start, simulate_with(sampled), constraint=constraint, exact=exact, optimum=optimum,
        name=name,
    )  # fmt: skip
    return ClosedForm(problem, sampled, jnp.asarray(best, dtype=float))


def gluckstern(n_hits: int = 8) -> ClosedForm:
    r"""Positions of hits on [0, 1] for the least variance of a parabola's curvature.

    The curvature is $\kappa=2\sum_i w_iy_i$ with $w_i=r_i/\sum_jr_j^2$, where $r$ is what is left
    of $x^2$ after a straight line; its variance is $4/\sum_ir_i^2$ in units of
    $\sigma^2/L^4$. Best are n/4, n/2 and n/4 hits at one end, the middle and the other: 256/n.
    Other divisions among the three places are local optima.

    Args:
        n_hits: Their number, divisible by 4.

    Returns:
        The problem.

    Raises:
        ConfigError: The number is not a positive multiple of four.
    """
    n = as_integer(n_hits, "n_hits", low=4)
    require(n % 4 == 0, "n_hits", "be divisible by 4", n)

    def residual(design: Design) -> Array:
        x = design["x"] - jnp.mean(design["x"])
        square = x**2 - jnp.mean(x**2)
        return square - x * jnp.sum(x * square) / jnp.sum(x**2)

    def exact(design: Design) -> Scalar:
        return 4.0 / jnp.sum(residual(design) ** 2)

    def sampled(design: Design, key: Key) -> Scalar:
        left = residual(design)
        curvature = 2.0 * jnp.sum(left * jax.random.normal(key, (n,))) / jnp.sum(left**2)
        return curvature**2

    start = Design(x=Parameter((jnp.arange(n) + 0.5) / n, "L", 0.0, 1.0))
    best = jnp.repeat(jnp.array([0.0, 0.5, 1.0]), jnp.array([n // 4, n // 2, n // 4]))
    return _closed_form(f"gluckstern{n}", start, exact, sampled, best, 256.0 / n)


def thickness(
    k: float = 0.05, depth: float = 22.0, energy: float = 10.0, price: float = 0.001,
    weight: float = 1.0,
) -> ClosedForm:  # fmt: skip
    r"""Thickness t of a sampling layer: $\min_t wk^2t/E+cT/t$.

    $\sigma/E=k\sqrt{t/E}$ for layers of thickness t, of which T/t fill the depth, each at the
    price c. $t^*=\sqrt{cTE/(wk^2)}$, $f^*=2\sqrt{wk^2cT/E}$.

    Args:
        k: Of the sampling term.
        depth: T, in the unit of t.
        energy: E.
        price: c, of a layer.
        weight: w, what a squared resolution is worth.

    Returns:
        The problem.
    """
    scale = weight * k**2 / energy

    def exact(design: Design) -> Scalar:
        return scale * design["t"] + price * depth / design["t"]

    def sampled(design: Design, key: Key) -> Scalar:
        error = jnp.sqrt(scale * design["t"]) * jax.random.normal(key)
        return error**2 + price * depth / design["t"]

    best = (price * depth / scale) ** 0.5
    start = Design(t=Parameter(1.0, "X0", 0.0))
    optimum = 2.0 * (scale * price * depth) ** 0.5
    return _closed_form("thickness", start, exact, sampled, [best], optimum)


def budget_split(
    variances: Sequence[float] = (1.0, 4.0, 2.25),
    prices: Sequence[float] = (1.0, 2.0, 0.5),
    budget: float = 10.0,
) -> ClosedForm:
    r"""Channels N of several parts: $\min\sum_is_i/N_i$ under $\sum_ic_iN_i\le C$.

    $N_i=C\sqrt{s_i/c_i}/\sum_j\sqrt{s_jc_j}$, $f^*=(\sum_j\sqrt{s_jc_j})^2/C$.

    Args:
        variances: s, of one channel of each part.
        prices: c, of a channel.
        budget: C.

    Returns:
        The problem.

    Raises:
        ConfigError: The parts have not as many prices as variances.
    """
    rule = "have one price for every variance"
    require(len(variances) == len(prices), "prices", rule, prices)
    s, c = jnp.asarray(variances, dtype=float), jnp.asarray(prices, dtype=float)

    def exact(design: Design) -> Scalar:
        return jnp.sum(s / design["N"])

    def sampled(design: Design, key: Key) -> Scalar:
        error = jnp.sqrt(s / design["N"]) * jax.random.normal(key, s.shape)
        return jnp.sum(error**2)

    def constraint(design: Design) -> Scalar:
        return jnp.sum(c * design["N"]) / budget - 1.0

    total = jnp.sum(jnp.sqrt(s * c))
    start = Design(N=Parameter(jnp.full(len(variances), 0.5 * budget / float(c.sum())), "", 0.0))
    best = budget * jnp.sqrt(s / c) / total
    return _closed_form(
        "budget", start, exact, sampled, best, float(total**2 / budget), constraint
    )  # fmt: skip


def vertex_radius(
    theta: float = 1e-3, occupancy: float = 1e-5, least: float = 0.5, most: float = 20.0
) -> ClosedForm:
    r"""Radius r of the first layer: $\min_r\theta^2r^2+g/r^2$.

    Multiple scattering by the angle $\theta$ pulls the layer inwards, occupancy outwards:
    $r^*=(g/\theta^2)^{1/4}$, $f^*=2\theta\sqrt g$. Without occupancy the lower bound is best.

    Args:
        theta: Angle of scattering.
        occupancy: g.
        least: Lower bound of r.
        most: Upper bound of r.

    Returns:
        The problem.

    Raises:
        ConfigError: The best radius is above the upper bound.
    """
    best = max((occupancy / theta**2) ** 0.25, least)
    require(best < most, "most", f"be above the best radius {best:.4g}", most)

    def exact(design: Design) -> Scalar:
        return (theta * design["r"]) ** 2 + occupancy / design["r"] ** 2

    def sampled(design: Design, key: Key) -> Scalar:
        scattered, confused = jax.random.normal(key, (2,))
        first = theta * design["r"] * scattered
        return first**2 + occupancy * (confused / design["r"]) ** 2

    start = Design(r=Parameter(0.5 * (least + most), "cm", least, most))
    optimum = theta**2 * best**2 + occupancy / best**2
    return _closed_form("vertex", start, exact, sampled, [best], optimum)


def squared_distance(centre: float = 0.5, spread: float = 1.0) -> ClosedForm:
    r"""$\mathrm E[(x-c)^2]$ with $x\sim N(\mu,s)$: gradient $2(\mu-c)$, optimum $s^2$.

    With $d=\mu-c$ the variance of a sample's gradient is $4s^2$ pathwise and
    $d^4/s^2+14d^2+15s^2$ by the score function without a baseline.

    Args:
        centre: c.
        spread: s.

    Returns:
        The problem.
    """

    def exact(design: Design) -> Scalar:
        return jnp.sum((design["mu"] - centre) ** 2) + spread**2

    def sampled(design: Design, key: Key) -> Scalar:
        return (design["mu"] + spread * jax.random.normal(key) - centre) ** 2

    start = Design(mu=Parameter(centre + 1.5 * spread))
    return _closed_form("distance", start, exact, sampled, [centre], spread**2)


def branching(n_generations: int = 6, reward: float = 40.0) -> ClosedForm:
    r"""$\min_p(1+p)^K-ap$: particles after K generations, each splitting with probability p.

    $K(1+p^*)^{K-1}=a$. No derivative of a simulation sees p; the sampled objective is for
    estimators by probability or black boxes.

    Args:
        n_generations: K.
        reward: a, between K and $K2^{K-1}$.

    Returns:
        The problem.

    Raises:
        ConfigError: The best probability is not between 0 and 1.
    """
    n = as_integer(n_generations, "n_generations", low=2)
    best = (reward / n) ** (1.0 / (n - 1)) - 1.0
    require(0.0 < best < 1.0, "reward", f"lie between {n} and {n * 2 ** (n - 1)}", reward)

    def exact(design: Design) -> Scalar:
        return (1.0 + design["p"]) ** n - reward * design["p"]

    def sampled(design: Design, key: Key) -> Scalar:
        alive = jnp.zeros(2**n).at[0].set(1.0)
        uniform = jax.random.uniform(key, (2**n - 1,))
        for generation in range(n):
            m = 2**generation
            split = alive[:m] * (uniform[m - 1 : 2 * m - 1] < design["p"])
            alive = alive.at[m : 2 * m].set(split)
        return jnp.sum(alive) - reward * design["p"]

    start = Design(p=Parameter(0.5, "", 0.0, 1.0))
    optimum = (1.0 + best) ** n - reward * best
    return _closed_form("branching", start, exact, sampled, [best], optimum)
