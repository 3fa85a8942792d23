r"""Groups: what an action or a sampler asks of the variables of a field.

A gauge field has the shape (mu, *element, *site): the direction first, then the axes of a group
element, then the sites. A field of one real number or angle per site has the shape (*site), one of
several of them (component, *site). Momenta are real coefficients in a basis of the Lie algebra in
which the kinetic energy is $\frac12\sum p^2$, with the shape (mu, *algebra, *site) or that of the
scalar field.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require_x64
from diffhep.core.typing import Key, Scalar

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


class AbstractLieGroup(eqx.Module):
    """A Lie group, compact or not, and the arrays that stand for its elements.

    This is all that a sampler needs which follows trajectories.
    """

    @property
    @abc.abstractmethod
    def element_shape(self) -> tuple[int, ...]:
        """Axes of one element, between the direction and the site axes."""

    @property
    @abc.abstractmethod
    def algebra_shape(self) -> tuple[int, ...]:
        """Axes of one element of the Lie algebra."""

    @abc.abstractmethod
    def multiply(self, a: Shaped[Array, "..."], b: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The products a b."""

    @abc.abstractmethod
    def inverse(self, a: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The inverse elements."""

    @abc.abstractmethod
    def exponential(self, velocity: Float[Array, "..."]) -> Shaped[Array, "..."]:
        """The elements exp(velocity), with `velocity` in the Lie algebra."""

    @abc.abstractmethod
    def logarithm(self, a: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """The shortest elements of the Lie algebra whose exponentials are `a`."""

    @abc.abstractmethod
    def move(self, a: Shaped[Array, "..."], velocity: Float[Array, "..."]) -> Shaped[Array, "..."]:
        """The elements exp(velocity) a, with `velocity` in the Lie algebra."""

    @abc.abstractmethod
    def project(self, a: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """The nearest elements in their standard form; rounding errors are taken out."""


class AbstractGroup(AbstractLieGroup):
    """A compact matrix group: it has a normalised Haar measure and traces."""

    @property
    @abc.abstractmethod
    def n_colors(self) -> int:
        """Dimension of the fundamental representation."""

    @abc.abstractmethod
    def haar(self, shape: tuple[int, ...], *, key: Key, dtype: jnp.dtype) -> Shaped[Array, "..."]:
        """Elements drawn from the Haar measure, one per direction and site of `shape`."""

    @abc.abstractmethod
    def real_trace(self, a: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Real part of the trace, without a factor 1/N."""


def random_momentum(
    group: AbstractLieGroup, position: Shaped[Array, "mu ..."], *, key: Key
) -> Float[Array, "mu ..."]:
    r"""Momenta with the density $e^{-\frac12\sum p^2}$ for every variable.

    Args:
        group: The group of the variables.
        position: The field, shape (mu, *element, *site), or (*site) for one number per site.
        key: Random key.

    Returns:
        Momenta of shape (mu, *algebra, *site), or (*site), in the field's real dtype.
    """
    sites = position.shape[1 + len(group.element_shape) :]
    shape = (position.shape[0], *group.algebra_shape, *sites)
    # The barrier stops XLA on CPU from inverting the error function again for every user.
    return jax.lax.optimization_barrier(jax.random.normal(key, shape, position.real.dtype))


def inner_product(p: Float[Array, "..."], q: Float[Array, "..."]) -> Scalar:
    r"""The invariant inner product $\sum p\,q$ of two fields of algebra elements.

    For SU(N) it is $-2\sum_x\mathrm{tr}\,X Y$ of the matrices $X = i p^a T_a$ and $Y = i q^a T_a$.
    It is accumulated in double precision.

    Args:
        p: Coefficients, shape (mu, *algebra, *site).
        q: The same for the other field.

    Returns:
        The sum over directions, coefficients and sites.

    Raises:
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the sum over the algebra")
    return jnp.sum(p.astype(jnp.float64) * q.astype(jnp.float64))


def kinetic_energy(momentum: Float[Array, "..."]) -> Scalar:
    r"""$\frac12\sum p^2$, accumulated in double precision.

    Raises:
        ConfigError: `jax_enable_x64` is off.
    """
    require_x64("the kinetic energy")
    return 0.5 * inner_product(momentum, momentum)
