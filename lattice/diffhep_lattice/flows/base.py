"""What a flow and its parts offer."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import as_integer, require_shape, require_type, require_x64
from diffhep.core.rng import keys_for_chains
from diffhep.core.typing import Key, PyTree
from diffhep_lattice.actions.base import require_action
from diffhep_lattice.geometry import Lattice

__citations__ = ("arXiv:1904.12072",)


class AbstractBijection(eqx.Module):
    """An invertible map of one field to another.

    Fields have the shape (mu, *site, *batch), scalar fields (*site, *batch): any number of batch
    axes at the end, none for one configuration. With few channels that is the order that
    vectorises; `jax.vmap`, which puts the batch first, runs three times slower here.
    """

    @abc.abstractmethod
    def forward_and_log_det(
        self, U: Shaped[Array, "mu ..."], /
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """The image, and the logarithm of the Jacobian determinant of the map there."""

    @abc.abstractmethod
    def inverse_and_log_det(
        self, U: Shaped[Array, "mu ..."], /
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """The preimage, and the logarithm of the Jacobian determinant of the inverse map."""


class AbstractFlow(eqx.Module):
    r"""A density $q(U)$ of fields: a map of latent variables $z$ with a known density.

    $\log q(f(z)) = \log q_z(z) - \log|\det\partial f/\partial z|$. Subclasses give the map and the
    latent density, with the batch axes, if any, last in every array; samples and densities follow.
    Densities refer to the measure of the partition functions of `diffhep_lattice.exact`: for gauge
    fields the normalised Haar measure $\prod dU$, so that Haar distributed links have
    $\log q = 0$, and for scalar fields $\prod d\phi$.

    Attributes:
        lattice: The lattice of the fields.
    """

    lattice: eqx.AbstractVar[Lattice]

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the parameters, in which fields are drawn; float without any."""
        leaves = jax.tree.leaves(eqx.filter(self, eqx.is_inexact_array))
        return leaves[0].dtype if leaves else jnp.zeros((), float).dtype

    @property
    def field_shape(self) -> tuple[int, ...]:
        """Shape of one configuration."""
        return self.field.shape

    @property
    def field(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one configuration, found by tracing the map."""
        U, _ = eqx.filter_eval_shape(
            lambda key: self.forward_and_log_det(self.sample_latent(key)), jax.random.key(0)
        )
        return U

    @abc.abstractmethod
    def sample_latent(self, key: Key) -> PyTree:
        """Latent variables of one configuration."""

    @abc.abstractmethod
    def log_prob_latent(self, z: PyTree) -> Float[Array, "..."]:
        """Logarithm of the normalised density of the latent variables."""

    @abc.abstractmethod
    def forward_and_log_det(self, z: PyTree) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """The field $f(z)$ and the logarithm of the Jacobian determinant of $f$ at $z$."""

    @abc.abstractmethod
    def inverse_and_log_det(
        self, U: Shaped[Array, "mu ..."], /
    ) -> tuple[PyTree, Float[Array, "..."]]:
        r"""Latent variables of a field, and the log-determinant of $f^{-1}$ at the field."""

    def sample_and_log_prob(
        self, key: Key, n: int
    ) -> tuple[Shaped[Array, "n *field"], Float[Array, " n"]]:
        r"""Independent fields and their densities.

        Args:
            key: Random key; sample $i$ is the same whatever `n`.
            n: Number of samples, at least 1.

        Returns:
            Fields, and $\log q$ of each.

        Raises:
            ConfigError: `n` is no positive integer, or `jax_enable_x64` is off.
        """
        U, log_q = self.push_forward(self.sample_latents(key, as_integer(n, "n", low=1)))
        return jnp.moveaxis(U, -1, 0), log_q

    def sample_latents(self, key: Key, n: int) -> PyTree:
        """Latent variables of `n` configurations, the batch as the last axis of every array."""
        return jax.vmap(self.sample_latent, out_axes=-1)(keys_for_chains(key, n))

    def push_forward(self, z: PyTree) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        r"""Fields of latent variables and their $\log q$, the batch axes last; needs x64."""
        require_x64("the sum of the log-density")
        U, log_det = self.forward_and_log_det(z)
        return U, self.log_prob_latent(z) - log_det

    def pull_back(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "..."]:
        r"""$\log q$ of fields, the batch axes last; needs x64."""
        require_x64("the sum of the log-density")
        z, log_det = self.inverse_and_log_det(U)
        return self.log_prob_latent(z) + log_det

    def log_prob(self, U: Shaped[Array, "..."]) -> Float[Array, "..."]:
        r"""Density of given fields.

        Args:
            U: Fields, (*batch, mu, *site) or (*batch, *site) with any batch axes.

        Returns:
            $\log q(U)$ per configuration.

        Raises:
            ShapeError: The last axes or the kind of numbers are not those of the flow's fields.
            ConfigError: `U` is no array, or `jax_enable_x64` is off.
        """
        require_x64("the sum of the log-density")
        n_batch = count_batch_axes(self, U)
        flat = jnp.moveaxis(U.reshape(-1, *U.shape[n_batch:]), 0, -1)
        return self.pull_back(flat).reshape(U.shape[:n_batch])


def require_lattice(lattice: Any) -> None:
    """Raise a `ConfigError` unless an argument is a lattice."""
    require_type(lattice, Lattice, "lattice", "be a Lattice, such as Lattice((8, 8))")


def require_pair(flow: Any, action: Any) -> None:
    """Raise a `ConfigError` unless there are a flow and an action."""
    require_flow(flow)
    require_action(action)


def require_flow(flow: Any) -> None:
    """Raise a `ConfigError` unless an argument is a flow."""
    require_type(flow, AbstractFlow, "flow", "be a flow, such as stripe_flow(lattice, key=key)")


def count_batch_axes(flow: AbstractFlow, U: Any, name: str = "U") -> int:
    """The number of axes before those of a flow's fields, after checking the fields.

    Args:
        flow: The flow.
        U: Fields, (*batch, mu, *site) or (*batch, *site).
        name: The argument's name.

    Returns:
        The number of batch axes.

    Raises:
        ShapeError: The last axes or the kind of numbers are not those of the flow's fields.
        ConfigError: `U` is no array.
    """
    require_type(U, (jax.Array, np.ndarray), name, "be an array")
    field = flow.field
    kind, words = (jnp.floating, "real")
    if jnp.issubdtype(field.dtype, jnp.complexfloating):
        kind, words = (jnp.complexfloating, "complex")
    good = bool(jnp.issubdtype(U.dtype, kind))
    require_shape(good, name, f"be a {words} floating array", f"dtype {U.dtype}")
    n_batch = U.ndim - len(field.shape)
    require_shape(
        n_batch >= 0 and U.shape[n_batch:] == field.shape,
        name,
        f"end with the axes {field.shape} of the flow's fields",
        f"shape {U.shape}",
    )
    return n_batch
