"""Sums of actions."""

from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.groups import AbstractLieGroup

__citations__ = ("doi:10.1016/0550-3213(92)90263-B",)


class SumAction(AbstractAction):
    r"""A sum of actions of one field, $S = \sum_i S_i$.

    The order matters to integrators with several time scales alone: the first term is on the
    longest one. It is where the determinants of a Hasenbusch splitting go.

    Attributes:
        terms: The actions, from the slowest to the fastest.
        group: The group of all terms.

    Raises:
        ConfigError: There is no term, one is no action, or their groups differ.
    """

    terms: tuple[AbstractAction, ...]
    group: AbstractLieGroup

    def __init__(self, *terms: AbstractAction) -> None:
        require(len(terms) >= 1, "terms", "hold at least one action", terms)
        for term in terms:
            require_action(term, "terms")
        groups = [term.group for term in terms]
        require(all(group == groups[0] for group in groups), "terms", "share one group", groups)
        self.terms = terms
        self.group = groups[0]

    def __call__(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        """The sum of the actions."""
        return sum((term(U) for term in self.terms[1:]), self.terms[0](U))

    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        """The sum of the gradients."""
        return sum((term.force(U) for term in self.terms[1:]), self.terms[0].force(U))


def terms_of(action: AbstractAction) -> tuple[AbstractAction, ...]:
    """The terms of a sum, or the action itself, from the slowest to the fastest."""
    return action.terms if isinstance(action, SumAction) else (action,)
