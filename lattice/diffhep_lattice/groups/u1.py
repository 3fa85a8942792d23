"""The group U(1), its elements stored as angles."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Key
from diffhep_lattice.groups.base import AbstractGroup

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


class U1(AbstractGroup):
    r"""The circle group. An element is its angle in radians, the link variable $e^{i\theta}$.

    Any representative modulo $2\pi$ is good; `project` gives the one in $[-\pi, \pi)$.
    """

    @property
    def n_colors(self) -> int:
        """One."""
        return 1

    @property
    def element_shape(self) -> tuple[int, ...]:
        """An angle has no axes."""
        return ()

    @property
    def algebra_shape(self) -> tuple[int, ...]:
        """An angular velocity has no axes."""
        return ()

    def haar(
        self, shape: tuple[int, ...], *, key: Key, dtype: jnp.dtype | type = float
    ) -> Float[Array, "..."]:
        """Angles drawn uniformly."""
        return jax.random.uniform(key, shape, dtype, -np.pi, np.pi)

    def multiply(self, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sums of the angles."""
        return a + b

    def inverse(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """Negative angles."""
        return -a

    def exponential(self, velocity: Float[Array, "..."]) -> Float[Array, "..."]:
        """The angles themselves."""
        return velocity

    def logarithm(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""Angles in $[-\pi, \pi)$."""
        return wrap(a)

    def move(self, a: Float[Array, "..."], velocity: Float[Array, "..."]) -> Float[Array, "..."]:
        """Angles advanced by `velocity`, in radians."""
        return a + velocity

    def project(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""Angles in $[-\pi, \pi)$."""
        return wrap(a)

    def real_trace(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """Cosines of the angles."""
        return jnp.cos(a)


def wrap(angle: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The representative of an angle in $[-\pi, \pi)$, in radians."""
    return angle - 2 * np.pi * jnp.floor((angle + np.pi) * (0.5 / np.pi))
