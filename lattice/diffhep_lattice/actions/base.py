"""What an action offers to samplers and flows."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Shaped

from diffhep.core.typing import Scalar
from diffhep_lattice.groups import AbstractGroup

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


class AbstractAction(eqx.Module):
    r"""An action $S(U)$, the negative logarithm of an unnormalised density of one configuration.

    Attributes:
        group: The group whose elements the field holds.
    """

    group: eqx.AbstractVar[AbstractGroup]

    @abc.abstractmethod
    def __call__(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        """The action of one configuration, accumulated in double precision."""

    @abc.abstractmethod
    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        """The gradient dS/dU along the Lie algebra, in the dtype of the field."""
