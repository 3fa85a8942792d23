"""Bijections made of bijections."""

from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require_type
from diffhep_lattice.flows.base import AbstractBijection

__citations__ = ("arXiv:1904.12072",)

Module = TypeVar("Module", bound=eqx.Module)


class Chain(AbstractBijection):
    """Bijections one after another.

    Attributes:
        bijections: In the order of the forward map.
    """

    bijections: tuple[AbstractBijection, ...]

    def __check_init__(self) -> None:
        for bijection in self.bijections:
            require_type(bijection, AbstractBijection, "bijections", "hold bijections")

    def forward_and_log_det(
        self, U: Shaped[Array, "mu ..."]
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """All maps in turn; the log-determinants add up."""
        total = jnp.zeros((), float)
        for bijection in self.bijections:
            U, log_det = bijection.forward_and_log_det(U)
            total = total + log_det
        return U, total

    def inverse_and_log_det(
        self, U: Shaped[Array, "mu ..."]
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """All inverse maps in the opposite order."""
        total = jnp.zeros((), float)
        for bijection in reversed(self.bijections):
            U, log_det = bijection.inverse_and_log_det(U)
            total = total + log_det
        return U, total


class Repeat(AbstractBijection):
    """Bijections of one form with parameters of their own, run by a scan: compiled once.

    Attributes:
        stacked: The bijection with a leading axis on every array, as `stack` makes it.
        rematerialise: Recompute each one in the backward pass instead of keeping what it computed.
    """

    stacked: AbstractBijection
    rematerialise: bool = eqx.field(static=True, default=False)

    def forward_and_log_det(
        self, U: Shaped[Array, "mu ..."]
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """All maps in turn."""
        return self._scan(U, inverse=False)

    def inverse_and_log_det(
        self, U: Shaped[Array, "mu ..."]
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        """All inverse maps in the opposite order."""
        return self._scan(U, inverse=True)

    def _scan(
        self, U: Shaped[Array, "mu ..."], *, inverse: bool
    ) -> tuple[Shaped[Array, "mu ..."], Float[Array, "..."]]:
        arrays, static = eqx.partition(self.stacked, eqx.is_array)

        def apply(field: Array, slices: AbstractBijection) -> tuple[Array, Array]:
            bijection = eqx.combine(slices, static)
            if inverse:
                return bijection.inverse_and_log_det(field)
            return bijection.forward_and_log_det(field)

        if self.rematerialise:
            apply = jax.checkpoint(apply)
        U, log_dets = jax.lax.scan(apply, U, arrays, reverse=inverse)
        return U, jnp.sum(log_dets, axis=0)


def stack(modules: Sequence[Module]) -> Module:
    """Modules of the same form as one, with a leading axis on every array."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *modules
    )
