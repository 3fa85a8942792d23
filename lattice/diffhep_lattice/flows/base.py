"""What a flow and its parts offer."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_shape
from diffhep.core.rng import keys_for_chains
from diffhep.core.typing import Key, PyTree
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
        self, U: Float[Array, "mu ..."]
    ) -> tuple[Float[Array, "mu ..."], Float[Array, "..."]]:
        """The image, and the logarithm of the Jacobian determinant of the map there."""

    @abc.abstractmethod
    def inverse_and_log_det(
        self, U: Float[Array, "mu ..."]
    ) -> tuple[Float[Array, "mu ..."], Float[Array, "..."]]:
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
        """Shape of one configuration, found by tracing the map."""
        U, _ = eqx.filter_eval_shape(
            lambda key: self.forward_and_log_det(self.sample_latent(key)), jax.random.key(0)
        )
        return U.shape

    @abc.abstractmethod
    def sample_latent(self, key: Key) -> PyTree:
        """Latent variables of one configuration."""

    @abc.abstractmethod
    def log_prob_latent(self, z: PyTree) -> Float[Array, "..."]:
        """Logarithm of the normalised density of the latent variables."""

    @abc.abstractmethod
    def forward_and_log_det(self, z: PyTree) -> tuple[Float[Array, "mu ..."], Float[Array, "..."]]:
        """The field $f(z)$ and the logarithm of the Jacobian determinant of $f$ at $z$."""

    @abc.abstractmethod
    def inverse_and_log_det(self, U: Float[Array, "mu ..."]) -> tuple[PyTree, Float[Array, "..."]]:
        r"""Latent variables of a field, and the log-determinant of $f^{-1}$ at the field."""

    def sample_and_log_prob(
        self, key: Key, n: int
    ) -> tuple[Float[Array, "n *field"], Float[Array, " n"]]:
        r"""Independent fields and their densities.

        Args:
            key: Random key; sample $i$ is the same whatever `n`.
            n: Number of samples, at least 1.

        Returns:
            Fields, and $\log q$ of each.

        Raises:
            ConfigError: `n` is not positive.
        """
        require(n >= 1, "n", "be at least 1", n)
        U, log_q = self.push_forward(self.sample_latents(key, n))
        return jnp.moveaxis(U, -1, 0), log_q

    def sample_latents(self, key: Key, n: int) -> PyTree:
        """Latent variables of `n` configurations, the batch as the last axis of every array."""
        return jax.vmap(self.sample_latent, out_axes=-1)(keys_for_chains(key, n))

    def push_forward(self, z: PyTree) -> tuple[Float[Array, "mu ..."], Float[Array, "..."]]:
        r"""Fields of latent variables and their $\log q$, the batch axes last."""
        U, log_det = self.forward_and_log_det(z)
        return U, self.log_prob_latent(z) - log_det

    def pull_back(self, U: Float[Array, "mu ..."]) -> Float[Array, "..."]:
        r"""$\log q$ of fields, the batch axes last."""
        z, log_det = self.inverse_and_log_det(U)
        return self.log_prob_latent(z) + log_det

    def log_prob(self, U: Float[Array, "..."]) -> Float[Array, "..."]:
        r"""Density of given fields.

        Args:
            U: Fields, (*batch, mu, *site) or (*batch, *site) with any batch axes.

        Returns:
            $\log q(U)$ per configuration.

        Raises:
            ShapeError: The last axes are not those of the flow's fields.
        """
        field = self.field_shape
        batch = U.ndim - len(field)
        require_shape(
            batch >= 0 and U.shape[batch:] == field,
            "U",
            f"end with the axes {field} of the flow's fields",
            f"shape {U.shape}",
        )
        flat = jnp.moveaxis(U.reshape(-1, *field), 0, -1)
        return self.pull_back(flat).reshape(U.shape[:batch])
