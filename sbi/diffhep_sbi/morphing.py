"""Morphing: distributions that are polynomial in the couplings, at any point from a few."""

import itertools
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Scalar

__citations__ = ("arXiv:1805.00020", "arXiv:1907.10621")

Powers = tuple[tuple[int, ...], ...]
"""Exponents of monomials, one row each."""

_LARGEST_CONDITION = 1e10
"""Of the matrix of monomials: beyond it six of sixteen digits are left."""

_CANDIDATES = 2000
"""Random bases from which the best starts."""


def monomial_powers(n_params: int, order: int = 2) -> np.ndarray:
    """Exponents of all monomials of a polynomial.

    Args:
        n_params: Number of couplings k.
        order: Largest total degree; 2 for a squared amplitude linear in the couplings.

    Returns:
        Shape (component, param); (k + 1)(k + 2)/2 components for order 2.

    Raises:
        ConfigError: A number is out of range.
    """
    n_params, order = as_integer(n_params, "n_params", low=1), as_integer(order, "order", low=1)
    grid = itertools.product(range(order + 1), repeat=n_params)
    powers = [power for power in grid if sum(power) <= order]
    return np.array(sorted(powers, key=lambda power: (sum(power), power)))


def monomials(
    theta: Float[Array, "*point param"], powers: Sequence[Sequence[int]]
) -> Float[Array, "*point component"]:
    """Monomials of parameters, differentiable any number of times, at zero too.

    Args:
        theta: The parameters.
        powers: Exponents, one row a monomial.

    Returns:
        One number a monomial.
    """
    # Exponents that are Python integers: a power with a traced one has NaN for its second
    # derivative at zero.
    one = jnp.ones_like(theta[..., 0])
    columns = [
        reduce(
            lambda product, index_power: product * theta[..., index_power[0]] ** index_power[1],
            ((index, int(power)) for index, power in enumerate(row) if power),
            one,
        )
        for row in powers
    ]
    return jnp.stack(columns, axis=-1)


class Morpher(eqx.Module):
    r"""$f(\theta) = \sum_b w_b(\theta)\,f(\theta_b)$ for every f that is polynomial in $\theta$.

    With the monomials $\phi_c(\theta)$ of the polynomial and $M_{bc} = \phi_c(\theta_b)$ the
    weights are $w(\theta) = M^{-T}\phi(\theta)$. They sum to 1, and may be negative.

    Attributes:
        basis: The benchmark points $\theta_b$, as many as there are monomials.
        powers: Exponents of the monomials, shape (component, param).

    Reference:
        J. Brehmer, K. Cranmer, G. Louppe, J. Pavez, arXiv:1805.00020, appendix.
    """

    basis: Float[Array, "benchmark param"] = eqx.field(converter=jnp.asarray)
    powers: Powers = eqx.field(
        static=True, converter=lambda powers: tuple(tuple(int(p) for p in row) for row in powers)
    )

    def __check_init__(self) -> None:
        shape = (len(self.powers), len(self.powers[0]))
        rule = f"be of shape {shape} for as many monomials"
        require_shape(self.basis.shape == shape, "basis", rule, f"shape {self.basis.shape}")
        require(bool(np.all(np.isfinite(self.basis))), "basis", "be finite", self.basis.tolist())
        whole = all(power >= 0 for row in self.powers for power in row)
        require(whole, "powers", "hold no negative exponents", self.powers)
        condition = float(np.linalg.cond(np.asarray(self.monomials(self.basis))))
        rule = "span all monomials: no point may follow from the others"
        good = condition < _LARGEST_CONDITION
        require(good, "basis", rule, f"one of condition number {condition:.1e}")

    def monomials(self, theta: Float[Array, "*point param"]) -> Float[Array, "*point component"]:
        r"""$\phi_c(\theta)$, the components' coefficients."""
        return monomials(theta, self.powers)

    def weights(self, theta: Float[Array, " param"]) -> Float[Array, " benchmark"]:
        r"""$w_b(\theta)$; differentiable in theta."""
        return jnp.linalg.solve(self.monomials(self.basis).T, self.monomials(theta))

    def components(
        self, values: Float[Array, "*event benchmark"]
    ) -> Float[Array, "*event component"]:
        """The coefficients of the monomials, from values at the benchmarks."""
        return jnp.linalg.solve(self.monomials(self.basis), values[..., None])[..., 0]

    def __call__(
        self, values: Float[Array, "*event benchmark"], theta: Float[Array, " param"]
    ) -> Float[Array, "*event"]:
        """Values at theta, from those at the benchmarks."""
        return values @ self.weights(theta)


def choose_basis(low: Any, high: Any, *, order: int = 2, n_points: int = 200, key: Key) -> Morpher:
    r"""The basis in a box whose morphing weights vary least.

    Minimised is the mean of $\ln\sum_b w_b(\theta)^2$ over points of the box, the factor by which
    morphing inflates the variance of weighted events: first over random bases, then downhill.

    Args:
        low: Lower corner of the box, shape (param,).
        high: Upper corner.
        order: As in `monomial_powers`.
        n_points: Points of the box over which the mean is taken.
        key: Random key.

    Returns:
        The morpher.

    Raises:
        ConfigError: The box is empty, or a number is out of range.
        ShapeError: The corners differ in shape.
    """
    check_key(key)
    low, high = jnp.asarray(low, float), jnp.asarray(high, float)
    good = low.ndim == 1 and low.shape == high.shape
    require_shape(good, "low, high", "be of shape (param,)", f"{low.shape} and {high.shape}")
    require(bool(jnp.all(low < high)), "high", f"lie above {low.tolist()}", high.tolist())
    powers = monomial_powers(low.size, order)
    shape = (as_integer(n_points, "n_points", low=1), low.size)
    points = jax.random.uniform(key_for(key, "points"), shape, float)
    shape = (_CANDIDATES, *powers.shape)
    candidates = jax.random.uniform(key_for(key, "bases"), shape, float)
    raw = _best_basis(candidates, points, low, high, tuple(map(tuple, powers.tolist())))
    return Morpher(low + (high - low) * jax.nn.sigmoid(raw), powers)


def _inflation(raw: Array, points: Array, low: Array, high: Array, powers: Powers) -> Scalar:
    """Of a basis given by the logits of its place in the box."""

    def components(place: Array) -> Array:
        return monomials(low + (high - low) * place, powers)

    weights = jnp.linalg.solve(components(jax.nn.sigmoid(raw)).T, components(points).T)
    return jnp.mean(jnp.log(jnp.sum(weights**2, axis=0)))


@partial(jax.jit, static_argnums=4)
def _best_basis(candidates: Array, points: Array, low: Array, high: Array, powers: Powers) -> Array:
    """The logits of the best basis."""
    starts = jax.scipy.special.logit(0.02 + 0.96 * candidates)
    values = jax.vmap(lambda raw: _inflation(raw, points, low, high, powers))(starts)
    start = starts[jnp.nanargmin(values)]
    found = optx.minimise(
        lambda raw, _: _inflation(raw, points, low, high, powers),
        optx.BFGS(rtol=1e-4, atol=1e-4),
        start,
        max_steps=200,
        throw=False,
    )
    return found.value
