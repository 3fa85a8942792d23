r"""Eigenangles of SU(2) and SU(3) matrices, in closed form, and matrix functions made of them.

The eigenvalues $e^{i\theta_k}$ of a special unitary matrix come in one order: with
$\theta_1\ge\dots\ge\theta_N$, $\sum\theta_k = 0$ and $\theta_1-\theta_N\le2\pi$ the angles are
unique, whatever the basis of the matrix. A function of them is applied to the matrix through
Newton's interpolation polynomial of degree N-1 in the matrix itself (Cayley and Hamilton): no
eigenvector is ever computed, and coinciding eigenvalues are no exception.

Matrices have their two colour axes first here, other axes behind; angles have theirs first.

Reference:
    D. Boyda et al., arXiv:2008.05456 (the canonical order of the angles).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from diffhep.core.checks import require
from diffhep_lattice.groups.matrices import identity, multiply, trace

__citations__ = ("arXiv:2008.05456",)

_N_POLISH = 2
"""Newton steps after the closed form; they give its derivatives, exact to third order."""

_LEAST_GAP = 64
"""Gaps between neighbouring angles are kept above so many rounding errors of one."""

Matrices = Complex[Array, "row column *shape"]
Angles = Float[Array, "color *shape"]


def eigenangles(W: Matrices) -> Angles:
    r"""The eigenangles $\theta_1\ge\dots\ge\theta_N$ of special unitary matrices, in radians.

    Args:
        W: Matrices of two or three colours, the colour axes first.

    Returns:
        Angles with the sum zero and $\theta_1-\theta_N\le2\pi$; those of three colours are accurate
        to rounding over the gap to the next eigenvalue.

    Raises:
        ConfigError: There are neither two nor three colours.
    """
    n = W.shape[0]
    require(n in (2, 3), "n_colors", "be 2 or 3 for eigenangles in closed form", n)
    return from_gaps(gaps(_angles_2(W) if n == 2 else _angles_3(W)))


def gaps(angles: Angles) -> Angles:
    r"""The gaps between neighbours around the circle, in radians; the last one is the wrapped one.

    They add up to $2\pi$ and are barycentric coordinates of a simplex. Coinciding angles are taken
    a few rounding errors apart, so that ratios of gaps are numbers.
    """
    found = jnp.concatenate([angles[:-1] - angles[1:], (angles[-1] - angles[0] + 2 * np.pi)[None]])
    found = jnp.maximum(found, _LEAST_GAP * float(jnp.finfo(angles.dtype).eps))
    return found * (2 * np.pi / jnp.sum(found, axis=0))


def from_gaps(gaps: Angles) -> Angles:
    """The angles in canonical order, with the sum zero, that have these gaps."""
    n = gaps.shape[0]
    first = sum((n - 1 - k) * gaps[k] for k in range(n - 1)) / n
    below = [gaps[:k].sum(0) for k in range(1, n)]
    return jnp.stack([first, *(first - fall for fall in below)])


def _angles_2(W: Matrices) -> Angles:
    """W = cos + i n.sigma sin: sine and cosine are each accurate where the other one is not."""
    cosine = 0.5 * (W[0, 0].real + W[1, 1].real)
    parts = [
        0.5 * (W[0, 0].imag - W[1, 1].imag),
        0.5 * (W[0, 1].real - W[1, 0].real),
        0.5 * (W[0, 1].imag + W[1, 0].imag),
    ]
    square = parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2
    # The square root has no derivative at zero, and autodiff would make NaN of it.
    positive = square > 0
    sine = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    angle = jnp.arctan2(sine, cosine)
    return jnp.stack([angle, -angle])


def _angles_3(W: Matrices) -> Angles:
    """Roots of the characteristic polynomial, sorted, and the sum of their angles made zero."""
    roots = _roots(jax.lax.optimization_barrier(trace(W, 0)))
    a, b, c = (jnp.arctan2(root.imag, root.real) for root in roots)
    a, b = jnp.maximum(a, b), jnp.minimum(a, b)
    b, c = jnp.maximum(b, c), jnp.minimum(b, c)
    a, b = jnp.maximum(a, b), jnp.minimum(a, b)
    turns = jnp.round((a + b + c) * (0.5 / np.pi))
    # The angles add up to a multiple of 2 pi; the outermost one goes once around.
    too_high = jnp.stack([b, c, a - 2 * np.pi])
    too_low = jnp.stack([c + 2 * np.pi, a, b])
    in_order = jnp.where(
        turns > 0.5, too_high, jnp.where(turns < -0.5, too_low, jnp.stack([a, b, c]))
    )
    return jax.lax.optimization_barrier(in_order)


def _roots(t: Complex[Array, "*shape"]) -> list[Complex[Array, "*shape"]]:
    r"""Roots of $\lambda^3 - t\lambda^2 + \bar t\lambda - 1$ by Cardano's formula and Newton steps.

    The formula itself is not differentiated: a Newton step from a root has its derivatives.
    """
    fixed = jax.lax.stop_gradient(t)
    p = jnp.conj(fixed) - fixed * fixed / 3
    q = -2 * fixed**3 / 27 + fixed * jnp.conj(fixed) / 3 - 1
    root = jnp.sqrt(q * q / 4 + p**3 / 27)
    plus, minus = -q / 2 + root, -q / 2 - root
    cube = jnp.where(jnp.abs(plus) > jnp.abs(minus), plus, minus)
    size, phase = jnp.cbrt(jnp.abs(cube)), jnp.angle(cube) / 3
    found = []
    for k in range(3):
        turned = phase + 2 * np.pi * k / 3
        u = size * jax.lax.complex(jnp.cos(turned), jnp.sin(turned))
        safe = jnp.where(size > 0, u, 1.0)
        root = fixed / 3 + jnp.where(size > 0, u - p / (3 * safe), 0.0)
        found.append(_polish(jax.lax.stop_gradient(root), t))
    return found


def _polish(root: Complex[Array, "*shape"], t: Complex[Array, "*shape"]) -> Array:
    tiny = jnp.finfo(root.real.dtype).eps ** 0.5
    for _ in range(_N_POLISH):
        value = ((root - t) * root + jnp.conj(t)) * root - 1
        slope = (3 * root - 2 * t) * root + jnp.conj(t)
        # The slope vanishes at double roots, where the closed form has to do.
        good = jnp.abs(slope) > tiny
        root = root - jnp.where(good, value / jnp.where(good, slope, 1.0), 0.0)
    return root


def with_eigenangles(W: Matrices, old: Angles, new: Angles) -> Matrices:
    r"""Matrices with the eigenvectors of W and other eigenangles.

    Newton's polynomial $\lambda'_1 + [12](W-\lambda_1) + [123](W-\lambda_1)(W-\lambda_2)$, with
    divided differences as ratios of sines, that start with the nearest pair of eigenvalues.

    Args:
        W: Special unitary matrices, the colour axes first.
        old: Their eigenangles, in canonical order.
        new: The other ones, a function of the old ones under which equal ones stay equal.

    Returns:
        Matrices of the same form.
    """
    n = W.shape[0]
    if n == 3:
        old, new = _nearest_first(old, new)
    one = identity(n, W.ndim, 0).astype(old.dtype)
    values, images = _phase(old), _phase(new)
    rises = [_rise(old, new, k) for k in range(n - 1)]
    shifted = W - values[0] * one
    result = images[0] * one + rises[0] * shifted
    if n == 3:
        # l1 - l3 = 2i sin((t1 - t3) / 2) exp(i (t1 + t3) / 2)
        chord = 2j * jnp.sin(0.5 * (old[0] - old[2])) * _phase(0.5 * (old[0] + old[2]))
        curvature = (rises[0] - rises[1]) / chord
        product = multiply(shifted, W - values[1] * one, 0)
        result = result + curvature * product
    return jax.lax.optimization_barrier(result)


def _rise(old: Angles, new: Angles, k: int) -> Complex[Array, "*shape"]:
    """The divided difference of neighbouring eigenvalues."""
    ratio = jnp.sin(0.5 * (new[k] - new[k + 1])) / jnp.sin(0.5 * (old[k] - old[k + 1]))
    return ratio * _phase(0.5 * (new[k] + new[k + 1] - old[k] - old[k + 1]))


def _phase(angle: Float[Array, "*shape"]) -> Complex[Array, "*shape"]:
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def _nearest_first(old: Angles, new: Angles) -> tuple[Angles, Angles]:
    """Both in the cyclic order that starts with the pair of smallest gap in `old`."""
    first, second = old[0] - old[1], old[1] - old[2]
    wrapped = 2 * np.pi - (old[0] - old[2])
    from_second = (second < first) & (second <= wrapped)
    from_third = (wrapped < first) & (wrapped < second)

    def reorder(x: Angles) -> Angles:
        a, b, c = x
        around = jnp.stack([b, c, a - 2 * np.pi])
        behind = jnp.stack([c, a - 2 * np.pi, b - 2 * np.pi])
        return jnp.where(from_third, behind, jnp.where(from_second, around, x))

    return reorder(old), reorder(new)
