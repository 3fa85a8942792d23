r"""Wilson's action with a defect: plaquettes across the boundary that count less than the others.

With the strength c of the defect between 0 and 1 the lattice goes from open, where the topological
charge flows in and out, to periodic. Along a ladder of strengths `replica_exchange` brings the
charges of the open end to the periodic one. The boundary is that of the last axis.

Reference:
    M. Hasenbusch, arXiv:1706.04443; C. Bonanno, C. Bonati, M. D'Elia, arXiv:2012.14000.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Shaped

from diffhep.core.checks import (
    as_integer,
    as_scalar,
    concrete,
    require,
    require_real,
    require_type,
    require_x64,
)
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups import SUN, U1, AbstractGroup
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import dagger_multiply, multiply, multiply_dagger
from diffhep_lattice.links import ahead

__citations__ = ("arXiv:1706.04443", "arXiv:2012.14000")


class DefectAction(AbstractAction):
    r"""Wilson's action with a defect in the boundary of the last axis.

    $S(U) = -\frac{\beta}{N}\sum_{x,\mu<\nu} w\,\mathrm{Re\,tr}\,P_{\mu\nu}(x)$ as `WilsonAction`
    has it, with w = `strength` for the plaquettes that leave the last slice along the last axis
    from a site with all other coordinates below `extent`, and w = 1 for all others.

    In two dimensions one plaquette of strength 0 lets the charge of U(1) change freely, since a
    plaquette without weight has no barrier.

    Attributes:
        beta: Inverse coupling, dimensionless, at least 0.
        strength: Weight of the defect, in [0, 1]; 1 is the periodic lattice, 0 the open one.
        group: The gauge group, `U1()` in two dimensions or `SUN(n)`.
        extent: Sites of the defect along every other axis; None for all.

    Raises:
        ConfigError: `beta` is no finite number of at least 0, `strength` not in [0, 1], `group`
            neither of these, or `extent` no positive integer.
        ShapeError: `beta` or `strength` is an array with axes.

    Reference:
        M. Hasenbusch, arXiv:1706.04443.
    """

    beta: Scalar = eqx.field(converter=partial(as_scalar, name="beta"))
    strength: Scalar = eqx.field(converter=partial(as_scalar, name="strength"))
    group: AbstractGroup = eqx.field(default_factory=U1)
    extent: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        require_real(self.strength, "strength", "lie in [0, 1]", low=0.0)
        strength = concrete(self.strength)
        good = strength is None or bool(strength <= 1.0)
        require(good, "strength", "lie in [0, 1]", self.strength)
        require_type(self.group, (U1, SUN), "group", "be U1(), SU2(), SU3() or SUN(n)")
        if self.extent is not None:
            as_integer(self.extent, "extent", low=1)

    @property
    def periodic(self) -> WilsonAction:
        """The action without the defect."""
        return WilsonAction(beta=self.beta, group=self.group)

    def __call__(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        """The action of one configuration, computed in double precision whatever its dtype.

        Args:
            U: Link angles in radians, shape (2, L, T), or matrices, shape (mu, N, N, *site).

        Returns:
            $S(U)$, dimensionless, float64.

        Raises:
            ShapeError: `U` is no gauge field of the group.
            ConfigError: `jax_enable_x64` is off.
        """
        require_x64("the sum of the action")
        whole = self.periodic(U)
        wide = U.astype(jnp.complex128 if isinstance(self.group, SUN) else jnp.float64)
        lost = (1.0 - self.strength.astype(jnp.float64)) * self.beta.astype(jnp.float64)
        return whole + lost / self._n_colors * self._crossing_sum(wide)

    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        """The gradient of the action along the Lie algebra, little dearer than Wilson's.

        Args:
            U: Link angles in radians, shape (2, L, T), or matrices, shape (mu, N, N, *site).

        Returns:
            The gradient in the precision of `U`, shape (mu, *algebra, *site), dimensionless.

        Raises:
            ShapeError: `U` is no gauge field of the group.
        """
        force = self.periodic.force(U)
        lost = ((1.0 - self.strength) * self.beta).astype(force.dtype)
        last, first = self._crossing_gradient(U)
        force = force.at[..., -1].add(lost * last)
        return force.at[..., 0].add(lost * first)

    @property
    def _n_colors(self) -> int:
        return self.group.n if isinstance(self.group, SUN) else 1

    def _inside(self, slice_shape: tuple[int, ...]) -> Bool[np.ndarray, "*slice"]:
        """Which sites of a slice belong to the defect."""
        if self.extent is None:
            return np.ones(slice_shape, bool)
        return np.all(np.indices(slice_shape) < self.extent, axis=0)

    def _crossing_sum(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        r"""$\sum\mathrm{Re\,tr}\,P$ over the plaquettes of the defect."""
        if not isinstance(self.group, SUN):
            angles = _crossing_angles(U)
            return jnp.sum(jnp.cos(angles) * self._inside(angles.shape))
        inside = self._inside(U.shape[3:-1])
        total = jnp.zeros(())
        for mu in range(U.shape[0] - 1):
            A, B, _ = _crossing_halves(U, mu)
            traces = jnp.sum(A.real * B.real + A.imag * B.imag, axis=(0, 1))
            total = total + jnp.sum(traces * inside)
        return total

    def _crossing_gradient(
        self, U: Shaped[Array, "mu ..."]
    ) -> tuple[Float[Array, "mu ..."], Float[Array, "mu ..."]]:
        """The gradient of the sum over N by the links of the last and of the first slice."""
        if not isinstance(self.group, SUN):
            angles = _crossing_angles(U)
            slope = jnp.sin(angles) * self._inside(angles.shape)
            last = jnp.stack([-slope, slope - jnp.roll(slope, 1)])
            return last, jnp.stack([slope, jnp.zeros_like(slope)])
        inside = jnp.asarray(self._inside(U.shape[3:-1]), U.real.dtype)
        zero = jnp.zeros(U.shape[1:-1], U.dtype)
        last, first, in_time = [], [], zero
        for mu in range(U.shape[0] - 1):
            A, B, V = _crossing_halves(U, mu)
            loop = multiply_dagger(A, B, 0) * inside
            last.append(loop)
            # The same plaquette seen from its other links, up to the adjoint.
            first.append(multiply(U[mu][..., 0], dagger_multiply(A, V, 0), 0) * inside)
            far = multiply(ahead(V, mu), dagger_multiply(B, U[mu][..., -1], 0), 0) * inside
            in_time = in_time - loop + ahead(far, mu, -1)
        loops = jnp.stack([jnp.stack([*last, in_time]), jnp.stack([*first, zero])])
        # Minus half the coefficients of the loops is the derivative of the trace.
        found = -0.5 / self._n_colors * jax.vmap(algebra_coefficients)(loops)
        return found[0], found[1]


def _crossing_angles(U: Float[Array, "2 L T"]) -> Float[Array, " L"]:
    """Angles of the plaquettes between the last and the first slice."""
    last, first = U[..., -1], U[..., 0]
    return last[0] + jnp.roll(last[1], -1) - first[0] - last[1]


def _crossing_halves(
    U: Complex[Array, "mu row column *site"], mu: int
) -> tuple[Array, Array, Array]:
    """Half plaquettes A and B of those that cross, and the links that do."""
    V = U[-1][..., -1]
    A = multiply(U[mu][..., -1], ahead(V, mu), 0)
    return A, multiply(V, U[mu][..., 0], 0), V
