"""Heatbath and overrelaxation of U(1) links in two dimensions."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffhep.core.typing import Count, Key, Scalar
from diffhep_lattice.geometry import neighbour
from diffhep_lattice.groups import wrap

__citations__ = ("doi:10.2307/2346732",)

_MAX_ROUNDS = 64
"""Rounds of rejection: a link is left as it was once in 0.34**64 = 1e-30 updates."""

_LEAST_CONCENTRATION = 1e-9
"""A link whose neighbours leave it free has this one in place of zero: the density is the same to
rounding, and the envelope's parameter 1/kappa stays finite."""

_SUBLATTICES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(direction of the links, parity of their coordinate across it)."""


def heatbath_sweep(
    U: Float[Array, "mu L T"], beta: Scalar, *, key: Key
) -> tuple[Float[Array, "mu L T"], Count]:
    """Every link drawn once from its density given all others.

    Args:
        U: Link angles in radians.
        beta: Inverse coupling.
        key: Random key.

    Returns:
        The new angles, and how many of them were refused in all rounds and kept their value.
    """
    n_kept = jnp.zeros((), int)
    keys = jax.random.split(key, len(_SUBLATTICES))
    for (direction, parity), part_key in zip(_SUBLATTICES, keys, strict=True):
        mean, concentration = _conditional(U, direction, parity, beta)
        old = _stripes(U[direction], 1 - direction)[parity]
        offset, accepted = _von_mises(concentration, key=part_key)
        U = _replace(U, direction, parity, jnp.where(accepted, wrap(mean + offset), old))
        n_kept += jnp.sum(~accepted)
    return U, n_kept


def overrelaxation_sweep(U: Float[Array, "mu L T"], beta: Scalar) -> Float[Array, "mu L T"]:
    """Every link reflected about the mean of its density given all others."""
    for direction, parity in _SUBLATTICES:
        U = _overrelax(U, direction, parity, beta)
    return U


def _stripes(field: Float[Array, "L T"], axis: int) -> tuple[Array, Array]:
    """The even and the odd rows of a field along an axis."""
    if axis == 0:
        return field[0::2], field[1::2]
    return field[:, 0::2], field[:, 1::2]


def _replace(U: Array, direction: int, parity: int, stripe: Array) -> Array:
    """The gauge field with one sublattice of links replaced; interleaving beats a scatter."""
    axis = 1 - direction
    rows = list(_stripes(U[direction], axis))
    rows[parity] = stripe
    links = jnp.stack(rows, axis + 1).reshape(U.shape[1:])
    return jnp.stack([links, U[1]] if direction == 0 else [U[0], links])


def _conditional(
    U: Float[Array, "mu L T"], direction: int, parity: int, beta: Scalar
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Mean $\phi$ and concentration $\kappa \ge 0$ of the links of one sublattice.

    The two plaquettes have the angles $\theta + a$ and $b - \theta$, and
    $\cos(\theta+a) + \cos(\theta-b) = 2\cos\frac{a+b}2\cos(\theta-\frac{b-a}2)$.
    """
    across = 1 - direction
    side = U[across]
    ahead = neighbour(side, direction) - neighbour(U[direction], across) - side
    behind = neighbour(U[direction] + neighbour(side, direction) - side, across, -1)
    a, b = (_stripes(angle, across)[parity] for angle in (ahead, behind))
    strength = 2.0 * beta.astype(U.dtype) * jnp.cos(0.5 * (a + b))
    mean = 0.5 * (b - a) + jnp.where(strength < 0.0, math.pi, 0.0).astype(U.dtype)
    return mean, jnp.abs(strength)


def _overrelax(
    U: Float[Array, "mu L T"], direction: int, parity: int, beta: Scalar
) -> Float[Array, "mu L T"]:
    """The field with the links of one sublattice reflected about their conditional mean."""
    mean, _ = _conditional(U, direction, parity, beta)
    old = _stripes(U[direction], 1 - direction)[parity]
    return _replace(U, direction, parity, wrap(2.0 * mean - old))


def _von_mises(
    concentration: Float[Array, "*link"], *, key: Key
) -> tuple[Float[Array, "*link"], Bool[Array, "*link"]]:
    """Angles with density exp(kappa cos) by rejection from a wrapped Cauchy envelope.

    Exact for any envelope parameter above one; its best value only saves rounds. The chance that
    a link is refused in all rounds depends on its neighbours alone, not on its own value.

    Reference: D. J. Best, N. I. Fisher, J. R. Stat. Soc. C 28 (1979) 152.
    """
    kappa = jnp.maximum(concentration, _LEAST_CONCENTRATION)
    # The published (tau - sqrt(2 tau)) / (2 kappa), written so that nothing cancels.
    root = jnp.sqrt(1.0 + 4.0 * kappa * kappa)
    tau = 1.0 + root
    rho = 2.0 * kappa * jnp.sqrt(tau) / ((jnp.sqrt(tau) + math.sqrt(2.0)) * tau)
    envelope = (1.0 + rho * rho) / (2.0 * rho)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        count, _, accepted = carry
        return (count < _MAX_ROUNDS) & ~jnp.all(accepted)

    def one_round(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, angle, accepted = carry
        draws = jax.random.uniform(jax.random.fold_in(key, count), (2, *kappa.shape), kappa.dtype)
        turn = math.pi * (2.0 * draws[0] - 1.0)
        z = jnp.cos(turn)
        cos_angle = (1.0 + envelope * z) / (envelope + z)
        excess = kappa * (envelope - cos_angle)
        passes = jnp.log(excess) + 1.0 - excess >= jnp.log(draws[1])
        # cos(turn) does not know the sign of turn, so it is free to give the angle its sign.
        new = jnp.sign(turn) * jnp.arccos(jnp.clip(cos_angle, -1.0, 1.0))
        return count + 1, jnp.where(accepted, angle, new), accepted | passes

    start = (jnp.zeros((), int), jnp.zeros_like(kappa), jnp.zeros(kappa.shape, bool))
    _, angle, accepted = jax.lax.while_loop(unfinished, one_round, start)
    return angle, accepted
