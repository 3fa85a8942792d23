r"""The Wilson Dirac operator of U(1) gauge fields in two dimensions.

With Wilson parameter 1, $D = 1 - \kappa H$ and

$$ (H\psi)(x) = \sum_\mu (1-\gamma_\mu)\,U_\mu(x)\,\psi(x+\hat\mu)
 + (1+\gamma_\mu)\,U_\mu^*(x-\hat\mu)\,\psi(x-\hat\mu), $$

$\gamma_0 = \sigma_x$, $\gamma_1 = \sigma_y$ and $\gamma_5 = \sigma_z$, so that
$\gamma_5 D\gamma_5 = D^\dagger$. Fermions are antiperiodic along axis 1, the time, and periodic
along axis 0. A spinor field has the shape (2, L, T), the spin first. $\kappa = 1/(2m_0 + 4)$ in
terms of the bare mass $m_0$.

Each $1\mp\gamma_\mu$ has rank one: one complex number a site and direction is moved, not two.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from diffhep.core.checks import require_real, require_shape
from diffhep.core.typing import Scalar
from diffhep_lattice.geometry import Lattice, neighbour, require_plane
from diffhep_lattice.trigonometry import cosine, sine

__citations__ = ("doi:10.1103/PhysRevD.10.2445", "arXiv:2202.11712")

Spinor = Complex[Array, "spin L T"]
"""Two complex numbers per site."""

TIME = 1
"""The axis along which fermions are antiperiodic."""

GAMMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]]])
r"""$\gamma_0 = \sigma_x$ and $\gamma_1 = \sigma_y$."""

GAMMA_5 = np.array([[1, 0], [0, -1]])
r"""$\gamma_5 = \sigma_z$."""


def check_kappa(kappa: Any) -> None:
    """Raise a `ConfigError` unless a hopping parameter is finite and not negative."""
    require_real(kappa, "kappa", "be finite and at least 0", low=0.0)


def link_phases(U: Float[Array, "mu L T"]) -> Complex[Array, "mu L T"]:
    r"""The link variables $e^{iU_\mu(x)}$ that fermions see.

    Args:
        U: Link angles in radians.

    Returns:
        Phases in the precision of `U`; those that lead from the last time slice to the first have
        the sign of the antiperiodic boundary.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
    """
    require_plane(U)
    sign = np.ones(U.shape[1:])
    sign[:, -1] = -1.0
    signs = jnp.asarray(np.stack([np.ones_like(sign), sign]), U.dtype)
    return signs * cosine(U) + 1j * (signs * sine(U))


def hop(phases: Complex[Array, "mu L T"], psi: Spinor) -> Spinor:
    r"""The hopping term $H\psi$.

    Args:
        phases: Link variables, as `link_phases` gives them.
        psi: Spinor field.

    Returns:
        The spinor field in the precision of both.
    """
    a, b = psi
    # (1 - gamma) psi = (h, c h) with h one number; it is moved, then made a spinor again.
    forward_0 = phases[0] * neighbour(a - b, 0)
    backward_0 = neighbour(jnp.conj(phases[0]) * (a + b), 0, -1)
    forward_1 = phases[1] * neighbour(a + 1j * b, 1)
    backward_1 = neighbour(jnp.conj(phases[1]) * (a - 1j * b), 1, -1)
    upper = forward_0 + backward_0 + forward_1 + backward_1
    lower = backward_0 - forward_0 + 1j * (backward_1 - forward_1)
    return jnp.stack([upper, lower])


def apply_gamma_5(psi: Spinor) -> Spinor:
    r"""$\gamma_5\psi$."""
    return jnp.stack([psi[0], -psi[1]])


class WilsonDirac(eqx.Module):
    r"""The Dirac operator $D = 1 - \kappa H$ on one gauge field.

    Attributes:
        phases: Link variables with the boundary's sign.
        kappa: Hopping parameter, dimensionless.

    Raises:
        ConfigError: `kappa` is negative or not finite.
        ShapeError: The field is no gauge field in two dimensions.

    Reference:
        K. G. Wilson, Phys. Rev. D 10 (1974) 2445.
    """

    phases: Complex[Array, "mu L T"]
    kappa: Scalar

    def __init__(self, U: Float[Array, "mu L T"], kappa: Any) -> None:
        """Set up the operator.

        Args:
            U: Link angles in radians.
            kappa: Hopping parameter, at least 0.
        """
        check_kappa(kappa)
        self.phases = link_phases(U)
        self.kappa = jnp.asarray(kappa, U.dtype)

    @property
    def lattice(self) -> Lattice:
        """The lattice of the gauge field."""
        return Lattice(self.phases.shape[1:])

    def __call__(self, psi: Spinor) -> Spinor:
        r"""$D\psi$.

        Raises:
            ShapeError: `psi` is no spinor field on the operator's lattice.
        """
        expected = (2, *self.phases.shape[1:])
        require_shape(psi.shape == expected, "psi", f"have shape {expected}", f"shape {psi.shape}")
        return psi - self.kappa * hop(self.phases, psi)

    def adjoint(self, psi: Spinor) -> Spinor:
        r"""$D^\dagger\psi = \gamma_5 D\gamma_5\psi$."""
        return apply_gamma_5(self(apply_gamma_5(psi)))

    def normal(self, psi: Spinor) -> Spinor:
        r"""$D^\dagger D\psi$, Hermitian and not negative."""
        return self.adjoint(self(psi))

    def hermitian(self, psi: Spinor) -> Spinor:
        r"""$Q\psi = \gamma_5 D\psi$, Hermitian with $Q^2 = D^\dagger D$."""
        return apply_gamma_5(self(psi))

    def dense(self) -> Complex[Array, "row column"]:
        """The matrix, (2V, 2V), rows and columns in the order of a flattened spinor field.

        Costs memory of order V squared: for small lattices.
        """
        n = 2 * self.lattice.volume
        unit = jnp.eye(n, dtype=self.phases.dtype).reshape(n, 2, *self.lattice.shape)
        columns = eqx.filter_vmap(self)(unit)
        return columns.reshape(n, n).T


def free_spectrum(lattice: Lattice, kappa: float) -> Complex[np.ndarray, " mode"]:
    r"""Eigenvalues of the Dirac operator without a gauge field.

    $\lambda_\pm(p) = 1 - 2\kappa\sum_\mu\cos p_\mu \pm 2i\kappa\sqrt{\sum_\mu\sin^2 p_\mu}$ with
    $p_0 = 2\pi n_0/L$ and $p_1 = \pi(2n_1+1)/T$.

    Args:
        lattice: A lattice in two dimensions.
        kappa: Hopping parameter.

    Returns:
        All 2V eigenvalues, in no particular order.

    Raises:
        ConfigError: `kappa` is negative or not finite.
        ShapeError: The lattice is not two-dimensional.
    """
    check_kappa(kappa)
    require_shape(lattice.dimension == 2, "lattice", "be two-dimensional", f"shape {lattice.shape}")
    length, time = lattice.shape
    p = np.meshgrid(
        2.0 * np.pi * np.arange(length) / length,
        np.pi * (2 * np.arange(time) + 1) / time,
        indexing="ij",
    )
    real = 1.0 - 2.0 * kappa * (np.cos(p[0]) + np.cos(p[1]))
    imaginary = 2.0 * kappa * np.hypot(np.sin(p[0]), np.sin(p[1]))
    return np.concatenate([(real + 1j * imaginary).ravel(), (real - 1j * imaginary).ravel()])
