"""The phi^4 action of real scalar fields."""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, as_scalar, concrete, require, require_real, require_x64
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.geometry import lattice_of_scalars
from diffhep_lattice.groups import Reals

__citations__ = ("arXiv:1904.12072",)


class Phi4Action(AbstractAction):
    r"""The phi^4 theory of one real field, or of several with O(N) symmetry, in any dimension.

    $S(\phi) = \sum_{x,\mu}|\phi(x+\hat\mu) - \phi(x)|^2 + \sum_x m^2|\phi(x)|^2
    + \lambda|\phi(x)|^4$ with $|\phi|^2 = \sum_a\phi_a^2$. There is no factor 1/2: the free field
    has $\langle\phi\phi\rangle(k) = 1/(2(\hat k^2 + m^2))$. A lattice of length 2 has two links
    between its neighbours. Without a coupling this is the free field.

    Attributes:
        mass_squared: $m^2$ in lattice units, of either sign.
        coupling: $\lambda$ in lattice units, at least 0.
        n_components: Length of the component axis, the first of the field; None for a field
            without one.
        group: The real numbers.

    Raises:
        ConfigError: A coupling is negative or not finite, the action has no lower bound, or
            `n_components` is no positive integer.

    Reference:
        M. S. Albergo, G. Kanwar, P. E. Shanahan, arXiv:1904.12072.
    """

    mass_squared: Scalar = eqx.field(converter=partial(as_scalar, name="mass_squared"))
    coupling: Scalar = eqx.field(converter=partial(as_scalar, name="coupling"))
    n_components: int | None = eqx.field(static=True, default=None)
    group: Reals = eqx.field(default_factory=Reals)

    def __check_init__(self) -> None:
        require_real(self.mass_squared, "mass_squared", "be finite")
        require_real(self.coupling, "coupling", "be finite and at least 0", low=0.0)
        mass_squared, coupling = concrete(self.mass_squared), concrete(self.coupling)
        if mass_squared is not None and coupling is not None:
            require(
                bool((coupling > 0.0) | (mass_squared > 0.0)),
                "mass_squared",
                "be positive for a free field",
                mass_squared.tolist(),
            )
        if self.n_components is not None:
            as_integer(self.n_components, "n_components", low=1)

    def __call__(self, phi: Float[Array, "..."]) -> Scalar:
        r"""The action of one configuration, computed in double precision whatever its dtype.

        Args:
            phi: The field, shape (*site), or (component, *site).

        Returns:
            $S(\phi)$, dimensionless, float64.

        Raises:
            ShapeError: `phi` is no real field of this form.
            ConfigError: `jax_enable_x64` is off, or a site axis is shorter than 2.
        """
        require_x64("the sum of the action")
        axes = self._site_axes(phi)
        phi = phi.astype(jnp.float64)
        square = phi**2 if self.n_components is None else jnp.sum(phi**2, axis=0)
        links = sum(jnp.sum((jnp.roll(phi, -1, axis) - phi) ** 2) for axis in axes)
        mass_squared, coupling = (x.astype(jnp.float64) for x in (self.mass_squared, self.coupling))
        return links + jnp.sum(square * (mass_squared + coupling * square))

    def force(self, phi: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""The gradient of the action.

        $\frac{\partial S}{\partial\phi(x)} = 2\sum_\mu[2\phi(x) - \phi(x+\hat\mu)
        - \phi(x-\hat\mu)] + 2\phi(x)\,(m^2 + 2\lambda|\phi(x)|^2)$.

        Args:
            phi: The field, shape (*site), or (component, *site).

        Returns:
            The gradient in the shape and precision of `phi`.

        Raises:
            ShapeError: `phi` is no real field of this form.
            ConfigError: A site axis is shorter than 2.
        """
        axes = self._site_axes(phi)
        square = phi**2 if self.n_components is None else jnp.sum(phi**2, axis=0)
        mass_squared = self.mass_squared.astype(phi.dtype)
        coupling = self.coupling.astype(phi.dtype)
        neighbours = sum(jnp.roll(phi, 1, axis) + jnp.roll(phi, -1, axis) for axis in axes)
        return 2 * (phi * (2 * len(axes) + mass_squared + 2 * coupling * square) - neighbours)

    def _site_axes(self, phi: Float[Array, "..."]) -> range:
        lattice_of_scalars(phi, self.n_components)
        return range(0 if self.n_components is None else 1, phi.ndim)
