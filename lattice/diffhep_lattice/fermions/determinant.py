r"""The fermion determinant, exactly, by elimination of time slices.

In a spin basis in which $\gamma_1 = \mathrm{diag}(1, -1)$ a hop in time moves one component
forward and the other backward, so that the Dirac operator is block-cyclic in time,

$$ A_t\begin{pmatrix}p_t\\m_t\end{pmatrix}
 + \begin{pmatrix}B_t\,p_{t-1}\\F_t\,m_{t+1}\end{pmatrix}, $$

with $A_t$ of dimension 2L and the others of dimension L. Eliminating every other slice by its
Schur complement leaves a system of the same form with half the slices, and so on to the last one.
That costs about $T L^3$ operations where the LU decomposition of $D$ costs $(TL)^3$, and so does
the derivative by reverse-mode differentiation.

The first slices to go are one-dimensional operators with singular values of at least
$|1 - 2\kappa|$; later ones are operators on slabs, whose eigenvalues are small in exceptional
fields alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from diffhep.core.checks import require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.fermions.dirac import check_kappa, link_phases
from diffhep_lattice.geometry import require_plane

__citations__ = ("doi:10.1103/PhysRevD.10.2445", "arXiv:2202.11712")

Blocks = Complex[Array, "time row column"]
"""One matrix per time slice."""


class FermionDeterminant(NamedTuple):
    r"""The determinant of the Dirac operator, which is real.

    Attributes:
        sign: 1 or -1; 0 where the operator is singular.
        log_abs: $\log|\det D|$; $-\infty$ where the operator is singular.
    """

    sign: Scalar
    log_abs: Scalar


class _Slices(NamedTuple):
    """The block-cyclic system: within a slice, and from the slices after and before it."""

    within: Blocks
    forward: Blocks
    backward: Blocks


class _Pivots(NamedTuple):
    """What eliminated slices say about the determinant."""

    phase: Array
    log_abs: Scalar
    smallest: Scalar
    largest: Scalar


def fermion_determinant(U: Float[Array, "mu L T"], kappa: Any) -> FermionDeterminant:
    r"""The determinant of the Wilson Dirac operator of one gauge field.

    It is computed in double precision whatever the dtype of the field, and differentiable. An
    operator whose smallest pivot is lost in rounding counts as singular.

    Args:
        U: Link angles in radians.
        kappa: Hopping parameter, at least 0.

    Returns:
        Sign and logarithm of the modulus, float64.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `kappa` is negative or not finite, or `jax_enable_x64` is off.
    """
    require_x64("the fermion determinant")
    check_kappa(kappa)
    require_plane(U)  # before the cast, which would make angles of anything
    return _determinant(U.astype(jnp.float64), jnp.asarray(kappa, jnp.float64))


def log_determinant_force(U: Float[Array, "mu L T"], kappa: Any) -> Float[Array, "mu L T"]:
    r"""The gradient $\partial\log|\det D|/\partial U_\mu(x) = -\kappa\,\mathrm{Re\,tr}\,D^{-1}H'$.

    Args:
        U: Link angles in radians.
        kappa: Hopping parameter, at least 0.

    Returns:
        The gradient in the dtype of `U`; not a number where the operator is singular.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `kappa` is negative or not finite.
    """
    check_kappa(kappa)

    def log_abs_and_sign(V: Array) -> tuple[Scalar, Scalar]:
        found = _determinant(V, jnp.asarray(kappa, U.dtype))
        return found.log_abs, found.sign

    force, sign = jax.grad(log_abs_and_sign, has_aux=True)(U)
    return jnp.where(sign == 0.0, jnp.nan, force)


def _determinant(U: Float[Array, "mu L T"], kappa: Scalar) -> FermionDeterminant:
    """The determinant in the precision of the field."""
    slices = _time_slices(U, kappa)
    pivots = []
    while slices.within.shape[0] > 1:
        slices, found = _eliminate(slices)
        pivots.append(found)
    L = slices.forward.shape[-1]
    last = slices.within.at[:, :L, :L].add(slices.backward).at[:, L:, L:].add(slices.forward)
    pivots.append(_invert(last)[1])
    smallest = jnp.min(jnp.stack([found.smallest for found in pivots]))
    largest = jnp.max(jnp.stack([found.largest for found in pivots]))
    singular = smallest < U.size * jnp.finfo(last.dtype).eps * largest
    phase = jnp.prod(jnp.stack([found.phase for found in pivots])).real
    log_abs = sum((found.log_abs for found in pivots[1:]), pivots[0].log_abs)
    return FermionDeterminant(
        jnp.where(singular, 0.0, jnp.sign(phase)).astype(U.dtype),
        jnp.where(singular, -jnp.inf, log_abs),
    )


def _time_slices(U: Float[Array, "mu L T"], kappa: Scalar) -> _Slices:
    r"""The Dirac operator in the spin basis $(1, \pm i)/\sqrt2$, in which $\gamma_1$ is diagonal.

    There $\gamma_0 = \begin{pmatrix}0&-i\\i&0\end{pmatrix}$.
    """
    along_0, along_1 = jnp.moveaxis(link_phases(U), -1, 1)
    L = along_0.shape[-1]
    here, ahead = np.arange(L), (np.arange(L) + 1) % L
    # On a ring of two sites both hops lead to the same one: hence add.
    hop = jnp.zeros((*along_0.shape, L), along_0.dtype).at[:, here, ahead].add(along_0)
    back = jnp.conj(jnp.swapaxes(hop, -1, -2))
    even = jnp.eye(L) - kappa * (hop + back)
    odd = 1j * kappa * (hop - back)
    within = jnp.concatenate(
        [jnp.concatenate([even, -odd], axis=-1), jnp.concatenate([odd, even], axis=-1)], axis=-2
    )
    forward = -2.0 * kappa * along_1[..., None] * jnp.eye(L)
    return _Slices(within, forward, jnp.conj(jnp.roll(forward, 1, axis=0)))


def _eliminate(slices: _Slices) -> tuple[_Slices, _Pivots]:
    """Take out every other slice; of an odd number, the last one stays beside the first."""
    within, forward, backward = slices
    n, L = within.shape[0], forward.shape[-1]
    k = n // 2
    inverse, pivots = _invert(within[1 : 2 * k : 2])
    pp, pm = inverse[:, :L, :L], inverse[:, :L, L:]
    mp, mm = inverse[:, L:, :L], inverse[:, L:, L:]
    before, after = 2 * np.arange(k), (2 * np.arange(k) + 2) % n
    into, out = forward[before], backward[after]
    from_before, from_after = backward[before + 1], forward[before + 1]
    within = within.at[before, L:, :L].add(-(into @ mp @ from_before))
    within = within.at[after, :L, L:].add(-(out @ pm @ from_after))
    forward = forward.at[before].set(-(into @ mm @ from_after))
    backward = backward.at[after].set(-(out @ pp @ from_before))
    return _Slices(within[::2], forward[::2], backward[::2]), pivots


@jax.custom_batching.sequential_vmap
def _factorise(matrix: Array) -> tuple[Array, Array, Array]:
    """Triangular factors of one matrix at a time, chains included.

    On a CPU, jaxlib 0.10 lets the thread that meets a batch wait for others to factorise its
    parts. Two independent batches on two threads wait for each other for ever, which stops a
    chain whose proposal and correction both need the determinant.
    """
    factors, swaps, order = jax.lax.linalg.lu(matrix)
    return factors, swaps, order


@jax.custom_jvp
def _invert(matrices: Blocks) -> tuple[Blocks, _Pivots]:
    """The inverses of a few matrices, and the product of their determinants."""
    factors, swaps, order = jax.vmap(_factorise)(matrices)
    n = matrices.shape[-1]
    diagonal = jnp.diagonal(factors, axis1=-2, axis2=-1)
    size = jnp.abs(diagonal)
    n_swaps = jnp.sum(swaps != jnp.arange(n, dtype=swaps.dtype))
    phase = jnp.prod(diagonal / jnp.where(size > 0.0, size, 1.0))
    lower = _invert_lower(jnp.tril(factors, -1) + jnp.eye(n, dtype=factors.dtype))
    upper = jnp.swapaxes(_invert_lower(jnp.swapaxes(jnp.triu(factors), -1, -2)), -1, -2)
    inverse = jnp.take_along_axis(upper @ lower, jnp.argsort(order)[:, None, :], axis=-1)
    pivots = _Pivots(
        jnp.where(n_swaps % 2 == 0, phase, -phase),
        jnp.sum(jnp.log(size)),
        jnp.min(size),
        jnp.max(size),
    )
    return inverse, pivots


def _invert_lower(matrices: Blocks) -> Blocks:
    """The inverses of lower triangular matrices, diagonal blocks of doubling size at a time.

    Products alone: the triangular solver of LAPACK gives matrices this small to several threads,
    which wait for each other ten times longer than they work.
    """
    n = matrices.shape[-1]
    size = 1 << (n - 1).bit_length()
    # Ones on the rest of the diagonal make it a power of two.
    unit = jnp.eye(size, dtype=matrices.dtype)
    padded = jnp.broadcast_to(unit, (matrices.shape[0], size, size))
    padded = padded.at[:, :n, :n].set(matrices)
    inverse = 1.0 / jnp.diagonal(padded, axis1=-2, axis2=-1)[..., None, None]
    width = 1
    while width < size:
        first, second = inverse[:, ::2], inverse[:, 1::2]
        tiles = padded.reshape(-1, size // width, width, size // width, width)
        odd = 2 * np.arange(size // width // 2) + 1
        below = jnp.moveaxis(tiles[:, odd, :, odd - 1], 0, 1)
        corner = -(second @ below @ first)
        zero = jnp.zeros_like(first)
        inverse = jnp.concatenate(
            [jnp.concatenate([first, zero], -1), jnp.concatenate([corner, second], -1)], -2
        )
        width *= 2
    return inverse[:, 0, :n, :n]


@_invert.defjvp
def _invert_jvp(primals: Any, tangents: Any) -> Any:
    (matrices,), (tangent,) = primals, tangents
    inverse, pivots = _invert(matrices)
    turned = inverse @ tangent
    log_slope = jnp.sum(jnp.trace(turned, axis1=-2, axis2=-1).real)
    # The phase is that of a real number in the end; the extreme pivots are compared, not derived.
    flat = jax.tree.map(jnp.zeros_like, pivots)
    return (inverse, pivots), (-(turned @ inverse), flat._replace(log_abs=log_slope))
