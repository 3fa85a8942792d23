"""The plaquette action of Wilson."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_real, require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.geometry import require_plane
from diffhep_lattice.groups import U1, AbstractGroup
from diffhep_lattice.observables import unwrapped_plaquette_angles
from diffhep_lattice.trigonometry import cosine, sine


class WilsonAction(AbstractAction):
    r"""Wilson's action of U(1) gauge theory in two dimensions.

    $S(U) = -\beta\sum_x\cos P(x)$ with the plaquette angles $P$ of
    `diffhep_lattice.observables`.

    Attributes:
        beta: Inverse coupling, dimensionless, at least 0.
        group: The gauge group.

    Raises:
        ConfigError: `beta` is negative or not finite, or `group` is not `U1`.

    Reference:
        K. G. Wilson, Phys. Rev. D 10 (1974) 2445.
    """

    beta: Scalar = eqx.field(converter=partial(jnp.asarray, dtype=float))
    group: AbstractGroup = eqx.field(default_factory=U1)

    def __check_init__(self) -> None:
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        require(isinstance(self.group, U1), "group", "be U1()", self.group)

    def __call__(self, U: Float[Array, "mu L T"]) -> Scalar:
        """The action of one configuration, computed in double precision whatever its dtype.

        Args:
            U: Link angles in radians.

        Returns:
            $S(U)$, dimensionless, float64.

        Raises:
            ShapeError: `U` is no gauge field in two dimensions.
            ConfigError: `jax_enable_x64` is off.
        """
        require_x64("the sum of the action")
        angles = unwrapped_plaquette_angles(U.astype(jnp.float64))
        return -self.beta.astype(jnp.float64) * jnp.sum(cosine(angles))

    def force(self, U: Float[Array, "mu L T"]) -> Float[Array, "mu L T"]:
        r"""The gradient of the action with respect to the link angles.

        $\partial S/\partial U_0(x) = \beta[\sin P(x) - \sin P(x-\hat1)]$ and
        $\partial S/\partial U_1(x) = \beta[\sin P(x-\hat0) - \sin P(x)]$.

        Args:
            U: Link angles in radians.

        Returns:
            The gradient in the dtype of `U`, dimensionless.

        Raises:
            ShapeError: `U` is no gauge field in two dimensions.
        """
        require_plane(U)
        # Each barrier stops XLA from computing its operand again inside every one of its users;
        # slices of one padded copy vectorise where three rolled copies do not.
        sines = jax.lax.optimization_barrier(sine(unwrapped_plaquette_angles(U)))
        padded = jax.lax.optimization_barrier(jnp.pad(sines, ((1, 0), (1, 0)), mode="wrap"))
        here, behind_0, behind_1 = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
        return self.beta.astype(U.dtype) * jnp.stack([here - behind_1, behind_0 - here])
