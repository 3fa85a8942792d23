"""What an action offers to samplers and flows."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require_type
from diffhep.core.typing import Scalar

__citations__ = ("doi:10.1103/PhysRevD.10.2445",)


class AbstractAction(eqx.Module):
    r"""An action $S(U)$, the negative logarithm of an unnormalised density of one configuration.

    Attributes:
        group: The group whose elements the field holds, an `AbstractLieGroup`.
    """

    # Each action names its own kind of group, which a type checker lets nothing but Any stand for.
    group: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def __call__(self, U: Shaped[Array, "mu ..."], /) -> Scalar:
        """The action of one configuration, accumulated in double precision."""

    @abc.abstractmethod
    def force(self, U: Shaped[Array, "mu ..."], /) -> Float[Array, "mu ..."]:
        """The gradient dS/dU along the Lie algebra, in the dtype of the field."""


def require_action(action: Any, name: str = "action") -> None:
    """Raise a `ConfigError` unless an argument is an action."""
    require_type(action, AbstractAction, name, "be an action, such as WilsonAction(beta)")
