"""The plaquette action of Wilson."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import as_scalar, require, require_real, require_type, require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.actions.boundary import check_boundary, loop_weights
from diffhep_lattice.actions.plaquettes import plaquette_force, plaquette_sum
from diffhep_lattice.geometry import require_plane
from diffhep_lattice.groups import SUN, U1, AbstractGroup
from diffhep_lattice.links import is_matrix_field, lattice_of_links
from diffhep_lattice.observables import unwrapped_plaquette_angles
from diffhep_lattice.trigonometry import cosine, sine

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


class WilsonAction(AbstractAction):
    r"""Wilson's action, of U(1) in two dimensions or of SU(N) in two or more.

    $S(U) = -\frac{\beta}{N}\sum_{x,\mu<\nu} w\,\mathrm{Re\,tr}\,P_{\mu\nu}(x)$ with
    $P_{\mu\nu}(x) = U_\mu(x)\,U_\nu(x+\hat\mu)\,U_\mu^\dagger(x+\hat\nu)\,U_\nu^\dagger(x)$. For
    U(1), N = 1 and the trace is the cosine of the plaquette angle.

    The weights $w$ are one for periodic boundaries. Open boundaries in time, the last axis, weigh
    the spatial plaquettes of the first and last time slice by 1/2 and those that would leave the
    lattice by 0. The temporal links of the last slice are then free: they stay in the field, are
    moved or drawn like any link without neighbours, and mean nothing.

    Attributes:
        beta: Inverse coupling, dimensionless, at least 0.
        group: The gauge group, `U1()` or `SUN(n)`.
        boundary: "periodic" or "open"; U(1) is periodic.

    Raises:
        ConfigError: `beta` is no finite number of at least 0, `group` is neither, or `boundary` is
            not one of these.
        ShapeError: `beta` is an array with axes.

    Reference:
        K. G. Wilson, Phys. Rev. D 10 (1974) 2445; open boundaries, M. Lüscher, S. Schaefer,
        arXiv:1105.4749.
    """

    beta: Scalar = eqx.field(converter=partial(as_scalar, name="beta"))
    group: AbstractGroup = eqx.field(default_factory=U1)
    boundary: str = eqx.field(static=True, default="periodic")

    def __check_init__(self) -> None:
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        require_type(self.group, (U1, SUN), "group", "be U1(), SU2(), SU3() or SUN(n)")
        check_boundary(self.boundary)
        require(
            self.boundary == "periodic" or isinstance(self.group, SUN),
            "boundary",
            "be 'periodic' for U1()",
            self.boundary,
        )

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
        beta = self.beta.astype(jnp.float64)
        if isinstance(self.group, SUN):
            lattice_of_links(U, self.group.n)
            weights = loop_weights(self.boundary, U.shape[-1])
            return -beta / self.group.n * plaquette_sum(U, weights)
        require_plane(U)  # before the cast, which would make angles of anything
        angles = unwrapped_plaquette_angles(U.astype(jnp.float64))
        return -beta * jnp.sum(cosine(angles))

    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        r"""The gradient of the action along the Lie algebra.

        $F^a_\mu(x) = \frac{d}{d\omega}S(e^{i\omega T_a}U_\mu(x))
        = \frac{\beta}{N}\,\mathrm{Im\,tr}\,T_a\sum w\,P$ over the plaquettes $P$ that start with
        the link. For U(1), $F_0(x) = \beta[\sin P(x) - \sin P(x-\hat1)]$ and
        $F_1(x) = \beta[\sin P(x-\hat0) - \sin P(x)]$.

        Args:
            U: Link angles in radians, shape (2, L, T), or matrices, shape (mu, N, N, *site).

        Returns:
            The gradient in the precision of `U`, shape (mu, *algebra, *site), dimensionless.

        Raises:
            ShapeError: `U` is no gauge field of the group.
        """
        if isinstance(self.group, SUN):
            lattice_of_links(U, self.group.n)
            weights = loop_weights(self.boundary, U.shape[-1])
            scale = 0.5 / self.group.n * self.beta.astype(U.real.dtype)
            return scale * plaquette_force(U, weights)
        require_plane(U)
        # Each barrier stops XLA from computing its operand again inside every one of its users;
        # slices of one padded copy vectorise where three rolled copies do not.
        sines = jax.lax.optimization_barrier(sine(unwrapped_plaquette_angles(U)))
        padded = jax.lax.optimization_barrier(jnp.pad(sines, ((1, 0), (1, 0)), mode="wrap"))
        here, behind_0, behind_1 = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
        return self.beta.astype(U.dtype) * jnp.stack([here - behind_1, behind_0 - here])


def wilson_force(U: Shaped[Array, "mu ..."], beta: Any) -> Float[Array, "mu ..."]:
    r"""The gradient of Wilson's action along the Lie algebra, with periodic boundaries.

    The group is read off the field: angles are U(1), matrices SU(N). For SU(N) the convention is
    $\dot U = i p^a T_a U$, $\dot p^a = -F^a$ with $\mathrm{tr}\,T_a T_b = \frac12\delta_{ab}$, as
    in `WilsonAction.force`.

    Args:
        U: Link angles in radians, shape (2, L, T), or matrices, shape (mu, N, N, *site).
        beta: Inverse coupling, a number or a scalar array, dimensionless.

    Returns:
        The gradient in the precision of `U`, shape (mu, *algebra, *site).

    Raises:
        ShapeError: `U` is no gauge field.
        ConfigError: `beta` is no finite number of at least 0.
    """
    if is_matrix_field(U):
        lattice_of_links(U)
        return WilsonAction(beta=beta, group=SUN(U.shape[1])).force(U)
    return WilsonAction(beta=beta).force(U)
