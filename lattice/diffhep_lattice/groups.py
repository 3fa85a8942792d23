r"""Gauge groups: what an action or a sampler asks of the link variables.

A gauge field has the shape (mu, *element, *site): the direction first, then the axes of a group
element, then the sites. Momenta are real coefficients in a basis of the Lie algebra in which the
kinetic energy is $\frac12\sum p^2$, with the shape (mu, *algebra, *site).
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require_x64
from diffhep.core.typing import Key, Scalar


class AbstractGroup(eqx.Module):
    """A compact matrix group and the arrays that stand for its elements.

    Attributes:
        n_colors: Dimension of the fundamental representation.
        element_shape: Axes of one element, between the direction and the site axes.
        algebra_shape: Axes of one element of the Lie algebra.
    """

    n_colors: ClassVar[int]
    element_shape: ClassVar[tuple[int, ...]]
    algebra_shape: ClassVar[tuple[int, ...]]

    @abc.abstractmethod
    def haar(self, shape: tuple[int, ...], *, key: Key, dtype: jnp.dtype) -> Shaped[Array, "..."]:
        """Elements drawn from the Haar measure, one per direction and site of `shape`."""

    @abc.abstractmethod
    def multiply(self, a: Shaped[Array, "..."], b: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The products a b."""

    @abc.abstractmethod
    def inverse(self, a: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The inverse elements."""

    @abc.abstractmethod
    def move(self, a: Shaped[Array, "..."], velocity: Float[Array, "..."]) -> Shaped[Array, "..."]:
        """The elements exp(velocity) a, with `velocity` in the Lie algebra."""

    @abc.abstractmethod
    def project(self, a: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The nearest elements in their standard form; rounding errors are taken out."""

    @abc.abstractmethod
    def real_trace(self, a: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Real part of the trace, without a factor 1/N."""


class U1(AbstractGroup):
    r"""The circle group. An element is its angle in radians, the link variable $e^{i\theta}$.

    Any representative modulo $2\pi$ is good; `project` gives the one in $[-\pi, \pi)$.
    """

    n_colors: ClassVar[int] = 1
    element_shape: ClassVar[tuple[int, ...]] = ()
    algebra_shape: ClassVar[tuple[int, ...]] = ()

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


def random_momentum(
    group: AbstractGroup, position: Shaped[Array, "mu ..."], *, key: Key
) -> Float[Array, "mu ..."]:
    r"""Momenta with the density $e^{-\frac12\sum p^2}$ for every link.

    Args:
        group: The gauge group.
        position: The gauge field, shape (mu, *element, *site).
        key: Random key.

    Returns:
        Momenta of shape (mu, *algebra, *site) in the field's real dtype.
    """
    sites = position.shape[1 + len(group.element_shape) :]
    shape = (position.shape[0], *group.algebra_shape, *sites)
    # The barrier stops XLA on CPU from inverting the error function again for every user.
    return jax.lax.optimization_barrier(jax.random.normal(key, shape, position.real.dtype))


def kinetic_energy(momentum: Float[Array, "..."]) -> Scalar:
    r"""$\frac12\sum p^2$, accumulated in double precision.

    Raises:
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the kinetic energy")
    wide = momentum.astype(jnp.float64)
    return 0.5 * jnp.sum(wide * wide)
